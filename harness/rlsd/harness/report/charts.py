"""Charts of a run's metrics: small ones as SVG text for a page, light or dark, and a learning curve as a PNG file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlsd.harness.evals.stats import wilson
from rlsd.harness.runs.metrics import read_metrics

Records = Sequence[Mapping[str, Any]]
BOUNDS = {"left": 0.13, "right": 0.98, "top": 0.9, "bottom": 0.14}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves over iterations.

    Args:
        lines: label → path of the value in a record ("credit.gap_success"); lines without values are left out.
        stacked: areas on top of each other.
        scale: what values are multiplied by.
    """

    title: str
    lines: Mapping[str, str]
    note: str = ""
    stacked: bool = False
    scale: float = 1.0
    log: bool = False
    share: bool = field(default=False)
    """The axis goes from 0 to 100."""


TRAINING = (
    Chart(
        title="Credit",
        note="how far weights moved advantages on average, and the share of them at a bound",
        lines={"mean |m − 1|": "credit.weight_shift", "at a bound": "credit.clipped"},
    ),
    Chart(
        title="Hindsight gap, nats a token",
        note="log-prob with hindsight minus without: whether knowing more makes the taken actions likelier",
        lines={"won": "credit.gap_success", "lost": "credit.gap_failure", "all": "credit.gap"},
    ),
    Chart(title="Loss", lines={"loss": "loss", "student": "loss_student", "teacher": "loss_teacher"}),
    Chart(title="Gradient norm", lines={"norm": "grad_norm"}),
    Chart(
        title="Sampler and learner apart, nats a token",
        note="log-probs of the same tokens, sampled and scored again",
        lines={"largest": "sampler_gap", "mean": "sampler_gap_mean"},
        log=True,
    ),
    Chart(
        title="Episodes, %",
        note="actions the environment refused; groups with wins and losses, which alone teach",
        lines={"invalid actions": "invalid_rate", "mixed groups": "mixed_groups"},
        scale=100.0,
        share=True,
    ),
    Chart(title="Turns an episode", lines={"turns": "turns"}),
    Chart(
        title="Seconds an iteration",
        lines={
            "rollout": "timing.rollout_s",
            "score": "timing.score_s",
            "update": "timing.update_s",
            "wait": "timing.wait_s",
            "weights": "timing.refresh_s",
        },
        stacked=True,
    ),
    Chart(
        title="Tokens read by the learner",
        lines={kind: f"forwarded_tokens.{kind}" for kind in ("prefix", "student", "teacher", "reference", "update")},
        stacked=True,
    ),
    Chart(
        title="Idle, %",
        note="of the rollout: the sampler without a request, slots without an episode",
        lines={"sampler": "timing.sampler_idle_share", "slots": "timing.slot_idle_share"},
        scale=100.0,
        share=True,
    ),
)


def value_of(record: Mapping[str, Any], path: str) -> float | None:
    """The number at "a.b" of a record, None if there is none."""
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def own_success(record: Mapping[str, Any]) -> float:
    """Success of an iteration's own tasks: what is trained on after a refill is mixed by choice."""
    return record.get("own_success", record["success"])


def draw(chart: Chart, records: Records) -> str | None:
    """SVG, or None where no record has any of the values."""
    steps = [r["step"] + 1 for r in records]
    lines = {label: [value_of(r, path) for r in records] for label, path in chart.lines.items()}
    lines = {label: values for label, values in lines.items() if any(v is not None for v in values)}
    if not lines:
        return None
    figure, axes = _axes()
    if chart.stacked:
        heights = [[chart.scale * (v or 0.0) for v in values] for values in lines.values()]
        axes.stackplot(steps, heights, labels=list(lines), alpha=0.8)
    for label, values in lines.items():
        if chart.stacked:
            break
        points = [(s, chart.scale * v) for s, v in zip(steps, values) if v is not None]
        axes.plot(*zip(*points), label=label, linewidth=1.6, marker="o" if len(points) == 1 else None)
    if chart.log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("")
    elif chart.share:
        axes.set_ylim(0, 100)
    if len(lines) > 1:
        _legend(axes)
    return _svg(figure)


def success(train: Records, evals: Records) -> str | None:
    """Training episodes as a line, evaluations as dots with their intervals, in percent."""
    if not train and not evals:
        return None
    figure, axes = _axes()
    if train:
        axes.plot(
            [r["step"] + 1 for r in train], [100 * own_success(r) for r in train], linewidth=1.2, label="training"
        )
    if evals:
        rates = [100 * r["success"] for r in evals]
        below = [y - 100 * r["interval"][0] for y, r in zip(rates, evals)]
        above = [100 * r["interval"][1] - y for y, r in zip(rates, evals)]
        axes.errorbar(
            [r["step"] + 1 for r in evals],
            rates,
            yerr=([max(0.0, b) for b in below], [max(0.0, a) for a in above]),
            marker="o",
            capsize=3,
            label="validation panel, 95 %",
        )
    axes.set_ylim(0, 100)
    _legend(axes)
    return _svg(figure)


