"""The picture of a credit exam."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def exam_chart(exam: Mapping[str, Any], path: Path) -> None:
    """Draw each method's cosine with the truth, as it is and without the entropy direction, best above, controls below.

    Args:
        exam: what `Exam.run` gave.
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    rows = sorted(exam["methods"], key=lambda row: (not row["control"], row["cos"]))
    figure = Figure(figsize=(8.0, 1.4 + 0.34 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots()
    base = next(row for row in exam["methods"] if row["method"] == "grpo")
    axes.axvline(base["cos"], color="C0", linewidth=0.8, linestyle="--")
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    for shift, name, label in ((0.13, "cos", "cosine with the truth"), (-0.13, "projected", "entropy projected out")):
        axes.errorbar(
            [row[name] for row in rows],
            [i + shift for i in range(len(rows))],
            xerr=[row[f"{name}_half"] for row in rows],
            fmt="o",
            markersize=4,
            capsize=2,
            label=label,
        )
    axes.set_yticks(range(len(rows)), [f"control: {r['method']}" if r["control"] else r["method"] for r in rows])
    axes.set_xlabel("95 % intervals over batches; dashed: grpo")
    axes.grid(alpha=0.3, axis="x")
    axes.set_title(f"one batch of {exam.get('batch', '')} episodes against all others ({exam['batches']} batches)")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path)
