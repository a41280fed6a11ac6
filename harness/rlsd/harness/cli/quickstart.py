"""`rlsd quickstart`: a tiny model, generated games, RLSD; success before and after on a held-out panel.

    [warm start] → evaluate → train with RLSD → evaluate → table, curve.png

It starts from the checkpoint that the repository ships, or with `--from-scratch` from a warm start of its own. The same
command resumes where it was stopped.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd.harness.cli.options import SetOption
from rlsd.harness.cli.tables import out, print_table

if TYPE_CHECKING:
    from rlsd.harness.config import RunConfig
    from rlsd.harness.evals.evaluate import EvalResult

CONFIG = Path("configs/quickstart.yaml")
WARM_CONFIG = Path("configs/alfworld/warm_tiny.yaml")


def quickstart(
    folder: Annotated[Path, typer.Option("--run", help="Where everything goes.")] = Path("runs/quickstart"),
    from_scratch: Annotated[
        bool, typer.Option(help="Warm-start too, instead of using the shipped checkpoint.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Train the tiny model with RLSD on generated games; evaluate before and after; write curve.png."""
    from rlsd.harness.config import ConfigError, load_config
    from rlsd.harness.report.charts import learning_curve
    from rlsd.harness.runs.progress import Progress
    from rlsd.harness.train import train

    if not CONFIG.is_file():
        raise ConfigError(f"{CONFIG} is not here; run this in a checkout of the repository")
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(CONFIG, set_ or [])
    if from_scratch:
        config = _warm_started(config, folder)
    out.print(f"start: {config.model.path}; algorithm: {config.algorithm.name}")
    before = _evaluate(config, None, "before")
    train(config, folder / "rlsd", progress=Progress(total=config.iterations))
    after = _evaluate(config, folder / "rlsd" / "best", "after")
    summary = _summary(before, after, time.perf_counter() - started)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    _show(before, after, summary["difference"])
    picture = folder / "curve.png"
    learning_curve({"RLSD": [folder / "rlsd"]}, picture, title="ALFWorld gen-tiny, held-out validation panel")
    out.print(f"{picture} written; {summary['seconds']:.0f} s in all")


def _show(before: EvalResult, after: EvalResult, difference: list[float]) -> None:
    from rlsd.harness.evals.evaluate import table

    panel = before.panel
    print_table(
        f"held-out panel: {len(panel.task_ids)} generated games, hash {panel.digest}",
        table({"before": before, "after RLSD": after}),
    )
    mean, low, high = difference
    out.print(
        f"difference {100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] (one seed, paired over tasks)"
    )


def _warm_started(config: RunConfig, folder: Path) -> RunConfig:
    """Train the warm start first; the config then starts from it."""
    from rlsd.harness.config import load_config
    from rlsd.harness.runs.progress import Progress
    from rlsd.harness.train import train

    warm = load_config(WARM_CONFIG)
    out.print(f"warm start from scratch: {warm.iterations} steps (some 20 minutes on two cores; it resumes)")
    train(warm, folder / "warm", progress=Progress(total=warm.iterations))
    model = config.model.model_copy(update={"path": str(folder / "warm")})
    return config.model_copy(update={"model": model})


def _evaluate(config: RunConfig, weights: Path | None, what: str) -> EvalResult:
    from rlsd.harness.evals.evaluate import evaluate_parts
    from rlsd.harness.iteration.parts import build
    from rlsd.harness.runs.progress import Progress

    parts = build(config, model_path=None if weights is None else str(weights))
    progress = Progress()
    progress.console.print(f"evaluating {what} …")
    return evaluate_parts(parts, "test", progress=progress)


def _summary(before: EvalResult, after: EvalResult, seconds: float) -> dict[str, Any]:
    """What `summary.json` holds: both evaluations, their difference with its interval, seconds."""
    from rlsd.harness.evals.evaluate import by_task
    from rlsd.harness.evals.stats import hierarchical_bootstrap

    first, second = by_task([before, after])
    difference = hierarchical_bootstrap([[float(y) - float(x) for x, y in zip(first, second)]])
    return {
        "before": before.summary(),
        "after": after.summary(),
        "difference": list(difference),
        "seconds": seconds,
    }
