"""What a run is, in a few lines: said once, before the first iteration."""

from __future__ import annotations

from pathlib import Path

from rlsd.algorithms.signals import SIGNALS
from rlsd.harness.config import RunConfig
from rlsd.harness.hindsight.contexts import find_context
from rlsd.harness.iteration.parts import Parts, context_names
from rlsd.harness.iteration.samplers import context_of

WEIGHTS = {
    "live": "the same weights",
    "initial": "the initial weights",
    "ema": "a moving average of the weights",
    "sync": "a copy of the weights, renewed now and then",
    "external": "another model",
}
"""Kinds of teachers, in words."""


def header(parts: Parts, folder: Path, step: int) -> list[str]:
    """Folder and length; model, size and device; what an iteration plays; who reads which contexts."""
    config = parts.config
    done = f", {step} of them done" if step else ""
    return [
        f"{folder}: {config.algorithm.name} on {config.env.id}, {len(parts.tasks)} training tasks",
        f"iterations: {config.iterations}{done}",
        f"model: {_model(parts)}",
        f"each: {_size(config)}",
        *_readers(config),
    ]


def _model(parts: Parts) -> str:
    config, model = parts.config, parts.policy.model
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    total, trained = sum(n for n, _ in sizes), sum(n for n, grad in sizes if grad)
    name = config.model.path or "a tiny Llama from scratch"
    part = "" if trained == total else f", {count(trained)} of them trained"
    context = context_of(config.agent, parts.policy)
    device = parts.learner.device
    return f"{name}, {count(total)} parameters{part}, {config.model.dtype}, context {context}, on {device}"


def _size(config: RunConfig) -> str:
    tasks = config.rollout.tasks_per_iteration
    if config.algorithm.imitates:
        source = config.sft.trajectories or f"the {config.sft.expert}"
        return f"{tasks} episodes of {source}"
    place = "in this process"
    if config.sampler.backend != "hf":
        place = f"by servers: {', '.join(config.sampler.urls)}"
    longest = f"at most {config.agent.max_new_tokens} tokens a turn"
    return f"{tasks} tasks × {config.rollout.group_size} episodes, {longest}, sampled {place}"


def _readers(config: RunConfig) -> list[str]:
    lines = [f"the student reads: the conversation (format {config.agent.format}, memory {config.agent.memory})"]
    names = context_names(config)
    if not names and config.algorithm.credit.rule == "hindsight" and SIGNALS[config.algorithm.credit.signal].facts:
        return [*lines, f"no teacher reads: hindsight is what the environment knows ({config.algorithm.credit.signal})"]
    if not names:
        return [*lines, "the teacher reads: nothing more; there is no hindsight in this run"]
    whose = "" if config.hindsight.source == "own" else "of another task (the control): "
    said = "; ".join(f"{c.name} ({c.reads})" for c in map(find_context, names))
    teacher = "also trained" if config.algorithm.imitates else WEIGHTS.get(config.algorithm.teacher.weights, "")
    lines.append(f"the teacher ({teacher}) also reads {whose}{said}, at most {config.hindsight.max_tokens} tokens")
    if config.algorithm.against:
        lines.append(f"it is compared with views of wrong hindsight: {', '.join(config.algorithm.against)}")
    return lines


def count(number: int) -> str:
    """
    >>> [count(n) for n in (950, 12_345, 712_345, 1_540_000_000)]
    ['950', '12 k', '0.7 M', '1.5 B']
    """
    for size, letter, digits in ((1e9, "B", 1), (1e6, "M", 1), (1e3, "k", 0)):
        if number >= size / (10 if letter == "M" else 1) and number >= 10_000:
            return f"{number / size:.{digits}f} {letter}"
    return str(number)
