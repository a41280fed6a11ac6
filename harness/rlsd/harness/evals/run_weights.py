"""The weights that a config or a run directory is evaluated with: a run's best, else its newest checkpoint's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlsd.harness.config import ConfigError, RunConfig, load_config
from rlsd.harness.evals.played import digest, weights_of
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import RunDir, load_run_config


def parts_of(
    path: Path, overrides: tuple[str, ...] = (), *, external: bool = True, progress: Progress | None = None
) -> Parts:
    """Parts of a config file, or of a run directory with its best weights; a run that has none, because it evaluated
    nothing so far, gives those of its newest checkpoint.

    Args:
        external: as in `build`.
        progress: says that it is the newest checkpoint; None: on stderr.

    Raises:
        ConfigError: the run has no weights yet.
        CheckpointError: the newest checkpoint is damaged, or does not fit the config.
    """
    if not path.is_dir():
        return build(load_config(path, list(overrides)), external=external)
    load_run_config(path)
    config = load_config(path / "config.yaml", list(overrides))
    folder = folder_of_run(path)
    if folder == RunDir(path).best:
        return build(without_lora(config), model_path=str(folder), external=external)
    tensors, _ = checkpoint.load(folder)
    parts = build(config, external=external)
    try:
        parts.learner.load(tensors["model"], {}, {})
    except (KeyError, RuntimeError) as error:
        raise checkpoint.CheckpointError(f"{folder} does not fit this config: {error}") from error
    (progress or Progress()).warning(
        f"{path} has no best/, as no evaluation has chosen its best weights (eval.every is {config.eval.every}); "
        f"these are the newest checkpoint's: {folder}"
    )
    return parts


def folder_of_run(path: Path) -> Path:
    """`best/` of a run directory, else its newest checkpoint.

    Raises:
        ConfigError: it has neither yet.
    """
    run = RunDir(path)
    if run.best.is_dir():
        return run.best
    newest = checkpoint.latest(run.checkpoints)
    if newest is None:
        raise ConfigError(
            f"{path} has neither best/ nor a checkpoint yet: train it for longer (rlsd train {path}/config.yaml "
            f"--run {path} goes on), or lower checkpoint_every or eval.every"
        )
    return newest


def weights_of_config(path: Path, parts: Parts) -> dict[str, Any]:
    """The weights that `rlsd eval CONFIG` plays."""
    if not path.is_dir():
        model = parts.config.model.path
        return {"name": f"as {path} makes them"} if model is None else weights_of(model)
    folder = folder_of_run(path)
    if folder == RunDir(path).best:
        return weights_of(folder)
    return {"folder": str(folder), "step": int(folder.name.partition("-")[2]), "digest": digest(folder, "model*")}


def without_lora(config: RunConfig) -> RunConfig:
    """The config for weights whose adapter is already merged."""
    return config.model_copy(update={"model": config.model.model_copy(update={"lora": None})})
