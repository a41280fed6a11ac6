"""The quickstart: a tiny model, generated games, RLSD; success before and after on a frozen held-out panel.

    [warm start] → evaluate → train with RLSD → evaluate → table, curve.png

Starts from the checkpoint the repository ships unless told to warm-start too; says which it did.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from rlsd.harness.cli.tables import print_table
from rlsd.harness.config import ConfigError, RunConfig, load_config
from rlsd.harness.evals.evaluate import EvalResult, by_task, evaluate_parts, table
from rlsd.harness.evals.stats import hierarchical_bootstrap
from rlsd.harness.iteration.parts import build
from rlsd.harness.report.plot import curve
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import train

CONFIG = Path("configs/quickstart.yaml")
WARM_CONFIG = Path("configs/alfworld/warm_tiny.yaml")


def run_quickstart(folder: Path, *, from_scratch: bool, overrides: list[str], console: Console) -> dict[str, Any]:
    """Do the whole thing; resumes where it was stopped.

    Returns:
        What `summary.json` in `folder` holds: success before and after, their difference with its interval, seconds.
    """
    if not CONFIG.is_file():
        raise ConfigError(f"{CONFIG} is not here; run this in a checkout of the repository")
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(CONFIG, overrides)
    if from_scratch:
        config = _warm_started(config, folder, console)
    console.print(f"start: {config.model.path}; algorithm: {config.algorithm.name}")
    before = _evaluate(config, None, "before")
    train(config, folder / "rlsd", progress=Progress(total=config.iterations))
    after = _evaluate(config, folder / "rlsd" / "best", "after")
    summary = _summary(before, after, time.perf_counter() - started)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    panel = before.panel
    print_table(
        f"held-out panel: {len(panel.task_ids)} generated games, hash {panel.digest}",
        table({"before": before, "after RLSD": after}),
    )
    mean, low, high = summary["difference"]
    console.print(
        f"difference {100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] (one seed, paired over tasks)"
    )
    curve({"RLSD": [folder / "rlsd"]}, folder / "curve.png", title="ALFWorld gen-tiny, held-out validation panel")
    console.print(f"{folder / 'curve.png'} written; {summary['seconds']:.0f} s in all")
    return summary


def _warm_started(config: RunConfig, folder: Path, console: Console) -> RunConfig:
    """Train the warm start first; the config then starts from it."""
    warm = load_config(WARM_CONFIG)
    console.print(f"warm start from scratch: {warm.iterations} steps (some 20 minutes on two cores; it resumes)")
    train(warm, folder / "warm", progress=Progress(total=warm.iterations))
    model = config.model.model_copy(update={"path": str(folder / "warm")})
    return config.model_copy(update={"model": model})


def _evaluate(config: RunConfig, weights: Path | None, what: str) -> EvalResult:
    parts = build(config, model_path=None if weights is None else str(weights))
    progress = Progress()
    progress.console.print(f"evaluating {what} …")
    return evaluate_parts(parts, "test", progress=progress)


def _summary(before: EvalResult, after: EvalResult, seconds: float) -> dict[str, Any]:
    first, second = by_task([before, after])
    difference = hierarchical_bootstrap([[float(y) - float(x) for x, y in zip(first, second)]])
    return {
        "before": before.summary(),
        "after": after.summary(),
        "difference": list(difference),
        "seconds": seconds,
    }
