"""The tables of an exam: both views scored once for all methods, and each method's credit from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd.algorithms import AlgorithmConfig, LossInputs, TokenBatch, assign, sampler_weights, token_loss, token_weights
from rlsd.harness.evals.exam_methods import ExamMethod
from rlsd.harness.hindsight.hints import Hinter
from rlsd.harness.iteration.parts import Parts, make_hinter
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.scoring.sequences import Row, distinct, fill_in, student_rows, teacher_rows
from rlsd.harness.scoring.tables import flatten, token_batch, token_count, with_teacher
from rlsd.harness.scoring.token_model import plain

View = tuple[tuple[str, ...], tuple[str, ...], str]
"""Contexts, contexts of wrong hindsight, and whose hindsight it is."""
BLIND: View = ((), (), "own")
"""A teacher that reads no hindsight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One batch, scored under the learner's weights, which are every teacher's before the first update."""

    tables: Mapping[View, TokenBatch]
    """M tokens each; `BLIND` is always there."""
    rows: list[Row]
    """Of the student view, to differentiate."""

    @property
    def plain(self) -> TokenBatch:
        """The table without hindsight."""
        return self.tables[BLIND]

    def credits(self, methods: Sequence[ExamMethod]) -> Tensor:
        """(C, M) what each token's log-prob counts in the loss of each method."""
        return torch.stack([loss_credit(self.tables[view_of(m)], m.algorithm) for m in methods])


def examine(parts: Parts, groups: Sequence[Group], methods: Sequence[ExamMethod]) -> Examined:
    """Student log-probs once, and teacher log-probs once for each different view of the methods."""
    rows = student_rows(flatten(groups), merge=parts.config.learner.merge_turns)
    batch = token_batch(groups)
    student = parts.scorer.logprobs(rows, len(batch.turn))
    batch = replace(batch, student_logp=student.logp, teacher_logp=student.logp, entropy=student.entropy)
    tables = {BLIND: batch}
    for view in {view_of(m): None for m in methods}:
        if view != BLIND:
            tables[view] = _hinted(parts, batch, groups, view)
    return Examined(tables=tables, rows=rows)


def view_of(method: ExamMethod) -> View:
    """What the method's teacher reads."""
    contexts = tuple(c for c in method.algorithm.contexts if c != "none")
    return (contexts, method.algorithm.against, method.source) if contexts else BLIND


def loss_credit(batch: TokenBatch, algorithm: AlgorithmConfig, *, step: int = 0) -> Tensor:
    """(M,) what each token's log-prob counts in the loss of iteration `step` before the first update: −∂L / ∂ log π.

    For a policy loss alone this is the token weight times the final advantage. Reference weights are the present ones.
    """
    credit = assign(batch, algorithm, step=step)
    weights = token_weights(batch, algorithm.loss.aggregation, constant_tokens=algorithm.loss.constant_tokens)
    logp = batch.student_logp.detach().clone().requires_grad_()
    inputs = LossInputs(
        new_logp=logp,
        old_logp=batch.student_logp,
        advantage=credit.advantage,
        turn=batch.turn,
        sampler_weight=sampler_weights(batch, algorithm.loss),
        reference_logp=batch.student_logp,
        teacher_logp=batch.teacher_logp,
        hinted=batch.hinted,
    )
    loss = (weights * token_loss(inputs, algorithm.loss, step=step).total).sum()
    if not loss.requires_grad:  # policy_coef 0 and no other term
        return torch.zeros_like(logp).detach()
    return -torch.autograd.grad(loss, logp)[0]


def _hinted(parts: Parts, batch: TokenBatch, groups: Sequence[Group], view: View) -> TokenBatch:
    contexts, against, source = view
    teacher, entropy, hinted = _teacher(parts, groups, _hinter(parts, contexts, source))
    wrong = tuple(_teacher(parts, groups, _hinter(parts, (name,), "own"), only=hinted)[0] for name in against)
    return with_teacher(replace(batch, teacher_entropy=entropy, against=wrong), teacher)


def _hinter(parts: Parts, contexts: tuple[str, ...], source: str) -> Hinter:
    hindsight = parts.config.hindsight.model_copy(update={"source": source})
    config = parts.config.model_copy(update={"hindsight": hindsight})
    return make_hinter(config, parts.agent.chat, context=parts.hinter.context, names=contexts)


def _teacher(
    parts: Parts, groups: Sequence[Group], hinter: Hinter, *, only: set[tuple[int, int]] | None = None
) -> tuple[Tensor, Tensor, set[tuple[int, int]]]:
    """(M,) log-probs and entropies with hindsight, NaN where there is none; and the hinted (trajectory, turn)."""
    trajectories, settings = flatten(groups), parts.config.learner
    made = {place: hint for place, hint in hinter.build(groups).insertions.items() if only is None or place in only}
    kept, copies = distinct(trajectories, made)
    rows = teacher_rows(trajectories, kept, merge=settings.merge_turns)
    rows = rows if settings.prefix_sharing else plain(rows)
    found = parts.scorer.logprobs(rows, token_count(trajectories), kinds=("teacher", "teacher"))
    return fill_in(found.logp, copies), fill_in(found.entropy, copies), set(made)
