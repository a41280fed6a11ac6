"""Bytes of one process of a run: what lives between iterations, and what each stage adds at its peak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rlsd.agents.hf.models import DTYPES, split_head
from rlsd.agents.hf.quantized import BYTES
from rlsd.algorithms import needs_divergence, needs_reference, needs_teacher
from rlsd.harness.config import RunConfig
from rlsd.harness.plan.allocated import tensor_bytes
from rlsd.harness.plan.episodes import Longest
from rlsd.harness.plan.passes import Pass, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one process, by name."""

    lasting: Mapping[str, int]
    """Live between iterations."""
    stages: Mapping[str, int]
    """What a stage of an iteration adds at its peak."""

    @property
    def peak(self) -> int:
        """Most bytes at once."""
        return sum(self.lasting.values()) + max(self.stages.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of a model."""

    weights: int
    """Buffers included."""
    trained: int
    """The weights that get a gradient."""
    largest: int
    """The largest of these."""
    parameters: int
    """Number of weights."""
    width: int
    """D, size of a hidden state."""
    item: int
    """Bytes of a number."""
    unpacked: int = 0
    """The largest layer of 4-bit weights as numbers, which a pass makes of one layer at a time."""

    @classmethod
    def of(cls, model: Any, *, four_bits: bool = False) -> Sizes:
        """
        Args:
            four_bits: count frozen linear layers as `rlsd.agents.hf.quantized` keeps them; `model` has them whole.
        """
        parameters: list[nn.Parameter] = list(model.parameters())
        gets = [p for p in parameters if p.requires_grad]
        head: Any = split_head(model)[1]
        linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
        packed = [w for w in linear if four_bits and not w.requires_grad]
        saved = sum(w.numel() * w.element_size() - math.ceil(w.numel() * BYTES) for w in packed)
        return cls(
            weights=tensor_bytes([*parameters, *model.buffers()]) - saved,
            trained=tensor_bytes(gets),
            largest=max(p.numel() * p.element_size() for p in gets),
            parameters=sum(p.numel() for p in parameters),
            width=int(head.weight.shape[1]),
            item=parameters[0].element_size(),
            unpacked=max((w.numel() * w.element_size() for w in packed), default=0),
        )


def memory(
    config: RunConfig,
    sizes: Sizes,
    episode: Longest,
    *,
    update: Pass,
    scoring: Pass,
    sampling: Sampling | None,
    other: int | None = None,
    cache_a_token: int = 0,
    gradients: int,
) -> Memory:
    """Bytes of one process.

    Args:
        sampling: None where servers sample.
        other: bytes of an external teacher.
        cache_a_token: bytes of keys and values of a token, for the common beginnings of siblings.
        gradients: bytes of those in `update`.
    """
    learner, n = config.learner, config.learner.processes or 1
    sharded = learner.parallel == "fsdp2"
    part = n if sharded else 1
    in_process = config.sampler.backend == "hf"
    lasting = {"weights": sizes.weights // part, "moments": 2 * sizes.trained // part}
    if sharded and in_process:
        lasting["plain copy for the sampler"] = sizes.weights
    for name, size in copies(config, sizes, other).items():
        lasting[name] = size if name == "sampler's copy" else size // part
    if sampling is not None:
        lasting["sampler's keys and values"] = sampling.cache
    stages = {"scoring": scoring.peak + _between(config, episode, sizes, cache_a_token), "update": update.peak}
    if sharded:  # a layer or the embeddings are whole at a time, and so are not their gradients
        stages["update"] += sizes.largest - gradients + sizes.trained // part
    elif n > 1:
        stages["update"] += sizes.trained  # buckets of the exchange
    stages["step"] = sizes.trained // part  # gradients: the fused optimizer makes nothing beside them
    if sampling is not None:
        stages["rollout"] = sampling.extra
    stages = {name: size + (sizes.unpacked if name != "step" else 0) for name, size in stages.items()}
    return Memory(lasting=lasting, stages=stages)


def copies(config: RunConfig, sizes: Sizes, other: int | None = None) -> dict[str, int]:
    """Bytes of weights beside the trained ones, by what they are for."""
    found: dict[str, int] = {}
    teacher, lora = config.algorithm.teacher.weights, config.model.lora is not None
    if needs_teacher(config.algorithm, 0) and teacher != "live" and not (teacher == "initial" and lora):
        found["teacher"] = sizes.weights if other is None else other
    if needs_reference(config.algorithm) and not lora:
        found["reference"] = sizes.weights
    if config.sampler.backend == "hf" and config.sampler.dtype != "model":
        found["sampler's copy"] = sizes.parameters * DTYPES[config.sampler.dtype].itemsize
    elif config.sampler.backend == "hf" and config.rollout.async_steps:
        found["sampler's copy"] = sizes.weights
    return found


def _between(config: RunConfig, episode: Longest, sizes: Sizes, cache_a_token: int) -> int:
    """What scoring keeps between micro-batches: siblings' common beginnings, hidden states for divergences."""
    kept = 0
    if config.learner.prefix_sharing and config.rollout.group_size > 1:
        kept += config.rollout.tasks_per_iteration * episode.first_prompt * cache_a_token
    if needs_divergence(config.algorithm, 0):
        kept += config.rollout.episodes * episode.turns * episode.response * sizes.width * sizes.item
    return kept
