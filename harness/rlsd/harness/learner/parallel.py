"""How a model is spread over processes and fits into memory: DDP, FSDP2 (with tensor parallelism, if wanted), mixed
precision, recomputation, liger."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

from rlsd.agents.hf.abilities import text_config
from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.distributed import Ranks, RanksError
from rlsd.harness.learner.tensor_parallel import split_layers
from rlsd.harness.scoring.masks import block_mask
from rlsd.harness.scoring.sequences import Branch, Row
from rlsd.harness.scoring.token_model import LOW, TokenModel


def wrapper_of(settings: LearnerConfig, ranks: Ranks) -> str:
    """The wrapper that `auto` stands for.

    Raises:
        ConfigError: `none` with several processes, which would train separate models, or `ddp` or `fsdp2` with one.
    """
    if settings.parallel == "auto":
        return "ddp" if ranks.world > 1 else "none"
    if settings.parallel == "none" and ranks.world > 1:
        raise ConfigError(f"learner.parallel is none, but {ranks.world} processes run: use ddp or fsdp2")
    if settings.parallel != "none" and ranks.world == 1:
        raise ConfigError(
            f"learner.parallel is {settings.parallel}, but this process is alone; start with torchrun, or use auto"
        )
    return settings.parallel


def wrap(
    tokens: TokenModel, kind: str, settings: LearnerConfig, ranks: Ranks, mesh: DeviceMesh | None = None
) -> nn.Module:
    """`tokens` ready for training on all ranks; FSDP2 changes it in place.

    Args:
        mesh: of tensor parallelism (`tensor_parallel.mesh_of`).

    Raises:
        RanksError: the wrapper is not the requested one (some setups silently fall back to another).
    """
    wrapped: nn.Module = tokens
    if kind == "ddp":
        places = [ranks.device] if ranks.device.type == "cuda" else None
        known = inspect.signature(DistributedDataParallel).parameters  # torch 2.13 warns of the older name
        still: dict[str, Any] = {n: False for n in ("forward_sync_buffers", "broadcast_buffers") if n in known}
        wrapped = DistributedDataParallel(tokens, device_ids=places, **dict(list(still.items())[:1]))
    elif kind == "fsdp2":
        shard(tokens, settings, ranks, mesh)
    expected = {"none": TokenModel, "ddp": DistributedDataParallel, "fsdp2": FSDPModule}[kind]
    sharded = any(isinstance(p, DTensor) for p in tokens.parameters())
    if not isinstance(wrapped, expected) or sharded != (kind == "fsdp2"):
        raise RanksError(f"learner.parallel {kind} gave a {type(wrapped).__name__}, expected {expected.__name__}")
    return wrapped


def shard(tokens: TokenModel, settings: LearnerConfig, ranks: Ranks, mesh: DeviceMesh | None = None) -> None:
    """FSDP2: every decoder layer is a unit, the rest (embeddings, head) the root.

    Args:
        mesh: split the layers over its second dimension first, and shard them over the other one; the rest is sharded
            over all processes either way.
    """
    everybody = init_device_mesh(ranks.device.type, (ranks.world,))
    mixed = MixedPrecisionPolicy()
    if settings.precision == "bfloat16":
        mixed = MixedPrecisionPolicy(param_dtype=LOW, reduce_dtype=torch.float32)
    offload = CPUOffloadPolicy(pin_memory=ranks.device.type == "cuda") if settings.cpu_offload else OffloadPolicy()
    layers = [m for m in tokens.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError("learner.parallel fsdp2 found no decoder layers in this architecture; use ddp")
    if mesh is not None:
        split_layers(tokens.model, mesh["tensor"])
    for layer in layers:
        fully_shard(layer, mesh=everybody if mesh is None else mesh["data"], mp_policy=mixed, offload_policy=offload)
    fully_shard(tokens, mesh=everybody, mp_policy=mixed, offload_policy=offload)


def recompute(model: Any) -> list[nn.Module]:
    """Switch gradient checkpointing on; returns the layers that must be in training mode for it to work.

    The model stays in evaluation mode (sampled and trained log-probs must agree), and transformers recomputes in
    training mode only. So the layers alone are switched, not what is inside them.

    Raises:
        ConfigError: the architecture has no gradient checkpointing, or would apply dropout in training mode.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(inner, "supports_gradient_checkpointing", False):
        raise ConfigError(f"{type(inner).__name__} has no gradient checkpointing; set it to false")
    dropped = {k: v for k, v in text_config(model).to_dict().items() if "drop" in k and isinstance(v, float) and v > 0}
    if dropped:
        raise ConfigError(f"gradient checkpointing would switch dropout on: {dropped}; set these to 0 in config.json")
    plain = {"use_reentrant": False}
    if hasattr(inner, "activation_checkpointing_enable"):  # its name since transformers 5.20 or so
        inner.activation_checkpointing_enable(activation_checkpointing_kwargs=plain)
    else:
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs=plain)
    layers: list[nn.Module] = [m for m in inner.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(f"{type(inner).__name__} has no layers that recompute; set gradient_checkpointing to false")
    return layers


def with_liger(model: Any) -> None:
    """Replace norm, rotary embedding and SwiGLU by liger-kernel's; log-probs stay ours.

    Raises:
        ConfigError: liger-kernel is not installed.
    """
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConfigError("learner.liger needs liger-kernel: pip install liger-kernel") from error
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    _apply_liger_kernel_to_instance(model=inner, fused_linear_cross_entropy=False, cross_entropy=False)


def check_flex(device: torch.device) -> None:
    """Check that FlexAttention's kernels are made and run here, backward too.

    Raises:
        ConfigError: they do not.
    """
    row = Row(ids=(0,) * 200, places=(), branches=(Branch(start=150, stop=200, fork=90),))
    try:
        query = torch.ones(1, 2, 200, 32, device=device, requires_grad=True)
        torch.compile(flex_attention)(query, query, query, block_mask=block_mask([row], device)).sum().backward()
    except Exception as error:  # compilers and drivers can raise anything
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model.attention is flex_attention, which does not run on {device.type} here ({type(error).__name__}: "
            f"{reason}); set model.attention=sdpa"
        ) from error


def takes_masks(model: Any) -> bool:
    """Whether every layer is full attention through a kernel that takes a mask."""
    config = text_config(model)
    if "flash" in str(getattr(config, "_attn_implementation", "")):
        return False
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return all(k == "full_attention" for k in kinds)
    return getattr(config, "sliding_window", None) is None
