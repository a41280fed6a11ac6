"""`rlsd exam`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rlsd.harness.cli.options import JsonOption, SetOption
from rlsd.harness.cli.tables import out, print_table, print_text

TRUTHS = ("fitted", "rerolls")


def exam(
    config: Annotated[
        Path, typer.Argument(help="A YAML file or a run directory (its best weights, else the newest checkpoint).")
    ],
    methods: Annotated[
        str | None, typer.Option(help="Names, with commas: `rlsd methods`, progress_added, config, module:NAME …")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="In all, in whole batches; default: 12 batches.")] = None,
    controls: Annotated[bool, typer.Option(help="Also the controls that belong to the methods.")] = True,
    truth: Annotated[
        str, typer.Option(help="fitted: return minus a fitted value; rerolls: Q − V by playing on from drawn turns.")
    ] = "fitted",
    rerolls: Annotated[int, typer.Option(min=1, help="Episodes for each Q and V of --truth rerolls.")] = 8,
    reroll_turns: Annotated[int, typer.Option(min=1, help="Turns of a batch that are re-rolled.")] = 64,
    sketch: Annotated[
        int | None, typer.Option(min=0, help="Dimensions of a gradient sketch, 0: exact; default: exact if it fits.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for exam.json and exam.png; default: RUN/exam, or runs/exam.")
    ] = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """How good is the gradient that each method makes of one batch? Measured without training."""
    from rlsd.envs.errors import closest
    from rlsd.harness.config import ConfigError
    from rlsd.harness.evals.exam import BATCHES, Exam
    from rlsd.harness.evals.exam_methods import chosen
    from rlsd.harness.evals.rerolls import RerollSettings
    from rlsd.harness.evals.run_weights import parts_of
    from rlsd.harness.report.exam_chart import exam_chart
    from rlsd.harness.runs.progress import Progress

    names = None if methods is None else [n.strip() for n in methods.split(",") if n.strip()]
    if episodes is not None and episodes < 1:
        raise ConfigError(f"--episodes is {episodes}, expected at least 1")
    if truth not in TRUTHS:
        raise ConfigError(f"--truth is {truth!r}, expected one of them{closest(truth, TRUTHS)}")
    parts = parts_of(config, tuple(set_ or ()))
    rollout = parts.config.rollout
    size = rollout.tasks_per_iteration * rollout.group_size
    found = Exam(
        parts,
        chosen(names, parts.config, controls=controls),
        batches=BATCHES if episodes is None else math.ceil(episodes / size),
        dims=sketch,
        rerolls=RerollSettings(each=rerolls, turns=reroll_turns) if truth == "rerolls" else None,
        progress=Progress(quiet=json_),
    ).run()
    found = {"config": str(config), "seed": parts.config.seed, "batch": size, **found}
    folder = to or (config / "exam" if config.is_dir() else Path("runs/exam"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exam.json").write_text(json.dumps(found, indent=1) + "\n")
    exam_chart(found, folder / "exam.png")
    if json_:
        print(json.dumps(found))
    else:
        _show(found, folder)


def _show(found: Mapping[str, Any], folder: Path) -> None:
    """The table for people."""
    head = ["method", "cosine", "minus grpo", "episodes", "cosine, projected", "minus grpo", "entropy"]
    rows = [head] + [_cells(row["method"], row) for row in found["methods"] if not row["control"]]
    rows += [_cells(f"control: {row['method']}", row) for row in found["methods"] if row["control"]]
    truth, gradient = found["truth"], found["gradient"]
    rows.append(_cells("truth, one batch", truth))
    print_table(
        f"{found['batches']} batches of {found['batch']} episodes, {100 * found['success']:.0f} % success, "
        f"{gradient['weights']:,} weights",
        rows,
    )
    known = (
        f"the fitted value explains {truth['value_r2']:.2f} of the returns' variance; split-half cosine "
        f"{truth['split_half']:.2f}, so cosines are at most {truth['most']:.2f}"
    )
    if truth["kind"] == "rerolls":
        fitted = truth["fitted"]
        known = (
            f"Q and V of {truth['turns']} turns a batch from {truth['rerolls']} re-rolls each; split-half cosine "
            f"{truth['split_half']:.2f}, so cosines are at most {truth['most']:.2f}\n(the fitted value's truth: "
            f"split-half {fitted['split_half']:.2f}; cosine with this one {fitted['cos']:.2f})"
        )
    kept = "exact" if not gradient["sketch"] else (
        f"sketched to {gradient['sketch']:,} numbers, largest error of a cosine {gradient['sketch_error']:.4f}"
    )  # fmt: skip
    print_text(
        "cosine: of one batch's gradient with the truth from the other batches, 95 % over batches; episodes: how many "
        "times GRPO's\nepisodes give GRPO that cosine; projected: without the entropy direction; entropy: cosine with "
        "it\n"
        f"truth: {known}\n"
        f"gradients: {kept}; {found['seconds']:.0f} s"
    )
    out.print(f"{folder / 'exam.json'}, {folder / 'exam.png'}", highlight=False, soft_wrap=True)


def _cells(name: str, row: Mapping[str, Any]) -> list[str]:
    times = row["episodes_times"]
    return [
        name,
        f"{row['cos']:.3f} ± {row['cos_half']:.3f}",
        f"{row['cos_minus_grpo']:+.3f} ± {row['cos_minus_grpo_half']:.3f}" if name != "grpo" else "",
        "" if times is None else f"{times:.2g}",
        f"{row['projected']:.3f} ± {row['projected_half']:.3f}",
        f"{row['projected_minus_grpo']:+.3f} ± {row['projected_minus_grpo_half']:.3f}" if name != "grpo" else "",
        f"{row['entropy_cos']:+.3f}",
    ]
