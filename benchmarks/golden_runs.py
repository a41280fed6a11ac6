"""Compares the metrics of short runs with recorded ones, bit for bit; for changes that must not change results.

    python benchmarks/golden_runs.py --record       run everything, write results/golden_runs/
    python benchmarks/golden_runs.py                run everything, compare; exit code 1 where a number differs

The quickstart's first two iterations, the same against a sampling server, a warm start from scratch, a full-vocabulary
divergence, and KL to the initial weights with an EMA teacher. All on one thread. Timings are left out. The record is
valid for one set of versions and one processor type, stored with it: elsewhere, record first, change, compare.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "results" / "golden_runs"
QUICK = ("configs/quickstart.yaml", "iterations=2", "eval.every=2", "eval.episodes=24", "rollout.tasks_per_iteration=8")
WARM = ("configs/alfworld/warm_tiny.yaml", "iterations=3", "eval.every=3", "eval.episodes=8", "sft.workers=0")
RUNS: dict[str, Sequence[str]] = {
    "quickstart": QUICK,
    "served": (*QUICK, "rollout.group_size=4", "sampler.backend=vllm", "sampler.urls=[{url}]"),
    "sft": WARM,
    "opsd": (*QUICK, "algorithm={{name: opsd, contexts: [plan]}}", "rollout.group_size=2"),
    "kl_ema": (
        *QUICK,
        "rollout.group_size=4",
        "algorithm.loss.kl_coef=0.01",
        "algorithm.teacher.weights=ema",
        "algorithm.credit.level=token",
        "learner.epochs=2",
    ),
}
"""A config and its overrides; `{url}` is the fake server's."""


def run(name: str, folder: Path, url: str) -> list[dict[str, Any]]:
    """The records of one run, without timings."""
    config, *settings = (s.format(url=url) for s in RUNS[name])
    command = [sys.executable, "-m", "rlsd", "train", config, "--run", str(folder), "--quiet"]
    for setting in [*settings, "threads=1", "tensorboard=false", "seed=1"]:
        command += ["--set", setting]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "timing"} for line in lines]


def differences(recorded: Any, current: Any, path: str = "") -> list[str]:
    """Where `current` differs from the record; new keys are not differences."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        return [line for key in recorded for line in differences(recorded[key], current.get(key), f"{path}.{key}")]
    if isinstance(recorded, list) and isinstance(current, list) and len(recorded) == len(current):
        return [line for i, pair in enumerate(zip(recorded, current)) for line in differences(*pair, f"{path}[{i}]")]
    return (
        [] if recorded == current and type(recorded) is type(current) else [f"{path}: {recorded!r} is now {current!r}"]
    )


def environment() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "tokenizers", "numpy", "gymnasium")
    return {"machine": platform.machine(), "python": platform.python_version(), **{n: version(n) for n in names}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    arguments = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "rlsd.agents.vllm.fake.server", "checkpoints/warm_tiny", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wrong: dict[str, list[str]] = {}
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder:
            for name in arguments.only:
                records = run(name, Path(folder) / name, url)
                place = RECORD / f"{name}.jsonl"
                if arguments.record:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text("".join(json.dumps(r) + "\n" for r in records))
                    continue
                recorded = [json.loads(line) for line in place.read_text().splitlines()]
                wrong[name] = differences(recorded, records)
                for line in wrong[name][:20]:
                    print(f"{name}{line}")
    finally:
        server.kill()
    if arguments.record:
        (RECORD / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n")
    print(
        json.dumps(
            {"recorded": arguments.only}
            if arguments.record
            else {n: "differs" if w else "same" for n, w in wrong.items()}
        )
    )
    sys.exit(any(wrong.values()))


if __name__ == "__main__":
    main()
