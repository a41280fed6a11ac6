"""Memory and time of one row by its length: scoring with hindsight, and an update.

A row has a turn for every 1,024 tokens, with a response of 64 and hindsight of 128, and runs through a model of one
layer and two heads, in a process of its own on one thread: growth of resident memory, and CPU seconds.

    score     log-probs of student view and hindsight, as a run computes them
    update    forward and backward of the student view, and the optimizer's step
    masked    the scores under one mask of all pairs of columns, as they would be without a limit; short rows only

A length that would take over --limit CPU seconds, by the square of the last one, is skipped. Exponents are slopes of
log(MiB) and log(seconds) over log(tokens) between the first and the last length. The last line is one JSON object.

    python benchmarks/long_rows.py [--lengths 4096 16384 32768 131072] [--only score] [--out results/long_rows.json]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LENGTHS = (4_096, 16_384, 32_768, 131_072)
MASKED = 16_384
"""Longest row under a mask: 1 GiB of it."""
TURN = 1024
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}


def status(key: str) -> int:
    """Bytes that /proc/self/status gives for a key."""
    line = next(li for li in Path("/proc/self/status").read_text().splitlines() if li.startswith(key))
    return int(line.split()[1]) * 1024


def growth(work: Callable[[], Any]) -> dict[str, float]:
    """Peak of resident memory during `work` above what is there before, in MiB, and CPU seconds."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before, started = status("VmRSS"), time.process_time()
    work()
    return {"mib": (status("VmHWM") - before) / 2**20, "seconds": time.process_time() - started}


def measure(way: str, length: int) -> None:
    """Print one measurement."""
    from transformers import AutoModelForCausalLM

    from rlsd.agents.hf.kv_cache import LARGEST_MASK
    from rlsd.agents.hf.models import tiny_config
    from rlsd.agents.hf.policy import Policy
    from rlsd.harness.config import LearnerConfig
    from rlsd.harness.distributed import Ranks
    from rlsd.harness.learner.learner import Learner
    from rlsd.harness.plan.episodes import Longest
    from rlsd.harness.scoring.scorer import Scorer
    from rlsd.harness.scoring.token_model import TokenModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = tiny_config(vocab=512, layers=1, dim=16, heads=2, context=2**18)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", trust_remote_code=False).eval()
    settings = LearnerConfig(prefix_sharing=way != "masked")
    policy = Policy(model=model, tokenizer=None, eos_ids=frozenset(), context=2**18)
    learner = Learner(policy, settings, temperature=1.0, ranks=Ranks(device=torch.device("cpu")))
    largest = 2**40 if way == "masked" else LARGEST_MASK
    scorer = Scorer(TokenModel(model, temperature=1.0, largest_mask=largest), settings, learner.ranks)

    def work(tokens: int) -> None:
        turns = tokens // TURN
        episode = Longest(row=tokens, turns=turns, turns_in_row=turns, response=64, hindsight=128)
        if way == "update":
            learner.update([episode.student()], lambda part: part.logp.sum())
        else:
            scorer.logprobs([episode.both()], 64 * turns)

    work(2 * TURN)  # exclude what is loaded on first use
    print(json.dumps(growth(lambda: work(length))))


def slope(found: dict[int, dict[str, float]], key: str) -> float | None:
    """d log(key) / d log(tokens) from the shortest row to the longest."""
    short, long = min(found), max(found)
    return round(math.log(found[long][key] / found[short][key]) / math.log(long / short), 3) if long > short else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--only", choices=["score", "update", "masked"], action="append")
    parser.add_argument("--limit", type=float, default=600.0, help="CPU seconds of one measurement")
    parser.add_argument("--out", type=Path, help="write the JSON object here too")
    parser.add_argument("--measure", type=int, help="this length, in this process")
    arguments = parser.parse_args()
    ways = arguments.only or ["score", "update", "masked"]
    if arguments.measure:
        measure(ways[0], arguments.measure)
        return
    report: dict[str, Any] = {}
    for way in ways:
        found: dict[int, dict[str, float]] = {}
        skipped: dict[int, str] = {}
        for length in sorted(arguments.lengths):
            expected = max((f["seconds"] * (length / n) ** 2 for n, f in found.items()), default=0.0)
            if way == "masked" and length > MASKED:
                skipped[length] = f"a mask of {length**2 / 2**28:.0f} GiB"
            elif expected > arguments.limit:
                skipped[length] = f"some {expected:.0f} CPU seconds"
            if length in skipped:
                print(f"{way}, {length:,} tokens: skipped, {skipped[length]}", flush=True)
                continue
            command = [sys.executable, "-W", "ignore", __file__, "--only", way, "--measure", str(length)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ALLOCATOR)
            found[length] = one = json.loads(done.stdout.splitlines()[-1])
            print(f"{way}, {length:,} tokens: {one['mib']:.1f} MiB, {one['seconds']:.2f} s", flush=True)
        report[way] = {
            "rows": {n: {k: round(v, 2) for k, v in f.items()} for n, f in found.items()},
            "memory_exponent": slope(found, "mib"),
            "time_exponent": slope(found, "seconds"),
            "skipped": skipped,
        }
    print(json.dumps(report))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
