"""Log-probs of both views under the learner's engine, with nothing computed that no gradient will ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd.algorithms import TokenBatch, base_advantage, needs_divergence, needs_teacher, turns_that_matter
from rlsd.harness.distributed import Ranks
from rlsd.harness.hindsight.hints import Hints
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.iteration.served_teacher import only, served_logps, serves_teacher, verified
from rlsd.harness.rollout.trajectory import Group, Trajectory
from rlsd.harness.scoring.logprob_gap import Gap, chosen
from rlsd.harness.scoring.sequences import (
    Insertion,
    distinct,
    fill_in,
    flat_offsets,
    joint_rows,
    runs,
    student_rows,
    teacher_rows,
)
from rlsd.harness.scoring.tables import flatten, token_batch, with_teacher
from rlsd.harness.scoring.token_model import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One iteration's tables, with what the loss needs beside them."""

    batch: TokenBatch
    hints: Hints
    idle: frozenset[int]
    """Trajectories without any gradient: base advantage 0 and no other loss term. Their `student_logp` is the
    sampler's, and no hindsight was read for them."""
    foreign: frozenset[int]
    """Trajectories that other processes train on."""
    gap: Gap
    """Sampler against learner, on the tokens the learner scored."""
    teacher_gap: Gap | None
    """The same for the hindsight view, where the servers scored it."""
    teacher_hidden: Tensor | None
    """(M, D) for full-vocabulary divergences; zeros for trajectories of other processes."""
    reference_logp: Tensor | None
    """(M,) under the initial weights, where the loss has a KL term."""


