"""The first minutes on a GPU in one script: what works there, what it costs, and a curve.

Stages run one after the other, each in processes of its own and within its own share of the time, so that what fails or
hangs costs its stage alone. Everything goes to `--out`: a log and a JSON object a stage, `summary.json`, the run
directories of the curve without their weights.

    facts      the device, versions, and which kernels and packages are there
    parity     log-probs of every way of computing them against one plain forward pass, there and on the CPU
    memory     `rlsd plan` beside measured peaks (benchmarks/plan.py)
    speed      tokens a second, share of the peak, RLSD over GRPO (benchmarks/gpu_smollm2.py)
    transfer   one iteration through a vLLM server that gets its weights by NCCL
    learn      a warm start, then GRPO and RLSD from it on generated ALFWorld games until the time is up

    python benchmarks/gpu_first.py --out results/gpu [--minutes 12] [--model models/smollm2] [--only parity]
    python benchmarks/gpu_first.py --out dry --dry-run      every stage on a CPU with a tiny model

The exit code is 0 if every stage did what it should or says what it lacks; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_stages import ROOT, TINY, Bench, Missing, compared, facts, learn, memory, parity, speed, transfer

SHARES = {"facts": 0.03, "parity": 0.1, "memory": 0.2, "speed": 0.25, "transfer": 0.15, "learn": 1.0}
"""Of the time that is left when a stage begins."""
Stage = Callable[[Bench, float], dict[str, Any]]
STAGES: dict[str, Stage] = {
    "facts": facts,
    "parity": parity,
    "memory": memory,
    "speed": speed,
    "transfer": transfer,
    "learn": learn,
}


def play(bench: Bench, name: str, stage: Stage) -> dict[str, Any]:
    """Run a stage; what becomes of it is data."""
    began, limit = time.monotonic(), bench.left * SHARES[name]
    outcome: dict[str, Any] = {}
    with open(bench.out / f"{name}.log", "w") as log:
        bench.log = log
        try:
            if limit < 1:
                raise Missing("no time was left")
            outcome = {"state": "done", "figures": stage(bench, limit)}
        except Missing as lack:
            outcome = {"state": "left out", "why": str(lack)}
        except Exception as error:  # whatever it is, the other stages go on
            outcome = {"state": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    outcome["seconds"] = round(time.monotonic() - began, 1)
    (bench.out / f"{name}.json").write_text(json.dumps(outcome, indent=1) + "\n")
    print(f"{name}: {outcome['state']}, {outcome['seconds']} s  {outcome.get('why', '')}", flush=True)
    return outcome


def tidy(out: Path) -> None:
    """Take the weights out of what comes back; they are large, and can be made again."""
    for run in ("warm", "start", "grpo", "rlsd", "transfer"):
        for folder in ("checkpoints", "best"):
            shutil.rmtree(out / run / folder, ignore_errors=True)
    shutil.rmtree(out / "start", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "smollm2")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--only", action="append", choices=list(STAGES))
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--keep-weights", action="store_true")
    parser.add_argument("--parity", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parity:
        print(json.dumps(compared(arguments.parity, "cpu" if arguments.dry_run else "cuda")))
        return
    model = TINY if arguments.dry_run else arguments.model
    if not (model / "config.json").is_file():
        parser.error(f"{model} is no model folder; `rlsd fetch smollm2` makes models/smollm2, or name one with --model")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(out=out, model=model.resolve(), dry=arguments.dry_run, ends=time.monotonic() + 60 * arguments.minutes)
    summary = {name: play(bench, name, STAGES[name]) for name in arguments.only or STAGES}
    if not arguments.keep_weights:
        tidy(out)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({name: {k: v for k, v in one.items() if k != "figures"} for name, one in summary.items()}))
    sys.exit(any(one["state"] == "failed" for one in summary.values()))


if __name__ == "__main__":
    main()
