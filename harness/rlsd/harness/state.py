"""What a checkpoint keeps of an optimizer, by the names of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rlsd.harness import wrapping


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Moments as tensors by `name/moment`, and step counts by weight name."""
    tensors: dict[str, Tensor] = {}
    counts: dict[str, float] = {}
    for name, p in model.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            if key == "step":
                counts[name] = float(value)
            else:
                tensors[f"{name}/{key}"] = value
    return tensors, counts


@torch.no_grad()
def put_back(
    model: nn.Module, optimizer: torch.optim.Optimizer, weights: Any, moments: Any, counts: dict[str, float]
) -> None:
    """Write whole tensors into a model and its optimizer, sharded or not.

    Args:
        weights: by name (any mapping; each is read once).
        moments: likewise, by `name/moment`.

    Raises:
        KeyError: a weight is missing.
        RuntimeError: a weight has another shape.
    """
    keys = {name: [k for k in moments if k.rpartition("/")[0] == name] for name in counts}
    for name, p in model.named_parameters():
        if p.requires_grad:
            wrapping.put(p, weights[name])
        if name not in counts:
            continue
        held: dict[str, Any] = {"step": torch.tensor(counts[name])}
        for key in keys[name]:
            held[key.rpartition("/")[2]] = moment = torch.zeros_like(p)
            wrapping.put(moment, moments[key])
        optimizer.state[p] = held
