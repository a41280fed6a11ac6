"""`rlsd report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import print_text


def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    to: Annotated[Path | None, typer.Option(help="Where to write; default RUN/report.html.")] = None,
    step: Annotated[
        int | None, typer.Option(help="Iteration whose episodes are shown; default: the last kept.")
    ] = None,
    groups: Annotated[int, typer.Option(min=0, help="Tasks whose episodes are shown.")] = 4,
) -> None:
    """One HTML page of a run: results, curves, and episodes with the credit that each turn got."""
    from rlsd.harness.report.report import write_report

    print_text(str(write_report(run, to, step=step, groups=groups)))
