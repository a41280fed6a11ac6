"""`rlsd new-env` and `rlsd new-method`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import print_text

NameArgument = Annotated[str, typer.Argument(help="Name of the new module and of its folder.")]
IntoOption = Annotated[Path, typer.Option(help="Folder in which the new folder is made.")]


def new_env(name: NameArgument, into: IntoOption = Path()) -> None:
    """Write a package with an environment of your own that works at once: source, tests, config, README."""
    from rlsd.harness.new_package import class_name

    world = f"{name}.py:{class_name(name)}"
    commands = (f"rlsd check-env {world}", f"rlsd play {world}", f"rlsd warm-start {world} --run runs/warm")
    _write("env", name, into, commands)


def new_method(name: NameArgument, into: IntoOption = Path()) -> None:
    """Write a package with a method of your own that works at once: source, tests, config, README."""
    _write("method", name, into, ("python -m pytest", "rlsd train train.yaml --run runs/try --set iterations=2"))


def _write(kind: str, name: str, into: Path, commands: tuple[str, ...]) -> None:
    from rlsd.harness.new_package import write_package

    for path in write_package("env" if kind == "env" else "method", name, into):
        print_text(str(path))
    print_text("\n".join(["try it:", f"  cd {into / name}", *(f"  {command}" for command in commands)]))
