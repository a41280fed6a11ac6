"""Several methods from one start, same seeds and budget, on one held-out evaluation set.

    python benchmarks/methods_side_by_side.py configs/quickstart.yaml --out results/quickstart \
        --methods rlsd grpo opsd rlsd-other-task --seeds 1 2 3 --processes 2

Trains every (method, seed) in a separate process, evaluates the start and each run's best weights (chosen on the
validation set) on the whole test set, and writes OUT/summary.json, OUT/table.md, OUT/curve.png and each run's
metrics. Differences to the start carry 95 % intervals from a hierarchical bootstrap over seeds and tasks. Finished
runs are not repeated, unfinished ones resume.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlsd.harness.evals.stats import hierarchical_bootstrap, wilson
from rlsd.harness.report.charts import learning_curve
from rlsd.harness.runs.metrics import read_metrics

METHODS: dict[str, list[str]] = {
    "rlsd": ["algorithm.name=rlsd"],
    "grpo": ["algorithm.name=grpo"],
    "opsd": ["algorithm.name=opsd", "algorithm.contexts=[plan]"],
    "opsd-unclipped": ["algorithm.name=opsd", "algorithm.contexts=[plan]", "algorithm.loss.distill.element_clip=null"],
    "rlsd-other-task": ["algorithm.name=rlsd", "hindsight.source=other_task"],
    "rlsd-turn": ["algorithm.name=rlsd", "algorithm.credit.level=turn"],
    "rlsd-token": ["algorithm.name=rlsd", "algorithm.credit.level=token"],
    "rlsd-trajectory": ["algorithm.name=rlsd", "algorithm.credit.level=trajectory"],
    "rlsd-wide": [
        "algorithm.name=rlsd",
        "algorithm.credit.level=turn",
        "algorithm.credit.clip=0.9",
        "algorithm.credit.lam=1.0",
    ],
    "gigpo": ["algorithm.name=gigpo"],
    "sdar": ["algorithm.name=sdar"],
}
"""Label → settings that differ from the config's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="run directories; default OUT/runs")
    parser.add_argument("--methods", nargs="+", default=["rlsd", "grpo", "opsd", "rlsd-other-task"], choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument(
        "--also", action="append", default=[], help="LABEL=eval file of the same evaluation set, for the table"
    )
    arguments = parser.parse_args()
    runs = arguments.runs or arguments.out / "runs"
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(m, s) for s in arguments.seeds for m in arguments.methods]
    with ThreadPoolExecutor(arguments.processes) as pool:
        start = pool.submit(evaluate_start, arguments.config, arguments.overrides, runs / "start.json")
        list(pool.map(lambda job: one(*job, arguments.config, arguments.overrides, runs), jobs))
        start.result()
    summary = summarise(arguments, runs)
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (arguments.out / "table.md").write_text(markdown(summary))
    learning_curve(
        {m: [runs / f"{m}-{s}" for s in arguments.seeds] for m in arguments.methods},
        arguments.out / "curve.png",
        title=f"{arguments.config.stem}: held-out validation set, {len(arguments.seeds)} seeds",
    )
    keep_metrics(arguments, runs)
    print(markdown(summary))
    print(json.dumps({m: v["difference"] for m, v in summary["methods"].items()}))


def rlsd(*words: str, log: Path) -> None:
    """Run the command line, output to a file; a failure names the file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        code = subprocess.run([sys.executable, "-m", "rlsd", *words], stdout=file, stderr=file, check=False).returncode
    if code:
        raise SystemExit(f"rlsd {' '.join(words)} failed with {code}; see {log}")


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def evaluate_start(config: Path, overrides: list[str], save: Path) -> None:
    if not save.is_file():
        rlsd(
            "eval", str(config), "--split", "test", "--save", str(save), *sets(overrides), log=save.with_suffix(".log")
        )


def one(method: str, seed: int, config: Path, overrides: list[str], runs: Path) -> None:
    """Train and evaluate one run."""
    folder = runs / f"{method}-{seed}"
    save, log = folder / "test.json", runs / f"{method}-{seed}.log"
    if not save.is_file():
        settings = sets([*overrides, *METHODS[method], f"seed={seed}"])
        rlsd("train", str(config), "--run", str(folder), *settings, log=log)
        rlsd("eval", str(folder), "--split", "test", "--save", str(save), "--seed", str(seed), log=log)


def summarise(arguments: argparse.Namespace, runs: Path) -> dict[str, Any]:
    start = json.loads((runs / "start.json").read_text())
    tasks = sorted(start["wins"])
    base = [float(start["wins"][t]) for t in tasks]
    methods: dict[str, Any] = {}
    for method in arguments.methods:
        evals = [json.loads((runs / f"{method}-{s}" / "test.json").read_text()) for s in arguments.seeds]
        wins = [[float(e["wins"][t]) for t in tasks] for e in evals]
        metrics = [read_metrics(runs / f"{method}-{s}" / "metrics.jsonl") for s in arguments.seeds]
        won, n = int(sum(map(sum, wins))), len(tasks) * len(wins)
        methods[method] = {
            "success": won / n,
            "by_seed": [sum(w) / len(w) for w in wins],
            "difference": list(hierarchical_bootstrap([[x - b for x, b in zip(w, base)] for w in wins])),
            "score": score_difference(start, evals, tasks),
            "by_type": pooled_by_type(evals),
            "credit": credit_means(metrics),
            "seconds": [round(sum(sum_seconds(r["timing"]) for r in records), 1) for records in metrics],
        }
    if "rlsd" in methods:
        ours = [json.loads((runs / f"rlsd-{s}" / "test.json").read_text())["wins"] for s in arguments.seeds]
        for method in arguments.methods:
            theirs = [json.loads((runs / f"{method}-{s}" / "test.json").read_text())["wins"] for s in arguments.seeds]
            apart = [[float(a[t]) - float(b[t]) for t in tasks] for a, b in zip(ours, theirs)]
            methods[method]["rlsd_minus"] = list(hierarchical_bootstrap(apart))
    others = dict(pair.split("=", 1) for pair in arguments.also)
    return {
        "config": str(arguments.config),
        "overrides": arguments.overrides,
        "panel": start["panel"],
        "seeds": arguments.seeds,
        "start": {k: start[k] for k in ("success", "score", "interval", "by_type")},
        "also": {
            name: {
                k: v for k, v in json.loads(Path(file).read_text()).items() if k in ("success", "interval", "by_type")
            }
            for name, file in others.items()
        },
        "methods": methods,
    }


def score_difference(start: dict[str, Any], evals: list[dict[str, Any]], tasks: list[str]) -> dict[str, Any] | None:
    """Mean score and its difference to the start's; None if scores equal success."""
    files = (start, *evals)
    if any("scores" not in e for e in files) or all(e["scores"] == e["wins"] for e in files):
        return None
    scores = [[e["scores"][t] for t in tasks] for e in evals]
    apart = [[x - start["scores"][t] for x, t in zip(seed, tasks)] for seed in scores]
    mean = sum(map(sum, scores)) / (len(tasks) * len(scores))
    return {"mean": mean, "difference": list(hierarchical_bootstrap(apart))}


