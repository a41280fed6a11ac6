"""Log-probs of both views under the learner's weights; what no gradient needs is not computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd.algorithms import (
    TokenBatch,
    adds_credit,
    base_advantage,
    loss_reads_teacher,
    needs_divergence,
    needs_teacher,
    turns_that_matter,
)
from rlsd.harness.hindsight.hints import Hints, own_prompts
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.iteration.served_teacher import only, served_logps, serves_teacher, verified
from rlsd.harness.iteration.shares import foreign, of_all, turn_only
from rlsd.harness.iteration.values import States, states_of, valued
from rlsd.harness.rollout.trajectory import Group, Trajectory
from rlsd.harness.scoring.elsewhere import Elsewhere, moved_elsewhere
from rlsd.harness.scoring.logprob_gap import Gap, chosen
from rlsd.harness.scoring.scorer import Scores
from rlsd.harness.scoring.sequences import (
    distinct,
    fill_in,
    joint_rows,
    numbered_from,
    student_rows,
    teacher_rows,
)
from rlsd.harness.scoring.tables import flatten, token_batch, with_teacher
from rlsd.harness.scoring.token_model import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One iteration's tables, and the other inputs of the loss."""

    trajectories: Sequence[Trajectory]
    batch: TokenBatch
    hints: Hints
    idle: Set[int]
    """Trajectories without gradient: base advantage 0 and no other loss term. Their `student_logp` is the sampler's,
    and they have no hindsight."""
    foreign: Set[int]
    """Trajectories that other processes train on."""
    on_policy: bool
    """The only update's own log-probs are the old ones, with no pass for them; `student_logp` is the sampler's."""
    gap: Gap
    """Log-prob gap between sampler and learner on the tokens that the learner scored."""
    teacher_gap: Gap | None
    """The same for the teacher view, if the servers scored it."""
    entropy: float
    """Mean entropy of the student view in nats, over the tokens scored here; NaN if there are none."""
    teacher_hidden: Tensor | None
    """(M, D) for full-vocabulary divergences; zeros for trajectories of other processes."""
    elsewhere: Elsewhere | None
    """The teacher under other tasks' prompts, if the loss has a contrast."""
    reference_logp: Tensor | None
    """(M,) log-probs under the initial weights, if the loss has a KL term."""
    states: States | None
    """What the critic reads, if there is one."""


def score(parts: Parts, groups: Sequence[Group], step: int) -> Scored:
    """Student, teacher and reference log-probs of an iteration, each trajectory scored by the process that owns it. The
    sampler rests as soon as nothing is asked of it."""
    return Scoring(parts, groups, step).run()