def score(parts: Parts, groups: Sequence[Group], step: int) -> Scored:
    """Student, teacher and reference log-probs of an iteration, each trajectory's by the process it belongs to.

    A live teacher's branches ride on the student's rows, so hindsight costs its own tokens only.
    """
    config, scorer = parts.config, parts.scorer
    algorithm, merge, ranks = config.algorithm, config.learner.merge_rows, parts.learner.ranks
    trajectories = flatten(groups)
    batch = token_batch(groups)
    idle, foreign = _idle(parts, batch, step), _foreign(ranks, trajectories, merge=merge)
    skip = _unscored(parts, trajectories, idle, step) | foreign
    total = len(batch.turn)
    hints = parts.hinter.build(groups, skip=idle | foreign) if needs_teacher(algorithm, step) else Hints()
    hints = _needed(parts, batch, hints, step)
    served = serves_teacher(config, step)
    checked = verified(config, ranks, trajectories, hints, step) if served else set[int]()
    if served:
        skip = (set(range(len(trajectories))) - checked) | foreign
    wants_hidden = needs_divergence(algorithm, step)
    student, teacher, teacher_hidden = _views(
        parts, trajectories, only(hints, checked) if served else hints, total, skip, wants_hidden=wants_hidden
    )
    reference = None
    if parts.reference is not None:
        with parts.reference.weights() as model:
            rows = student_rows(trajectories, merge=merge, skip=foreign)
            reference, _ = scorer.logprobs(rows, total, model=model, kinds=("reference", "reference"))
            reference = ranks.known(reference)
    student, teacher = ranks.known(student), ranks.known(teacher)
    gap, teacher_gap = Gap.of(batch.sampler_logp, student), None
    if served:
        theirs = ranks.known(served_logps(parts, trajectories, hints, total))
        teacher_gap, teacher = Gap.of(theirs, teacher), theirs
    if served or _reuses(parts, step):
        student = batch.sampler_logp
    student = torch.where(student.isnan(), batch.sampler_logp, student)
    batch = with_teacher(replace(batch, student_logp=student), teacher)
    return Scored(
        batch=batch,
        hints=_told(ranks, hints),
        idle=frozenset(idle),
        foreign=frozenset(foreign),
        gap=gap,
        teacher_gap=teacher_gap,
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


def _views(
    parts: Parts, trajectories: Sequence[Trajectory], hints: Hints, total: int, skip: set[int], *, wants_hidden: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(M,) student's and (M,) teacher's log-probs by the learner, and (M, D) teacher's hidden states if wanted."""
    scorer, merge, ranks = parts.scorer, parts.config.learner.merge_rows, parts.learner.ranks
    shared = parts.teacher.kind == "live" and not wants_hidden and parts.config.learner.share
    if shared and _turn_only(ranks, hints):
        return *_both(parts, trajectories, hints, total, skip), None
    student, _ = scorer.logprobs(student_rows(trajectories, merge=merge, skip=skip), total)
    if not any(ranks.gather(bool(hints.insertions))):
        return student, torch.full_like(student, float("nan")), None
    return student, *_apart(parts, trajectories, hints, total, wants_hidden)


def _both(
    parts: Parts, trajectories: Sequence[Trajectory], hints: Hints, total: int, skip: set[int]
) -> tuple[Tensor, Tensor]:
    """(M,) student's and (M,) live teacher's log-probs from shared rows; a view that siblings share is read once."""
    kept, copies = distinct(trajectories, hints.insertions)
    apart = _behind(trajectories, kept, total)
    rows = joint_rows(trajectories, apart, merge=parts.config.learner.merge_rows, skip=skip)
    both, _ = parts.scorer.logprobs(rows, 2 * total)
    return both[:total], fill_in(both[total:], copies)


def _apart(
    parts: Parts, trajectories: Sequence[Trajectory], hints: Hints, total: int, wants_hidden: bool
) -> tuple[Tensor, Tensor | None]:
    """(M,) teacher's log-probs, and (M, D) hidden states if wanted, from rows of its own."""
    share = parts.config.learner.share
    kept, copies = distinct(trajectories, hints.insertions) if share and not wants_hidden else (hints.insertions, [])
    rows = teacher_rows(trajectories, kept, merge=parts.config.learner.merge_rows)
    with parts.teacher.weights() as model:
        teacher, hidden = parts.scorer.logprobs(
            rows if share else plain(rows), total, model=model, keep_hidden=wants_hidden, kinds=("teacher", "teacher")
        )
    return fill_in(teacher, copies), hidden


def _turn_only(ranks: Ranks, hints: Hints) -> bool:
    """There is hindsight, and none that stands in the trunk: on every process, so that all take the same way."""
    found = ranks.gather((bool(hints.insertions), any(i.episode for i in hints.insertions.values())))
    return any(some for some, _ in found) and not any(episode for _, episode in found)


def _told(ranks: Ranks, hints: Hints) -> Hints:
    """Counts and texts of all processes; the insertions stay those of this one."""
    found = ranks.gather((hints.texts, hints.counts))
    counts: Counter[str] = Counter()
    for _, mine in found:
        counts.update(mine)
    texts = {place: text for mine, _ in found for place, text in mine.items()}
    return Hints(insertions=hints.insertions, texts=texts, counts={k: counts[k] for k in hints.counts})


def _foreign(ranks: Ranks, trajectories: Sequence[Trajectory], *, merge: bool) -> set[int]:
    """Trajectories that other processes score and train on; about the same number of tokens for each process."""
    if ranks.world == 1:
        return set()
    costs = [sum(len(_ids(t, part[-1])) for part in runs(t, merge=merge)) if t.turns else 0 for t in trajectories]
    return set(range(len(trajectories))) - ranks.balanced(costs)


def _ids(trajectory: Trajectory, turn: int) -> tuple[int, ...]:
    action = trajectory.turns[turn].action
    return (action.prompt.ids if action.prompt else ()) + action.token_ids


def _idle(parts: Parts, batch: TokenBatch, step: int) -> set[int]:
    """Trajectories whose tokens have no gradient in any term of the loss."""
    algorithm = parts.config.algorithm
    if algorithm.loss.distill.active(step) or parts.reference is not None:
        return set()
    base = base_advantage(batch, algorithm.advantage)
    return set(range(len(batch.group))) - set(batch.trajectory[base != 0].tolist())


def _needed(parts: Parts, batch: TokenBatch, hints: Hints, step: int) -> Hints:
    """The hindsight that can change an advantage or a loss; the rest is counted as `unneeded`."""
    algorithm = parts.config.algorithm
    if not hints.insertions or algorithm.loss.distill.active(step):
        return hints
    matters = turns_that_matter(batch, base_advantage(batch, algorithm.advantage), algorithm.credit)
    number, position = batch.trajectory.tolist(), batch.position.tolist()
    needed = {place for place, yes in zip(zip(number, position), matters.tolist()) if yes}
    kept = {place: hint for place, hint in hints.insertions.items() if place in needed}
    dropped = len(hints.insertions) - len(kept)
    return Hints(
        insertions=kept,
        texts={place: hints.texts[place] for place in kept},
        counts={**hints.counts, "given": hints.counts["given"] - dropped, "unneeded": dropped},
    )


def _behind(
    trajectories: Sequence[Trajectory], insertions: dict[tuple[int, int], Insertion], total: int
) -> dict[tuple[int, int], Insertion]:
    """The insertions with their tokens numbered from `total` on."""
    offsets = flat_offsets(trajectories)
    return {(n, k): replace(i, target_flat=total + offsets[n][k]) for (n, k), i in insertions.items()}