def sum_seconds(timing: dict[str, float]) -> float:
    """Wall seconds of one record: a whole iteration, or an evaluation."""
    return timing.get("iteration_s", 0.0) + timing.get("eval_s", 0.0)


def pooled_by_type(evals: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in evals[0]["by_type"]:
        n = sum(e["by_type"][name]["episodes"] for e in evals)
        won = round(sum(e["by_type"][name]["success"] * e["by_type"][name]["episodes"] for e in evals))
        out[name] = {"success": won / n, "interval": list(wilson(won, n)), "episodes": n}
    return out


def credit_means(runs: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Diagnostics averaged over the iterations with hindsight."""
    diagnostics = [r["credit"] for run in runs for r in run if r["kind"] == "train" and r.get("credit", {}).get("lam")]
    names = ("weight_shift", "clipped", "gap_success", "gap_failure")
    return {
        n: sum(c[n] for c in diagnostics if n in c) / max(1, sum(n in c for c in diagnostics))
        for n in names
        if diagnostics
    }


def percent(value: float, interval: list[float]) -> str:
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def markdown(summary: dict[str, Any]) -> str:
    """A table of success and differences, one of success by task type, one of credit diagnostics."""
    panel, start = summary["panel"], summary["start"]
    lines = [
        f"Test set {panel['digest']} ({panel['tasks']} tasks), seeds {summary['seeds']}. Success in % [95 %].",
        "",
        "| agent | success | by seed | minus start | rlsd minus it |",
        "|---|---|---|---|---|",
    ]
    for name, other in summary["also"].items():
        lines.append(f"| {name} | {percent(other['success'], other['interval'])} | | | |")
    lines.append(f"| start | {percent(start['success'], start['interval'])} | | | |")
    for name, m in summary["methods"].items():
        mean, low, high = m["difference"]
        seeds = ", ".join(f"{100 * x:.1f}" for x in m["by_seed"])
        apart = m.get("rlsd_minus") if name != "rlsd" else None
        versus = "" if apart is None else f"{100 * apart[0]:+.1f} [{100 * apart[1]:+.1f}, {100 * apart[2]:+.1f}]"
        lines.append(
            f"| {name} | {100 * m['success']:.1f} | {seeds} | "
            f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] | {versus} |"
        )
    scored = {name: m["score"] for name, m in summary["methods"].items() if m["score"]}
    if scored:
        lines += ["", "| agent | score | minus start |", "|---|---|---|", f"| start | {100 * start['score']:.1f} | |"]
    for name, score in scored.items():
        apart = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in score["difference"]))
        lines.append(f"| {name} | {100 * score['mean']:.1f} | {apart} |")
    columns = {**summary["also"], "start": start, **summary["methods"]}
    lines += ["", f"| task type | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for kind in start["by_type"]:
        cells = [percent(c["by_type"][kind]["success"], c["by_type"][kind]["interval"]) for c in columns.values()]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "| method | mean \\|m−1\\| | share clipped | Δ of wins | Δ of losses |", "|---|---|---|---|---|"]
    for name, m in summary["methods"].items():
        if m["credit"]:
            c = m["credit"]
            lines.append(
                f"| {name} | {c['weight_shift']:.3f} | {c['clipped']:.3f} | "
                f"{c['gap_success']:+.3f} | {c['gap_failure']:+.3f} |"
            )
    return "\n".join(lines) + "\n"


def keep_metrics(arguments: argparse.Namespace, runs: Path) -> None:
    """Copy each run's metrics and config to the summary's folder."""
    folder = arguments.out / "metrics"
    folder.mkdir(exist_ok=True)
    for method in arguments.methods:
        for seed in arguments.seeds:
            run = runs / f"{method}-{seed}"
            with gzip.open(folder / f"{run.name}.jsonl.gz", "wb") as file:
                file.write((run / "metrics.jsonl").read_bytes())
            shutil.copy(run / "config.yaml", folder / f"{run.name}.yaml")


if __name__ == "__main__":
    main()
