"""Tensor parallelism: decoder layers split over processes by the plan that a transformers architecture brings along.

Columns of the projections into attention and feed-forward blocks, rows of those out of them, heads in between; what a
block returns is summed (Megatron-LM, Shoeybi et al. 2019). Embeddings, the head and norms between blocks are not
split: losses read whole logits. FSDP2 then shards over the other processes what is left (`parallel.shard`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from rlsd.agents.hf.abilities import text_config
from rlsd.agents.hf.models import split_head
from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.distributed import Ranks, held, whole

HEADS = 2
"""Dimension of a norm's input that counts heads, where each head is normalised: (B, T, H, D)."""
STYLES: Mapping[str, ParallelStyle] = {
    "colwise": ColwiseParallel(),
    "rowwise": RowwiseParallel(),
    "replicated_with_grad_allreduce": SequenceParallel(sequence_dim=HEADS, use_local_output=True),
}
"""Names in a plan of transformers, and torch's way to do it."""
INSTEAD = "leave learner.tensor_parallel at 1 (learner.parallel: fsdp2 alone shards any model)"


def mesh_of(settings: LearnerConfig, ranks: Ranks) -> DeviceMesh | None:
    """The processes as a (data, tensor) table; None without tensor parallelism. Neighbours share layers.

    Raises:
        ConfigError: the number of processes is not a multiple.
    """
    size = settings.tensor_parallel
    if size == 1:
        return None
    check_processes(size, ranks.world)
    table = torch.arange(ranks.world).view(-1, size)
    wait = timedelta(seconds=settings.timeout_s)  # groups that a mesh makes itself wait as long as they like
    groups: list[Any] = [dist.new_subgroups_by_enumeration(part.tolist(), timeout=wait)[0] for part in (table.T, table)]
    return DeviceMesh.from_group(groups, ranks.device.type, mesh=table, mesh_dim_names=("data", "tensor"))


def check_processes(size: int, world: int) -> None:
    """
    Raises:
        ConfigError: `world` processes are no multiple of the `size` that share each layer.
    """
    if world % size:
        raise ConfigError(
            f"learner.tensor_parallel is {size}, but {world} processes run: start a multiple of it, or set "
            "learner.tensor_parallel=1"
        )


def data_ranks(ranks: Ranks, mesh: DeviceMesh | None) -> Ranks:
    """The processes among which rows are divided: all, or with tensor parallelism those with the same part of the
    layers. The others compute the same rows."""
    if mesh is None:
        return ranks
    data = mesh["data"]
    return Ranks(rank=data.get_local_rank(), world=data.size(), device=ranks.device, group=data.get_group())


def check_split(model: Any, size: int) -> None:
    """Check that the layers of a model (weights may be on the meta device) can be split over `size` processes.

    Raises:
        ConfigError: an architecture without a plan, with a plan that needs more than columns, rows and heads, or that
            leaves weights of a split block out; heads or widths that `size` does not divide.
    """
    config, name = text_config(model), type(split_head(model)[0]).__name__
    split = list(_planned(model))
    if not split:
        raise ConfigError(f"{name} has no plan for tensor parallelism in transformers: {INSTEAD}")
    for key in ("num_attention_heads", "num_key_value_heads"):
        _divide(size, name, getattr(config, key, None) or size, key)
    for path, module, kind in split:
        linear = getattr(module, "base_layer", module)
        if kind not in STYLES or (kind in ("colwise", "rowwise") and type(linear) is not nn.Linear):
            raise ConfigError(f"learner.tensor_parallel: {name} splits {path} by {kind!r}, which we do not: {INSTEAD}")
        width = {"colwise": "out_features", "rowwise": "in_features"}.get(kind)
        _divide(size, f"{path} of {name}", getattr(linear, width) if width else size, width or "")
    known = [path for path, _, _ in split]
    blocks = {path.rpartition(".")[0] for path in known}
    for path, _ in split_head(model)[0].named_parameters():
        inside = any(path.startswith(f"{block}.") for block in blocks)
        if inside and not any(path.startswith(f"{mine}.") for mine in known):
            raise ConfigError(f"learner.tensor_parallel: the plan of {name} leaves {path} out: {INSTEAD}")


def split_layers(model: Any, mesh: DeviceMesh) -> None:
    """Split the layers in place; every process of the 1-D `mesh` must have the same weights.

    Raises:
        ConfigError: as `check_split`.
    """
    check_split(model, mesh.size())
    for _, module, kind in list(_planned(model)):
        for part in _parts(module, kind):
            trained = [p.requires_grad for p in part.parameters()]
            parallelize_module(part, mesh, STYLES[kind], src_data_rank=None)
            for p, wanted in zip(part.parameters(), trained, strict=True):
                p.requires_grad_(wanted)


def alike(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters, apart by how they are spread over processes: torch computes with those of one mesh at a time."""
    found: dict[Any, list[nn.Parameter]] = {}
    for p in parameters:
        found.setdefault((p.device_mesh, p.placements) if isinstance(p, DTensor) else None, []).append(p)
    return list(found.values())


def clip(parameters: list[nn.Parameter], most: float, ranks: Ranks) -> Tensor:
    """Scale gradients down to a norm of at most `most`, all of them together; returns their norm before, whole."""
    groups = alike([p for p in parameters if p.grad is not None])
    if len(groups) < 2:
        return whole(torch.nn.utils.clip_grad_norm_(parameters, most))
    squares = torch.zeros(())
    for group in groups:
        mine = torch.nn.utils.get_total_norm([held(p.grad)[0] for p in group if p.grad is not None])
        squares += mine.cpu().float() ** 2 / (ranks.world // _pieces(group[0]))
    total = ranks.sum(squares).sqrt()
    for group in groups:
        torch.nn.utils.clip_grads_with_norm_(group, most, total)
    return total


def _pieces(parameter: Tensor) -> int:
    """Number of parts that a parameter is in; a part is on world / pieces processes."""
    assert isinstance(parameter, DTensor), "weights that are not spread are all alike"
    split = [hasattr(placement, "dim") for placement in parameter.placements]
    return math.prod(size for size, some in zip(parameter.device_mesh.shape, split) if some)


def _planned(model: Any) -> Iterator[tuple[str, nn.Module, str]]:
    """(name in the backbone, module, kind) of what the plan splits in the decoder layers."""
    plan: Mapping[str, str] = getattr(text_config(model), "base_model_tp_plan", None) or {}
    kinds = [(re.escape(key).replace(r"\*", r"\d+"), kind) for key, kind in plan.items() if key.startswith("layers.")]
    for name, module in split_head(model)[0].named_modules():
        for pattern, kind in kinds:
            if re.fullmatch(pattern, name):
                yield name, module, kind


def _parts(module: nn.Module, kind: str) -> list[nn.Module]:
    """What is split of a module: itself, or of one with a LoRA adapter the frozen layer and the matrix that has its
    split side (B for columns, A for rows)."""
    base = getattr(module, "base_layer", None)
    if base is None:
        return [module]
    adapters: Any = getattr(module, "lora_B" if kind == "colwise" else "lora_A")
    return [base, *adapters.values()]


def _divide(size: int, owner: str, count: int, what: str) -> None:
    if count % size:
        raise ConfigError(f"learner.tensor_parallel is {size}, but {owner} has {count} {what}: take a divisor of it")
