"""Learning curves from metrics files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rlsd.harness.evals.stats import wilson
from rlsd.harness.runs.metrics import read_metrics


def curve(runs: Mapping[str, Sequence[Path]], path: Path, *, title: str) -> None:
    """Draw success over iterations: thin lines for training episodes, dots with intervals for evaluations.

    Args:
        runs: label → run directories (seeds); evaluations are averaged over them, bars pool their episodes.
        path: PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    several = len(runs) > 1
    figure, axes = plt.subplots(figsize=(9.0 if several else 7.5, 4.5), dpi=120, layout="constrained")
    for i, (label, folders) in enumerate(runs.items()):
        colour = f"C{i}"
        records = [read_metrics(folder / "metrics.jsonl") for folder in folders]
        for found in records:
            train = [(r["step"] + 1, 100 * r["success"]) for r in found if r["kind"] == "train"]
            if train:
                axes.plot(*zip(*_smooth(train)), color=colour, alpha=0.35, linewidth=1)
        steps = sorted({r["step"] for found in records for r in found if r["kind"] == "eval"})
        points: list[tuple[int, float, float, float]] = []
        for step in steps:
            evals = [r for found in records for r in found if r["kind"] == "eval" and r["step"] == step]
            n = sum(r["episodes"] for r in evals)
            won = round(sum(r["success"] * r["episodes"] for r in evals))
            low, high = wilson(won, n)
            rate = won / n if n else 0.0
            points.append((step + 1, 100 * rate, 100 * max(0.0, rate - low), 100 * max(0.0, high - rate)))
        if points:
            xs, ys, below, above = zip(*points)
            axes.errorbar(xs, ys, yerr=(below, above), color=colour, marker="o", markersize=4, capsize=2, label=label)
    axes.set_xlabel("iteration")
    axes.set_ylabel("success, %")
    axes.set_ylim(0, 100)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.set_title(title)
    axes.text(
        0.01,
        0.01,
        "thin: training episodes; dots: held-out panel, 95 % Wilson",
        transform=axes.transAxes,
        fontsize=7,
    )
    if several:
        figure.legend(loc="outside right upper")
    else:
        axes.legend()
    figure.savefig(path)
    plt.close(figure)


def _smooth(points: list[tuple[int, float]], width: int = 3) -> list[tuple[int, float]]:
    """Mean over a sliding window of `width` points."""
    out: list[tuple[int, float]] = []
    for i, (x, _) in enumerate(points):
        window = points[max(0, i - width + 1) : i + 1]
        out.append((x, sum(y for _, y in window) / len(window)))
    return out
