"""Least times by the roofline: a stage takes at least its operations at the peak rate, and its bytes at the bandwidth.

Real kernels reach a part of this; what part is measured on the device (`benchmarks/gpu_smollm2.py`), not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.harness.config import RunConfig
from rlsd.harness.plan.episodes import Longest
from rlsd.harness.plan.gpus import Gpu
from rlsd.harness.plan.memory import Sizes
from rlsd.harness.plan.passes import Pass, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A stage of an iteration."""

    tokens_a_second: float
    """At most, of all processes: response tokens of the rollout, columns of the others."""
    seconds: float
    """Of an iteration, at least."""
    bound: str
    """`operations` or `bandwidth`."""


def rates(
    config: RunConfig,
    sizes: Sizes,
    episode: Longest,
    gpu: Gpu,
    *,
    update: Pass,
    scoring: Pass,
    sampling: Sampling | None,
) -> dict[str, Rate]:
    """The stages of an iteration whose every episode is the longest one, on one GPU for each process. Common beginnings
    of siblings are counted for each of them."""
    processes = max(1, (config.learner.processes or 1) // config.learner.tensor_parallel)  # that have rows of their own
    low = config.learner.precision == "bfloat16" or config.model.dtype != "float32"
    learner = 1e12 * (gpu.bfloat16_tflops if low else gpu.float32_tflops)
    rows = config.rollout.episodes * episode.rows / processes
    found: dict[str, Rate] = {}
    if sampling is not None:
        low = config.sampler.dtype != "model" or config.model.dtype != "float32"
        peak = 1e12 * (gpu.bfloat16_tflops if low else gpu.float32_tflops)
        found["rollout"] = _rollout(config, sizes, episode, sampling, peak=peak, bandwidth=1e12 * gpu.bandwidth_tb)
    share = min(1.0, config.sampler.verify_episodes / config.rollout.episodes) if config.on_policy(0) else 1.0
    for name, work, times in (("scoring", scoring, share), ("update", update, config.learner.epochs)):
        batches = times * rows / work.rows
        seconds = batches * work.flops / learner
        tokens = processes * batches * work.columns
        found[name] = Rate(tokens_a_second=tokens / seconds, seconds=seconds, bound="operations")
    return found


def _rollout(
    config: RunConfig, sizes: Sizes, episode: Longest, sampling: Sampling, *, peak: float, bandwidth: float
) -> Rate:
    """Every token reads the weights and the cache once; prompts are a matter of operations."""
    processes = config.learner.processes or 1
    slots = sampling.step.rows
    read = sizes.parameters * (2 if config.sampler.dtype != "model" else sizes.item) + sampling.cache
    step = max(read / bandwidth, sampling.step.flops / peak)
    prompts = slots / sampling.prefill.rows * sampling.prefill.flops / peak
    rounds = config.rollout.episodes / processes / slots * episode.rows
    seconds = rounds * (prompts + episode.turns_in_row * episode.response * step)
    tokens = config.rollout.episodes * episode.turns * episode.response
    bound = "bandwidth" if read / bandwidth >= sampling.step.flops / peak else "operations"
    return Rate(tokens_a_second=tokens / seconds, seconds=seconds, bound=bound)
