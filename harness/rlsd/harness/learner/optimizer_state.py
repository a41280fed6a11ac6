"""State of the optimizer, by the names of the weights, and of random numbers for checkpoints.

Any optimizer is restored whose state of a weight holds tensors shaped like the weight, and a `step` count or none:
AdamW, SGD with momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rlsd.harness.distributed import put


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
    keys: dict[str, list[str]] = {}
    for key in moments:
        keys.setdefault(key.rpartition("/")[0], []).append(key)
    for name, p in model.named_parameters():
        if p.requires_grad:
            put(p, weights[name])
        if name not in counts and name not in keys:
            continue
        state: dict[str, Any] = {"step": torch.tensor(counts[name], device=p.device)} if name in counts else {}
        for key in keys.get(name, ()):
            state[key.rpartition("/")[2]] = moment = torch.zeros_like(p)
            put(moment, moments[key])
        optimizer.state[p] = state


def random_state(device: torch.device) -> dict[str, Tensor]:
    """States of torch's random generators: the CPU's, and the device's if it has its own."""
    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the result of `random_state`. Checkpoints of earlier versions lack the device's state: its seed stays.

    Raises:
        KeyError: the CPU's state is missing.
    """
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
