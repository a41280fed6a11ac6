"""Log-probs of both views under the learner's engine, with nothing computed that no gradient will ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd.algorithms import TokenBatch, base_advantage, needs_divergence, needs_teacher
from rlsd.harness.batch import flatten, token_batch, with_teacher
from rlsd.harness.hints import Hints
from rlsd.harness.rows import Insertion, flat_offsets, joint_rows, student_rows, teacher_rows
from rlsd.harness.sampler_check import Gap, chosen
from rlsd.harness.setup import Parts
from rlsd.harness.types import Group, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One iteration's tables, with what the loss needs beside them."""

    batch: TokenBatch
    hints: Hints
    idle: frozenset[int]
    """Trajectories without any gradient: base advantage 0 and no other loss term. Their `student_logp` is the
    sampler's, and no hindsight was read for them."""
    gap: Gap
    """Sampler against learner, on the tokens the learner scored."""
    teacher_hidden: Tensor | None
    """(M, D) for full-vocabulary divergences."""
    reference_logp: Tensor | None
    """(M,) under the initial weights, where the loss has a KL term."""


def score(parts: Parts, groups: Sequence[Group], step: int) -> Scored:
    """Student, teacher and reference log-probs of an iteration.

    A live teacher's branches ride on the student's rows, so hindsight costs its own tokens only.
    """
    config, learner = parts.config, parts.learner
    algorithm, merge = config.algorithm, config.learner.merge_rows
    trajectories = flatten(groups)
    batch = token_batch(groups)
    idle = _idle(parts, batch, step)
    skip = _unscored(parts, trajectories, idle, step)
    total = len(batch.turn)
    hints = parts.hinter.build(groups, skip=idle) if needs_teacher(algorithm, step) else Hints()
    wants_hidden = needs_divergence(algorithm, step)
    turn_only = all(not i.episode for i in hints.insertions.values())
    teacher_hidden = None
    if hints.insertions and parts.teacher.kind == "live" and turn_only and not wants_hidden:
        apart = _behind(trajectories, hints.insertions, total)
        both, _ = learner.logprobs(joint_rows(trajectories, apart, merge=merge, skip=skip), 2 * total)
        student, teacher = both[:total], both[total:]
    else:
        student, _ = learner.logprobs(student_rows(trajectories, merge=merge, skip=skip), total)
        teacher = torch.full_like(student, float("nan"))
        if hints.insertions:
            with parts.teacher.weights() as model:
                rows = teacher_rows(trajectories, hints.insertions, merge=merge)
                teacher, teacher_hidden = learner.logprobs(rows, total, model=model, keep_hidden=wants_hidden)
    reference = None
    if parts.reference is not None:
        with parts.reference.weights() as model:
            reference, _ = learner.logprobs(student_rows(trajectories, merge=merge), total, model=model)
    gap = Gap.of(batch.sampler_logp, student)
    if _reuses(parts, step):
        student = batch.sampler_logp
    student = torch.where(student.isnan(), batch.sampler_logp, student)
    batch = with_teacher(replace(batch, student_logp=student), teacher)
    return Scored(
        batch=batch,
        hints=hints,
        idle=frozenset(idle),
        gap=gap,
        teacher_hidden=teacher_hidden,
        reference_logp=reference,
    )


def _reuses(parts: Parts, step: int) -> bool:
    """The sampler's log-probs stand for the old ones: asked for, and no view is compared with another."""
    return parts.config.sampler.reuse_logps and not needs_teacher(parts.config.algorithm, step)


def _unscored(parts: Parts, trajectories: Sequence[Trajectory], idle: set[int], step: int) -> set[int]:
    """Trajectories the learner gives no log-probs for; enough are left to verify the sampler's."""
    config = parts.config
    verified = chosen(trajectories, config.sampler.verify_episodes, step=step, seed=config.seed)
    if _reuses(parts, step):
        return set(range(len(trajectories))) - set(verified)
    missing = config.sampler.verify_episodes - (len(trajectories) - len(idle))
    return idle - set([n for n in verified if n in idle][: max(0, missing)])


def _idle(parts: Parts, batch: TokenBatch, step: int) -> set[int]:
    """Trajectories whose tokens have no gradient in any term of the loss."""
    algorithm = parts.config.algorithm
    if algorithm.loss.distill.active(step) or parts.reference is not None:
        return set()
    base = base_advantage(batch, algorithm.advantage)
    return set(range(len(batch.group))) - set(batch.trajectory[base != 0].tolist())


def _behind(
    trajectories: Sequence[Trajectory], insertions: dict[tuple[int, int], Insertion], total: int
) -> dict[tuple[int, int], Insertion]:
    """The insertions with their tokens numbered from `total` on."""
    offsets = flat_offsets(trajectories)
    return {(n, k): replace(i, target_flat=total + offsets[n][k]) for (n, k), i in insertions.items()}