def learning_curve(runs: Mapping[str, Sequence[Path]], path: Path, *, title: str) -> None:
    """Draw success over iterations: thin lines for training episodes, dots with intervals for evaluations.

    Args:
        runs: label → run directories (seeds); their evaluations are pooled (`pooled`).
        path: PNG to write.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    several = len(runs) > 1
    figure = Figure(figsize=(9.0 if several else 7.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for i, (label, folders) in enumerate(runs.items()):
        seeds = [read_metrics(folder / "metrics.jsonl") for folder in folders]
        for records in seeds:
            train = [(r["step"] + 1, 100 * own_success(r)) for r in records if r["kind"] == "train"]
            if train:
                axes.plot(*zip(*_smooth(train)), color=f"C{i}", alpha=0.35, linewidth=1)
        points = pooled([r for records in seeds for r in records if r["kind"] == "eval"])
        if points:
            xs, ys, below, above = zip(*points)
            style = {"marker": "o", "markersize": 4, "capsize": 2}
            axes.errorbar(xs, ys, yerr=(below, above), color=f"C{i}", label=label, **style)
    axes.set_xlabel("iteration")
    axes.set_ylabel("success, %")
    axes.set_ylim(0, 100)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.set_title(title)
    note = "thin: training episodes; dots: held-out panel, 95 % Wilson"
    axes.text(0.01, 0.01, note, transform=axes.transAxes, fontsize=7)
    if several:
        figure.legend(loc="outside right upper")
    else:
        axes.legend()
    figure.savefig(path)


def bands(curves: Mapping[str, Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draw success over training episodes, a line and its band for each arm.

    Args:
        curves: label → lists `episodes`, `success`, `low`, `high` (shares).
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for i, (label, curve) in enumerate(curves.items()):
        xs = curve["episodes"]
        mean, low, high = ([y for _, y in _smooth(list(zip(xs, curve[k])))] for k in ("success", "low", "high"))
        axes.plot(xs, [100 * y for y in mean], color=f"C{i}", label=label, linewidth=1.5)
        axes.fill_between(xs, [100 * y for y in low], [100 * y for y in high], color=f"C{i}", alpha=0.12, linewidth=0)
    axes.set_xlabel("training episodes")
    axes.set_ylabel("success, %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.set_title(title)
    note = "mean over seeds and its 95 % interval, over three iterations"
    axes.text(0.01, 0.01, note, transform=axes.transAxes, fontsize=7)
    if curves:
        figure.legend(loc="outside right upper")
    figure.savefig(path)


def pooled(evals: Records) -> list[tuple[int, float, float, float]]:
    """(iteration from 1, success, distances down and up to Wilson's 95 % bounds) in percent, the episodes of all
    evaluations of an iteration taken together."""
    points: list[tuple[int, float, float, float]] = []
    for step in sorted({r["step"] for r in evals}):
        seeds = [r for r in evals if r["step"] == step]
        n = sum(r["episodes"] for r in seeds)
        won = round(sum(r["success"] * r["episodes"] for r in seeds))
        low, high = wilson(won, n)
        rate = won / n if n else 0.0
        points.append((step + 1, 100 * rate, 100 * max(0.0, rate - low), 100 * max(0.0, high - rate)))
    return points


def _smooth(points: list[tuple[int, float]], width: int = 3) -> list[tuple[int, float]]:
    """Mean over a sliding window of `width` points."""
    out: list[tuple[int, float]] = []
    for i, (x, _) in enumerate(points):
        window = points[max(0, i - width + 1) : i + 1]
        out.append((x, sum(y for _, y in window) / len(window)))
    return out


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.6, 2.9))
    axes = figure.subplots()
    figure.subplots_adjust(**BOUNDS)
    figure.patch.set_alpha(0.0)
    axes.patch.set_alpha(0.0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.tick_params(which="both", colors="#888888", labelsize=8)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("iteration", color="#888888", fontsize=8)
    return figure, axes


def _legend(axes: Any) -> None:
    """Above the curves, which it never covers."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        ncols=5,
        frameon=False,
        fontsize=8,
        labelcolor="#888888",
        handlelength=1.2,
        columnspacing=1.0,
    )


def _svg(figure: Any) -> str:
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rlsd"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]
