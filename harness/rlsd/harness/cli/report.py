"""`rlsd report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.tables import print_text


def report(
    run: Annotated[Path, typer.Argument(help="A run directory, a suite's folder, or a folder of `rlsd eval --keep`.")],
    to: Annotated[Path | None, typer.Option(help="Where to write; default RUN/report.html.")] = None,
    step: Annotated[
        int | None, typer.Option(help="Iteration whose episodes are shown; default: the last kept.")
    ] = None,
    groups: Annotated[int, typer.Option(min=0, help="Tasks whose episodes are shown.")] = 4,
) -> None:
    """One HTML page of a run: results, curves, and episodes with the credit that each turn got; or of a suite or of one
    evaluation."""
    from rlsd.harness.report.evaluation import is_evaluation, write_evaluation
    from rlsd.harness.report.report import write_report
    from rlsd.harness.report.suite import is_suite, write_suite
    from rlsd.harness.runs.rundir import RunError

    for holds, what, write in (
        (is_evaluation, "the episodes of an evaluation", write_evaluation),
        (is_suite, "a suite", write_suite),
    ):
        if holds(run):
            if step is not None:
                raise RunError(f"--step is for runs; {run} holds {what}")
            print_text(str(write(run, to, groups=groups)))
            return
    print_text(str(write_report(run, to, step=step, groups=groups)))
