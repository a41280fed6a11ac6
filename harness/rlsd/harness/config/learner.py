"""The learner's block of a run's config, and its learning rate."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from rlsd.harness.config.blocks import Block


class LrConfig(Block):
    """Learning rate of each optimizer step; `lr: 3e-4` is short for `lr: {peak: 3e-4}`."""

    peak: float = Field(default=1e-6, gt=0)
    """Rate after the warm-up."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: constant at `peak`, or a half cosine down to `final` at update `total_updates`."""
    final: float = Field(default=0.0, ge=0)
    """Rate at the end of the cosine."""
    warmup_updates: int = Field(default=0, ge=0)
    """Optimizer steps over which the rate rises linearly to `peak`."""
    total_updates: int | None = Field(default=None, ge=1)
    """Optimizer steps to `final`, the warm-up included."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"peak": value} if isinstance(value, int | float | str) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _has_an_end(self) -> LrConfig:
        if self.schedule == "cosine" and self.total_updates is None:
            raise ValueError(
                "learner.lr.schedule is cosine: say when it ends, e.g. --set learner.lr.total_updates=1000"
            )
        return self

    def at(self, update: int) -> float:
        """Learning rate of optimizer step number `update`, counted from 0."""
        if update < self.warmup_updates:
            return self.peak * (update + 1) / self.warmup_updates
        if self.schedule == "constant" or self.total_updates is None:
            return self.peak
        done = min(1.0, (update - self.warmup_updates) / max(1, self.total_updates - self.warmup_updates))
        return self.final + (self.peak - self.final) * 0.5 * (1 + math.cos(math.pi * done))


ABSENT = {
    "context_parallel": "torch's context_parallel takes no masks and no cached keys, which hindsight is read with, and "
    "has no kernel for CPUs; for long rows set learner.tensor_parallel, learner.gradient_checkpointing or "
    "model.attention: flash_attention_2 or flash_attention_3",
    "pipeline_parallel": "the learner has no pipeline; learner.parallel: fsdp2 with learner.tensor_parallel spreads a "
    "model of any depth",
}
"""Forms of parallelism that there are not, and why."""


class LearnerConfig(Block):
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of weights, optimizer and in-process sampler."""
    lr: LrConfig = LrConfig()
    """Learning rate; a number alone is a constant one."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates β₁ and β₂ of the gradient moments."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm; larger gradients are scaled down."""
    epochs: int = Field(default=1, ge=1)
    """Passes over an iteration's episodes."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer steps per pass."""
    micro_batch_tokens: int = Field(default=16_384, ge=64)
    """Largest number of padded tokens in a micro-batch."""
    merge_turns: bool = True
    """One row for turns whose prompts extend each other; off: one row per turn (same loss, slower)."""
    prefix_sharing: bool = True
    """Score siblings' common beginnings once, and hindsight on the keys and values of the student view; train on
    siblings in one row where that is cheaper. Off: every view is a row of its own (same log-probs and gradients,
    slower), as it is where a model cannot share (docs/learner.md)."""
    packing: bool = False
    """Pack rows end to end instead of padding. Faster with flash attention; elsewhere a mask separates them."""
    processes: int | None = Field(default=None, ge=1)
    """Expected number of processes; None: as many as torchrun started."""
    parallel: Literal["auto", "none", "ddp", "fsdp2"] = "auto"
    """`auto`: `ddp` with several processes, else `none`. `fsdp2` shards weights, gradients and moments."""
    tensor_parallel: int = Field(default=1, ge=1)
    """`fsdp2` only: processes that share each decoder layer, by its plan in transformers (docs/learner.md)."""
    precision: Literal["model", "bfloat16"] = "model"
    """`bfloat16`: weights stay as loaded (float32, say), matrix products run in bfloat16."""
    gradient_checkpointing: bool = False
    """Do not keep activations inside layers; recompute them in the backward pass."""
    cpu_offload: bool = False
    """`fsdp2` only: keep weights, gradients and moments in CPU memory."""
    liger: bool = False
    """CUDA only: liger-kernel's fused norm, rotary embedding and SwiGLU."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """Seconds that a process waits for the others before it fails."""

    @model_validator(mode="before")
    @classmethod
    def _offered(cls, value: Any) -> Any:
        for name in ABSENT.keys() & (value.keys() if isinstance(value, dict) else ()):
            raise ValueError(f"there is no learner.{name}: {ABSENT[name]}")
        return value

    @model_validator(mode="after")
    def _possible(self) -> LearnerConfig:
        if self.cpu_offload and self.parallel != "fsdp2":
            raise ValueError(f"learner.cpu_offload needs learner.parallel: fsdp2, got {self.parallel!r}")
        if self.tensor_parallel > 1 and self.parallel != "fsdp2":
            raise ValueError(f"learner.tensor_parallel needs learner.parallel: fsdp2, got {self.parallel!r}")
        if self.processes is not None and self.processes % self.tensor_parallel:
            raise ValueError(
                f"learner.processes is {self.processes}, no multiple of learner.tensor_parallel, {self.tensor_parallel}"
            )
        if self.liger and self.tensor_parallel > 1:
            raise ValueError("learner.liger fuses whole layers, and learner.tensor_parallel splits them: leave one out")
        if self.liger and self.device != "cuda":
            raise ValueError("learner.liger needs learner.device: cuda (its kernels do not run on a CPU)")
        return self

    def alone(self) -> LearnerConfig:
        """Settings for one process: evaluation and export of a run that several processes trained."""
        one = {"processes": None, "parallel": "auto", "tensor_parallel": 1, "cpu_offload": False}
        return self.model_copy(update=one)
