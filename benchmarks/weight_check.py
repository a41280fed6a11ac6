"""Cost of looking for infinite and NaN weights after each update, as a share of the update.

CPU seconds (GPU: seconds to the end of the device's work) of one forward and backward pass with an optimizer step, of
the step alone, of a step that is not fused, and of the check, the median of some repeats each, in turns. The last line
is one JSON object.

    python benchmarks/weight_check.py [--layers 4] [--dim 512] [--tokens 1024] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from rlsd.harness.learner.finite import broken_weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=arguments.dim,
        intermediate_size=arguments.dim * 8 // 3,
        num_hidden_layers=arguments.layers,
        num_attention_heads=8,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model = made.to(arguments.device, getattr(torch, arguments.dtype))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    unfused = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=False)
    ids = torch.randint(8192, (arguments.tokens // 256, 256), device=arguments.device)

    def gradient() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids).loss.backward()

    def check() -> None:
        assert broken_weight(model) is None

    def seconds(work: Callable[[], object]) -> float:
        now = time.perf_counter if cuda else time.process_time
        started = now()
        work()
        if cuda:
            torch.cuda.synchronize()
        return now() - started

    parts = {"gradient": gradient, "step": optimizer.step, "unfused_step": unfused.step, "check": check}
    for work in parts.values():  # what is loaded and allocated on first use
        work()
    turns = [{name: seconds(work) for name, work in parts.items()} for _ in range(arguments.repeats)]
    found = {name: median(turn[name] for turn in turns) for name in parts}
    update = found["gradient"] + found["step"]
    weights = sum(p.numel() for p in model.parameters())
    print(f"{weights:,} weights, {ids.numel():,} tokens: update {update:.4f} s, check {found['check']:.5f} s")
    print(
        f"check / update = {found['check'] / update:.4f}, check / optimizer step = {found['check'] / found['step']:.3f}"
    )
    print(f"fused step / step = {found['step'] / found['unfused_step']:.3f}")
    print(json.dumps({"weights": weights, "tokens": ids.numel(), **found, "ratio": found["check"] / update}))


if __name__ == "__main__":
    main()
