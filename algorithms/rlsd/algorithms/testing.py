"""Small batches from nested lists: trajectories of turns of token gaps. For tests, docs and experiments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.errors import AlgorithmError

STUDENT_LOGP = -1.0
"""Nats; log-prob of every token under the student view."""


def toy_batch(
    gaps: Sequence[Sequence[Sequence[float]]],
    *,
    returns: Sequence[float] | None = None,
    group: Sequence[int] | None = None,
    success: Sequence[bool] | None = None,
    action: Sequence[bool] | None = None,
    hinted: Sequence[bool] | None = None,
    step_reward: Sequence[float] | None = None,
    anchor: Sequence[int] | None = None,
    valid: Sequence[bool] | None = None,
    dtype: torch.dtype = torch.float64,
) -> TokenBatch:
    """Return the batch in which trajectory i, turn k, token t has Δ = gaps[i][k][t]; all else is flat, M, K or N long.

    Defaults: returns 0, one group, success where the return is positive, every token an action token and hinted,
    step reward 0 except the return at the last turn, all anchors different, all turns valid.

    Example: `toy_batch([[[0.1, 0.3], [-0.2, -0.1, 0]]], returns=[1])` is one trajectory, two turns, five tokens.
    """
    turns = [turn for trajectory in gaps for turn in trajectory]
    tokens, trajectories = sum(len(turn) for turn in turns), len(gaps)
    lengths = torch.tensor([len(turn) for turn in turns], dtype=torch.int64)
    turn = torch.arange(len(turns)).repeat_interleave(lengths)
    sizes = torch.tensor([len(trajectory) for trajectory in gaps], dtype=torch.int64)
    trajectory = torch.arange(trajectories).repeat_interleave(sizes)
    position = torch.cat([torch.arange(size) for size in sizes.tolist()] or [torch.zeros(0, dtype=torch.int64)])
    outcome = _column("returns", returns, trajectories, 0.0, dtype)
    last = torch.ones(len(turns), dtype=torch.bool)
    last[:-1] = trajectory[1:] != trajectory[:-1]
    rewards = torch.where(last, outcome[trajectory], torch.zeros(len(turns), dtype=dtype))
    shown = _column("hinted", hinted, tokens, True, torch.bool)
    delta = torch.tensor([gap for turn in turns for gap in turn], dtype=dtype)
    student = torch.full((tokens,), STUDENT_LOGP, dtype=dtype)
    return TokenBatch(
        turn=turn,
        action_span=_column("action", action, tokens, True, torch.bool),
        sampler_logp=student.clone(),
        student_logp=student,
        teacher_logp=torch.where(shown, student + delta, student),
        hinted=shown,
        trajectory=trajectory,
        position=position,
        step_reward=rewards if step_reward is None else _column("step_reward", step_reward, len(turns), 0.0, dtype),
        anchor=torch.arange(len(turns)) if anchor is None else _column("anchor", anchor, len(turns), 0, torch.int64),
        valid=_column("valid", valid, len(turns), True, torch.bool),
        group=_column("group", group, trajectories, 0, torch.int64),
        returns=outcome,
        success=outcome > 0 if success is None else _column("success", success, trajectories, False, torch.bool),
    )


def _column(name: str, values: Sequence[float] | None, rows: int, default: float, dtype: torch.dtype) -> Tensor:
    if values is None:
        return torch.full((rows,), default, dtype=dtype)
    if len(values) != rows:
        raise AlgorithmError(f"{name}: expected {rows} entries, given {len(values)}.")
    return torch.tensor(list(values), dtype=dtype)
