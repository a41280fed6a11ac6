"""Charts of a run's metrics: which ones the viewer draws, and learning curves as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlsd.harness.evals.stats import wilson
from rlsd.harness.runs.metrics import read_metrics

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves over iterations.

    Args:
        lines: label → path of the value in a record ("credit.gap_success"); lines without values are left out.
        scale: what values are multiplied by.
    """

    title: str
    lines: Mapping[str, str]
    note: str = ""
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
    ),
    Chart(
        title="Tokens read by the learner",
        lines={kind: f"forwarded_tokens.{kind}" for kind in ("prefix", "student", "teacher", "reference", "update")},
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
