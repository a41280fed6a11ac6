"""From groups to the flat tables the credit functions read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.harness.types import Group, Trajectory


def flatten(groups: Sequence[Group]) -> list[Trajectory]:
    """All trajectories, group by group: the order of every table and of `rows.flat_offsets`."""
    return [t for g in groups for t in g.trajectories]


def token_count(trajectories: Sequence[Trajectory]) -> int:
    return sum(len(turn.action.token_ids) for t in trajectories for turn in t.turns)


def token_batch(groups: Sequence[Group], *, student_logp: Tensor, teacher_logp: Tensor | None = None) -> TokenBatch:
    """Tables of one iteration.

    Args:
        groups: what was rolled out; errored siblings are not in it.
        student_logp: (M,) float32 nats, learner's weights before the update.
        teacher_logp: (M,) float32 nats, NaN for tokens without hindsight; None without a teacher pass.
    """
    trajectories = flatten(groups)
    turns = [(n, k, turn) for n, t in enumerate(trajectories) for k, turn in enumerate(t.turns)]
    lengths = torch.tensor([len(turn.action.token_ids) for _, _, turn in turns], dtype=torch.long)
    spans = [_span(len(t.action.token_ids), t.action.action_span) for _, _, t in turns]
    anchors: dict[tuple[int, str], int] = {}
    group_of = [g for g, group in enumerate(groups) for _ in group.trajectories]
    anchor = [anchors.setdefault((group_of[n], turn.observation), len(anchors)) for n, _, turn in turns]
    hinted = torch.zeros_like(student_logp, dtype=torch.bool) if teacher_logp is None else ~teacher_logp.isnan()
    teacher = student_logp if teacher_logp is None else torch.where(hinted, teacher_logp, student_logp)
    return TokenBatch(
        turn=torch.repeat_interleave(torch.arange(len(turns)), lengths),
        action_span=torch.cat(spans) if spans else torch.zeros(0, dtype=torch.bool),
        sampler_logp=torch.tensor([x for _, _, t in turns for x in t.action.logps]),
        student_logp=student_logp,
        teacher_logp=teacher,
        hinted=hinted,
        trajectory=torch.tensor([n for n, _, _ in turns], dtype=torch.long),
        position=torch.tensor([k for _, k, _ in turns], dtype=torch.long),
        step_reward=torch.tensor([t.reward for _, _, t in turns]),
        anchor=torch.tensor(anchor, dtype=torch.long),
        valid=torch.tensor([t.valid for _, _, t in turns], dtype=torch.bool),
        group=torch.tensor(group_of, dtype=torch.long),
        returns=torch.tensor([t.returns for t in trajectories]),
        success=torch.tensor([t.success for t in trajectories], dtype=torch.bool),
        policy_version=torch.tensor([t.action.policy_version for _, _, t in turns], dtype=torch.long),
    )


def _span(length: int, span: tuple[int, int]) -> Tensor:
    places = torch.arange(length)
    return (places >= span[0]) & (places < span[1])
