"""Gates: where, and how strongly, hindsight may act. Each is a factor (M,) of w − 1; several multiply.

    mixed_group   1 in groups with a success and a failure, else 0               GRSD, arXiv 2607.28076
    agree         1 where the evidence has the sign of A: sign(A) Δ > 0          CrEST, arXiv 2608.13179
    evidence      1 where Δ > 0                                                  EDGE-OPD, arXiv 2605.23493
    surprisal     min(1, 1 + .5 (2 σ(z(−log π_S)) − 1)), z over the batch        CrEST
    calm_teacher  max(.2, 1 − H_T / H_max): small where the teacher is unsure    EGRSD, arXiv 2605.13255
    entropy_side  tanh((τ − H_S) / d) σ(|δ| − 1), τ the .2-quantile of the       DASD, arXiv 2605.22263
                  trajectory's entropies, d their mean absolute deviation,
                  δ = Δ over its mean |Δ| in the trajectory
    steady        min(Π_{u<k} (d_u + ε) / (d_{u+1} + ε), 1.2) at turn k,         SOD, arXiv 2605.07725
                  d_k = mean |Δ| of the turn
    late          .25 + .75 σ((f − .3) / .1), f = (t − ½) / T inside the turn    PW-OPSD, arXiv 2605.21606

The map of `surprisal`, the floor and H_max of `calm_teacher` and δ of `entropy_side` are not printed in their papers:
these are reconstructions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.blocks import Over
from rlsd.algorithms.errors import AlgorithmError
from rlsd.algorithms.segment_ops import number_rows, segment_count, segment_mean

CALM_FLOOR = 0.2
SOD_CAP, SOD_EPSILON = 1.2, 1e-6
DASD_QUANTILE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A named gate: (batch, A (M,)) → factor (M,)."""

    factor: Callable[[TokenBatch, Tensor], Tensor]
    teacher: bool = True
    """It reads the teacher view."""
    couples: Over = "turn"
    """Scope inside which one turn's hindsight changes another turn's factor."""


def _mixed_group(batch: TokenBatch, advantage: Tensor) -> Tensor:
    groups, count = number_rows(batch.group)
    rate = segment_mean(batch.success, groups, count)
    mixed = ((rate > 0) & (rate < 1))[groups]
    return mixed[batch.token_trajectory].to(advantage.dtype)


def _agree(batch: TokenBatch, advantage: Tensor) -> Tensor:
    return (advantage.sign() * batch.gap > 0).to(advantage.dtype)


def _evidence(batch: TokenBatch, advantage: Tensor) -> Tensor:
    return (batch.gap > 0).to(advantage.dtype)


def _surprisal(batch: TokenBatch, advantage: Tensor) -> Tensor:
    x = -batch.student_logp.double()
    if not x.numel():
        return torch.ones_like(advantage)
    z = (x - x.mean()) / (x.std(correction=0) + 1e-6)
    return (1.0 + 0.5 * (2.0 * torch.sigmoid(z) - 1.0)).clamp_max(1.0).to(advantage.dtype)


def _calm_teacher(batch: TokenBatch, advantage: Tensor) -> Tensor:
    entropy = _known(batch.teacher_entropy, "calm_teacher", "teacher")
    top = entropy[batch.hinted].max().clamp_min(1e-6) if bool(batch.hinted.any()) else entropy.new_ones(())
    return (1.0 - entropy / top).clamp_min(CALM_FLOOR).to(advantage.dtype)


def _entropy_side(batch: TokenBatch, advantage: Tensor) -> Tensor:
    entropy = _known(batch.entropy, "entropy_side", "student").double()
    owner, count = batch.token_trajectory, batch.group.shape[0]
    threshold = torch.zeros(count, dtype=torch.float64, device=entropy.device)
    for n in owner.unique().tolist():
        threshold[n] = torch.quantile(entropy[owner == n], DASD_QUANTILE)
    spread = segment_mean((entropy - segment_mean(entropy, owner, count)[owner]).abs(), owner, count)[owner]
    gap = batch.gap.double()
    size = gap.abs() / (segment_mean(gap.abs(), owner, count, batch.hinted)[owner] + 1e-6)
    side = torch.tanh((threshold[owner] - entropy) / (spread + 1e-6))
    return (side * torch.sigmoid(size - 1.0)).to(advantage.dtype)


def _steady(batch: TokenBatch, advantage: Tensor) -> Tensor:
    """The running product telescopes to (d_0 + ε) / (d_k + ε)."""
    turns = batch.trajectory.shape[0]
    apart = segment_mean(batch.gap.abs(), batch.turn, turns, batch.hinted) + SOD_EPSILON
    first = torch.zeros(batch.group.shape[0], dtype=torch.float64, device=apart.device)
    start = batch.position == 0
    first[batch.trajectory[start]] = apart[start]
    weight = (first[batch.trajectory] / apart).clamp_max(SOD_CAP)
    return weight[batch.turn].to(advantage.dtype)


def _late(batch: TokenBatch, advantage: Tensor) -> Tensor:
    turns = batch.trajectory.shape[0]
    length = segment_count(batch.turn, turns)
    before = torch.cat([length.new_zeros(1), length.cumsum(0)[:-1]])
    place = torch.arange(batch.turn.shape[0], device=length.device, dtype=torch.float64) - before[batch.turn]
    share = (place + 0.5) / length[batch.turn]
    return (0.25 + 0.75 * torch.sigmoid((share - 0.3) / 0.1)).to(advantage.dtype)


def _known(entropy: Tensor | None, gate: str, view: str) -> Tensor:
    if entropy is None:
        raise AlgorithmError(f"gate {gate!r} needs the {view} view's entropies, given none.")
    return entropy


GATES: dict[str, Gate] = {
    "mixed_group": Gate(factor=_mixed_group, teacher=False),
    "agree": Gate(factor=_agree),
    "evidence": Gate(factor=_evidence),
    "surprisal": Gate(factor=_surprisal, teacher=False),
    "calm_teacher": Gate(factor=_calm_teacher, couples="batch"),
    "entropy_side": Gate(factor=_entropy_side, couples="trajectory"),
    "steady": Gate(factor=_steady, couples="trajectory"),
    "late": Gate(factor=_late, teacher=False),
}
