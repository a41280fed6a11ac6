"""Finds weights that are infinite or NaN, at the cost of one norm of all weights."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import torch
from torch import Tensor, nn

from rlsd.harness.distributed import held


@torch.no_grad()
def first_broken(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """The first weight with a value that is infinite or NaN, and how many it has; of sharded ones this process's part.

    One fused norm a device and type: a sum of squares that is finite has no such value in it. If it is not (squares of
    large float16 weights may overflow), the weights are looked at one by one.
    """
    mine = [(name, held(value)[0]) for name, value in named]
    mine = [(name, value) for name, value in mine if value.is_floating_point() and value.numel()]
    sums = []
    for _, group in groupby(mine, key=lambda item: (item[1].device, item[1].dtype)):
        norms = torch._foreach_norm([value for _, value in group])
        sums.append(torch.stack(norms).sum().double().cpu())
    if not sums or bool(torch.stack(sums).isfinite().all()):
        return None
    for name, value in mine:
        broken = value.numel() - int(value.isfinite().sum())
        if broken:
            return f"{name} ({broken:,} of {value.numel():,} values)"
    return None


def broken_weight(model: nn.Module) -> str | None:
    """`first_broken` of all weights of a model, trained or not."""
    return first_broken(model.named_parameters())
