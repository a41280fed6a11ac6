"""Small runs whose episodes a vLLM server may play: settings, their records and the weights they end with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration
from tests.support.plain_worlds import odd_tokens
from tests.support.smallest_run import small_run

BASE = small_run()


def settings(folder: Path, server: FakeVLLM | None = None, **blocks: Any) -> dict[str, Any]:
    data = {**BASE, "model": {"path": str(folder)}}
    if server is not None:
        data["sampler"] = {"backend": "vllm", "urls": [server.url], "reconnect_s": 5}
    for name, block in blocks.items():
        both = isinstance(block, dict) and isinstance(data.get(name), dict)
        data[name] = {**data[name], **block} if both else block
    return data


def records(run: Path) -> list[dict[str, Any]]:
    return [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"]


def weights_after(data: dict[str, Any], steps: int = 3) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    parts = build(parse_config({**data, "iterations": steps}))
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    metrics = [iteration.run(step).metrics for step in range(steps)]
    iteration.close()
    return torch.cat([p.detach().flatten() for p in parts.policy.model.parameters()]), metrics
