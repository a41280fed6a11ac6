"""`rlsd report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import print_text


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, and folders of `rlsd eval --keep`; or a suite's folder.")
    ],
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
    """One HTML page that needs nothing else: results, curves, and episodes with what each turn and token earned. Of a
    suite: its table and comparisons, and a page of episodes beside it for each environment."""
    from rlsd.harness.report.report import write_report
    from rlsd.harness.report.suite import is_suite, write_suite
    from rlsd.harness.runs.rundir import RunError

    if not any(map(is_suite, runs)):
        print_text(str(write_report(runs, to, step=step, groups=groups, max_mib=max_mib)))
        return
    if len(runs) > 1:
        raise RunError(f"a suite's page is made of one folder; {len(runs)} were given")
    if step is not None:
        raise RunError(f"--step is for runs; {runs[0]} holds a suite")
    print_text(str(write_suite(runs[0], to, groups=groups, max_mib=max_mib)))
