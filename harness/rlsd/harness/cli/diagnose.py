"""`rlsd diagnose`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rlsd.harness.cli.options import JsonOption, SetOption
from rlsd.harness.cli.tables import out, print_table


def diagnose(
    config: Annotated[Path, typer.Argument(help="A YAML file or a run directory.")],
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    episodes: Annotated[int | None, typer.Option(help="The split's first tasks only.")] = None,
    views: Annotated[bool, typer.Option(help="Also measure success under each view.")] = True,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Can this model read hindsight? AUC of Δ for actions towards the goal, true hindsight against another task's."""
    from rlsd.harness.evals.diagnose import diagnose as run_diagnosis
    from rlsd.harness.evals.run_weights import parts_of
    from rlsd.harness.runs.progress import Progress

    diagnosis = run_diagnosis(
        parts_of(config, tuple(set_ or ())),
        split=split,
        episodes=episodes,
        views=views,
        progress=Progress(quiet=json_),
    )
    if json_:
        print(json.dumps(diagnosis))
    else:
        _show(diagnosis)


def _show(diagnosis: Mapping[str, Any]) -> None:
    """The tables for people."""
    rows = [["hindsight", "AUC of Δ", "95 %"]]
    for name, label in (("auc", "own"), ("auc_other", "another task's")):
        value, low, high = diagnosis[name]
        rows.append([label, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]"])
    nearer = diagnosis["actions"]["nearer"]
    print_table(f"{diagnosis['episodes']} episodes, {nearer} actions towards the goal", rows)
    out.print(
        f"margin {diagnosis['margin']:.3f}, Δ nearer {diagnosis['gap_nearer']:+.3f}, "
        f"others {diagnosis['gap_not_nearer']:+.3f}, echo {diagnosis['echo']:.2f}: "
        f"hindsight is {'readable' if diagnosis['readable'] else 'NOT readable'}"
    )
    if "success" in diagnosis:
        rows = [["view", "success", "95 %"]]
        for view, result in diagnosis["success"].items():
            low, high = result["interval"]
            rows.append([view, f"{100 * result['success']:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]"])
        print_table("success by view", rows)