class Scoring:
    """Computes the log-probs of one iteration's episodes.

    A live teacher's branches share the student's rows, so hindsight costs only its own tokens.

    Args:
        parts: the run's parts.
        groups: of all processes.
        step: number of the iteration.
    """

    def __init__(self, parts: Parts, groups: Sequence[Group], step: int) -> None:
        self.parts = parts
        self.step = step
        self.groups = groups
        self.algorithm = parts.config.algorithm
        self.merge = parts.config.learner.merge_turns
        self.ranks = parts.learner.data
        self.trajectories = flatten(groups)
        self.batch = token_batch(groups, self.algorithm.advantage)
        self.total = len(self.batch.turn)
        self.foreign = foreign(self.ranks, self.trajectories, merge=self.merge)
        self.seen, self.states = self._states()
        if parts.critic is not None and self.states is not None:
            self.batch = valued(self.batch, parts.critic, self.states)
        self.base = base_advantage(self.batch, self.algorithm.advantage)
        self.idle = self._idle()
        self.on_policy = parts.config.on_policy(step)
        self.hints = self._hints(groups)
        self.wants_hidden = needs_divergence(self.algorithm, step)
        self.entropy = self.teacher_entropy = torch.full((self.total,), float("nan"))

    def run(self) -> Scored:
        served = serves_teacher(self.parts.config.sampler, self.algorithm, self.step)
        hints, skip = self.hints, self._unscored()
        if not served:
            self.parts.sampler.rest()
        else:
            checked = verified(
                self.parts.config.sampler,
                self.ranks,
                self.trajectories,
                self.hints,
                step=self.step,
                seed=self.parts.config.seed,
            )
            hints, skip = only(self.hints, checked), set(range(len(self.trajectories))) - checked
        student, teacher, teacher_hidden = self._views(hints.insertions, skip | self.foreign)
        reference = self._reference()
        student, teacher = self.ranks.known(student), self.ranks.known(teacher)
        gap, teacher_gap = Gap.of(self.batch.sampler_logp, student), None
        if served:
            theirs = self.parts.learner.ranks.known(served_logps(self.parts, self.trajectories, self.hints, self.total))
            self.parts.sampler.rest()
            teacher_gap, teacher = Gap.of(theirs, teacher), theirs
        if served or self._reuses() or self.on_policy:
            student = self.batch.sampler_logp
        student = torch.where(student.isnan(), self.batch.sampler_logp, student)
        self.entropy = self.ranks.known(self.entropy)
        batch = replace(
            self.batch,
            student_logp=student,
            entropy=self.entropy,
            teacher_entropy=self.ranks.known(self.teacher_entropy),
            against=self._against(),
        )
        return Scored(
            trajectories=self.trajectories,
            batch=with_teacher(batch, teacher),
            hints=of_all(self.ranks, self.hints),
            idle=self.idle,
            foreign=self.foreign,
            on_policy=self.on_policy,
            gap=gap,
            teacher_gap=teacher_gap,
            entropy=float(self.entropy.nanmean()),
            teacher_hidden=teacher_hidden,
            elsewhere=self._elsewhere(),
            reference_logp=reference,
            states=self.states,
        )

    # ------------------------------------------------------------------ what is scored

    def _idle(self) -> set[int]:
        """Trajectories whose tokens have no gradient in any term of the loss."""
        others = self.algorithm.loss.distill.active(self.step) or adds_credit(self.algorithm, self.step)
        if others or self.parts.reference is not None:
            return set()
        return set(range(len(self.batch.group))) - set(self.batch.trajectory[self.base != 0].tolist())

    def _hints(self, groups: Sequence[Group]) -> Hints:
        """The hindsight that can change an advantage or a loss; the rest is counted as `unneeded`."""
        if not needs_teacher(self.algorithm, self.step):
            return Hints()
        skip = self.idle | self.foreign
        if self.algorithm.reads_own_prompt:
            hints = own_prompts(self.trajectories, skip=skip)
        else:
            hints = self.parts.hinter.build(groups, skip=skip)
        if not hints.insertions or loss_reads_teacher(self.algorithm, self.step):
            return hints
        matters = turns_that_matter(self.batch, self.base, self.algorithm.credit)
        places = zip(self.batch.trajectory.tolist(), self.batch.position.tolist())
        needed = {place for place, yes in zip(places, matters.tolist()) if yes}
        kept = {place: hint for place, hint in hints.insertions.items() if place in needed}
        dropped = len(hints.insertions) - len(kept)
        return Hints(
            insertions=kept,
            texts={place: hints.texts[place] for place in kept},
            counts={**hints.counts, "given": hints.counts["given"] - dropped, "unneeded": dropped},
        )

    def _reuses(self) -> bool:
        """Whether the sampler's log-probs serve as the old ones: `sampler.reuse_logps`, and no views are compared."""
        return self.parts.config.sampler.reuse_logps and not needs_teacher(self.algorithm, self.step)

    def _unscored(self) -> set[int]:
        """Trajectories that the learner does not score; enough remain to verify the sampler."""
        count, n = self.parts.config.sampler.verify_episodes, len(self.trajectories)
        verify = chosen(self.trajectories, count, step=self.step, seed=self.parts.config.seed)
        if self._reuses() or self.on_policy:
            return set(range(n)) - set(verify)
        missing = count - (n - len(self.idle))
        return self.idle - set([i for i in verify if i in self.idle][: max(0, missing)])

    # ------------------------------------------------------------------ passes

    def _states(self) -> tuple[Scores | None, States | None]:
        """The student view of all this process's trajectories, and what a critic reads of it; values come first, since
        they decide which trajectories have an advantage."""
        if self.parts.critic is None:
            return None, None
        rows = student_rows(self.trajectories, merge=self.merge, skip=self.foreign)
        seen = self.parts.scorer.logprobs(rows, self.total, keep_hidden=True)
        return replace(seen, hidden=None), states_of(self.batch, seen)

    def _views(self, insertions: Mapping, skip: Set[int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The learner's (M,) student and (M,) teacher log-probs, and the teacher's (M, D) hidden states if wanted."""
        shared = (
            self.parts.teacher.kind == "live" and not self.wants_hidden and self.parts.config.learner.prefix_sharing
        )
        if shared and turn_only(self.ranks, insertions):
            return *self._joint(insertions, skip), None
        rows = student_rows(self.trajectories, merge=self.merge, skip=skip)
        student = self.seen or self.parts.scorer.logprobs(rows, self.total)
        self.entropy = student.entropy
        if not any(self.ranks.gather(bool(insertions))):
            return student.logp, torch.full_like(student.logp, float("nan")), None
        return student.logp, *self._apart(insertions)

    def _joint(self, insertions: Mapping, skip: Set[int]) -> tuple[Tensor, Tensor]:
        """(M,) student and (M,) live teacher log-probs from shared rows; equal views of siblings are scored once."""
        kept, copies = distinct(self.trajectories, insertions)
        apart = numbered_from(self.total, self.trajectories, kept)
        rows = joint_rows(self.trajectories, apart, merge=self.merge, skip=skip)
        both = self.parts.scorer.logprobs(rows, 2 * self.total)
        self.entropy = both.entropy[: self.total]
        self.teacher_entropy = fill_in(both.entropy[self.total :], copies)
        return both.logp[: self.total], fill_in(both.logp[self.total :], copies)

    def _apart(self, insertions: Mapping) -> tuple[Tensor, Tensor | None]:
        """(M,) teacher's log-probs, and (M, D) hidden states if wanted, from rows of its own."""
        teacher = self._read(insertions, hidden=self.wants_hidden)
        self.teacher_entropy = teacher.entropy
        return teacher.logp, teacher.hidden

    def _against(self) -> tuple[Tensor, ...]:
        """(M,) log-probs of each view with wrong hindsight, NaN where there is none; a pass of the teacher each."""
        if not self.parts.against or not needs_teacher(self.algorithm, self.step):
            return ()
        views = []
        for hinter in self.parts.against:
            made = hinter.build(self.groups, skip=self.idle | self.foreign).insertions
            kept = {place: hint for place, hint in made.items() if place in self.hints.insertions}
            views.append(self.ranks.known(self._read(kept, hidden=False).logp))
        return tuple(views)

    def _read(self, insertions: Mapping, *, hidden: bool) -> Scores:
        """What the teacher makes of these views; equal ones of siblings are scored once, if no `hidden` are kept."""
        share, copies = self.parts.config.learner.prefix_sharing, []
        if share and not hidden:
            insertions, copies = distinct(self.trajectories, insertions)
        rows = teacher_rows(self.trajectories, insertions, merge=self.merge)
        with self.parts.teacher.weights() as model:
            seen = self.parts.scorer.logprobs(
                rows if share else plain(rows),
                self.total,
                model=model,
                keep_hidden=hidden,
                kinds=("teacher", "teacher"),
            )
        return replace(seen, logp=fill_in(seen.logp, copies), entropy=fill_in(seen.entropy, copies))

    def _elsewhere(self) -> Elsewhere | None:
        """The teacher with the same hindsight in another task's prompt, if the loss has a contrast."""
        if not self.wants_hidden or self.algorithm.loss.distill.contrast == 0.0:
            return None
        moved, kept = moved_elsewhere(self.groups, self.hints.insertions, context=self.parts.hinter.context)
        rows = teacher_rows(moved, kept, merge=False)
        with self.parts.teacher.weights() as model:
            seen = self.parts.scorer.logprobs(
                rows, self.total, model=model, keep_hidden=True, kinds=("teacher", "teacher")
            )
        hidden = torch.zeros(self.total, 1) if seen.hidden is None else seen.hidden  # no other task in the batch
        return Elsewhere(hidden=hidden, known=~seen.logp.isnan())

    def _reference(self) -> Tensor | None:
        """(M,) log-probs under the initial weights, if the loss has a KL term."""
        if self.parts.reference is None:
            return None
        rows = student_rows(self.trajectories, merge=self.merge, skip=self.foreign)
        with self.parts.reference.weights() as model:
            kinds = ("reference", "reference")
            return self.ranks.known(self.parts.scorer.logprobs(rows, self.total, model=model, kinds=kinds).logp)
