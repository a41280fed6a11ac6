"""`rlsd report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import print_text


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, and folders of `rlsd eval --keep`.")],
    to: Annotated[Path | None, typer.Option(help="Where to write; default report.html in the first folder.")] = None,
    step: Annotated[
        int | None, typer.Option(help="The only iteration whose episodes are wanted; default: all that were kept.")
    ] = None,
    groups: Annotated[
        int | None,
        typer.Option(min=0, help="Tasks of an iteration whose turns are in the page; default: all."),
    ] = None,
    max_mib: Annotated[float, typer.Option(min=0.1, help="Largest size of the page.")] = 16.0,
) -> None:
    """One HTML page that needs nothing else: results, curves, and episodes with what each turn and token earned."""
    from rlsd.harness.report.report import write_report

    print_text(str(write_report(runs, to, step=step, groups=groups, max_mib=max_mib)))
