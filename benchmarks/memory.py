"""Peak memory of the loss: log-probs with gradient in chunks against one log-softmax over everything.

Each side runs in a separate process and reports the growth of its peak memory: forward and backward, with the gradient
of the output embedding, which both need. T = 2,048 tokens, V = 49,152 words, D = 576 (SmolLM2-135M). The last line is
one JSON object; with several T a list of them.

    python benchmarks/memory.py [--tokens 512 1024 2048] [--vocabulary 49152] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import torch

from rlsd.algorithms import chunked_logprobs


def naive(hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(head(hidden).float(), dim=-1).gather(-1, targets[:, None]).squeeze(-1)


def chunked(hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    return chunked_logprobs(hidden, head, targets)[0]


WAYS = {"naive": naive, "chunked": chunked}


def peak(device: str) -> float:
    """Highest memory so far, in MiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(way: str, tokens: int, arguments: argparse.Namespace) -> None:
    """Print the growth of the peak in MiB, and the loss."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    head = torch.nn.Linear(arguments.width, arguments.vocabulary, bias=False, device=arguments.device)
    hidden = torch.randn(tokens, arguments.width, device=arguments.device, requires_grad=True)
    targets = torch.randint(arguments.vocabulary, (tokens,), device=arguments.device)
    warm = WAYS[way](hidden[:2], head, targets[:2]).sum()  # exclude what is loaded on first use
    warm.backward()
    head.zero_grad()
    before = peak(arguments.device)
    loss = WAYS[way](hidden, head, targets).sum()
    loss.backward()
    assert hidden.grad is not None
    size = float(hidden.grad.norm())
    print(json.dumps({"mib": peak(arguments.device) - before, "loss": float(loss), "gradient": size}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048])
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--way", choices=list(WAYS), help="measure this one only, in this process")
    arguments = parser.parse_args()
    if arguments.way:
        one(arguments.way, arguments.tokens[0], arguments)
        return
    reports = [compared(tokens, arguments) for tokens in arguments.tokens]
    print(json.dumps(reports if len(reports) > 1 else reports[0]))


def compared(tokens: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both ways at one length."""
    results = {}
    for way in WAYS:
        command = [sys.executable, *sys.argv, "--tokens", str(tokens), "--way", way]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results[way] = json.loads(done.stdout.splitlines()[-1])
        print(f"{tokens} tokens, {way}: {results[way]['mib']:.0f} MiB", flush=True)
    naive_, chunked_ = results["naive"], results["chunked"]
    return {
        "chunked_over_naive": round(chunked_["mib"] / naive_["mib"], 4),
        "naive_mib": round(naive_["mib"]),
        "chunked_mib": round(chunked_["mib"]),
        "loss_difference_a_token": abs(chunked_["loss"] - naive_["loss"]) / tokens,
        "gradient_difference": abs(chunked_["gradient"] / naive_["gradient"] - 1.0),
        "tokens": tokens,
        "vocabulary": arguments.vocabulary,
        "device": arguments.device,
    }


if __name__ == "__main__":
    main()
