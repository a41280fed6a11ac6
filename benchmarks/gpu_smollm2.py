"""SmolLM2-135M on one GPU: tokens per second of rollout and update, share of the GPU's peak, RLSD over GRPO.

The config is the CPU one except for its learner and sampler blocks (configs/launch/one_gpu.yaml). Needs CUDA, `rlsd
fetch smollm2`, and the published games where they are present (generated ones otherwise). The episodes of a group get
unequal returns, independent of success: the published model wins nothing, and without advantages nothing is trained.
The last line is one JSON object.

    python benchmarks/gpu_smollm2.py [--model models/smollm2] [--steps 5] [--peak-tflops 989]
    python benchmarks/gpu_smollm2.py --dry-run      the same code on a CPU with a tiny model, as a smoke test
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
import yaml
from iteration import REAL, Side, by_number, games, measure, report

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "alfworld" / "rlsd_smollm2.yaml"
LAUNCH = ROOT / "configs" / "launch" / "one_gpu.yaml"
PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "4090": 165, "3090": 71}
"""Dense bfloat16 peak by a part of the device's name, from the vendor's data sheets."""
GENERATED = ["env.kwargs.games=gen-easy", "env.valid_split=valid", "env.test_split=test"]


def flops_a_token(model: Any) -> float:
    """Forward and backward of one token without attention: 6 × weights, counting the embedding table once (it is the
    head)."""
    return 6.0 * sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def throughput(side: Side, peak: float | None) -> dict[str, float]:
    """Medians over iterations. `update` counts the columns trained on, without `score`."""
    decoded = [t["decode"] / s for t, s in zip(side.tokens, side.rollout)]
    prefilled = [t["prefill"] / s for t, s in zip(side.tokens, side.rollout)]
    trained = [t.get("update", 0) / m["timing"]["update_s"] for t, m in zip(side.tokens, side.metrics)]
    scored = [
        (t.get("student", 0) + t.get("teacher", 0) + t.get("prefix", 0)) / m["timing"]["score_s"]
        for t, m in zip(side.tokens, side.metrics)
    ]
    rate = statistics.median(trained)
    out = {
        "rollout_decoded_tokens_per_s": statistics.median(decoded),
        "rollout_prefilled_tokens_per_s": statistics.median(prefilled),
        "score_tokens_per_s": statistics.median(scored),
        "update_tokens_per_s": rate,
    }
    if peak is not None:
        out["update_share_of_peak"] = rate * flops_a_token(side.parts.policy.model) / (peak * 1e12)
    return out


def settings(arguments: argparse.Namespace) -> tuple[Path, list[str]]:
    """The config and its overrides: the GPU's blocks, and a batch that fills it."""
    if arguments.dry_run:
        small = ["rollout.tasks_per_iteration=2", "rollout.group_size=3", "rollout.max_turns=3", "agent.max_new_tokens=8"]
        tiny = f"model.path={ROOT / 'checkpoints' / 'warm_tiny'}"
        return CONFIG, [tiny, *GENERATED, *small, "agent.keep=0", "hindsight.max_tokens=64", "threads=1"]
    batch = ["rollout.tasks_per_iteration=16", "rollout.group_size=8", "rollout.max_concurrent=128", "rollout.max_turns=15"]
    world = REAL if games(CONFIG) else GENERATED
    blocks = yaml.safe_load(LAUNCH.read_text())
    machine = [f"{name}.{key}={value}" for name, block in blocks.items() for key, value in block.items()]
    return CONFIG, [f"model.path={arguments.model}", *world, *machine, *batch, *arguments.overrides]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "smollm2")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--peak-tflops", type=float, help="dense bfloat16 peak of the GPU, if its name is not known")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    arguments = parser.parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --dry-run runs a tiny model on the CPU")
    base, overrides = settings(arguments)
    steps = 1 if arguments.dry_run else arguments.steps
    sides = measure(base, overrides, ["grpo", "rlsd", "naive"], steps, reward=by_number)
    name = "CPU" if arguments.dry_run else torch.cuda.get_device_name()
    known = [peak for part, peak in PEAK_TFLOPS.items() if part in name]
    peak = arguments.peak_tflops or (known[0] if known else None)
    rates = {side: throughput(sides[side], peak) for side in ("grpo", "rlsd")}
    memory = 0 if arguments.dry_run else torch.cuda.max_memory_allocated() / 2**30
    setup = {"device": name, "peak_tflops": peak, "peak_memory_gib": round(memory, 2), "rates": rates}
    print(json.dumps({**report(sides), **setup, "torch": torch.__version__, "steps": arguments.steps}))


if __name__ == "__main__":
    main()
