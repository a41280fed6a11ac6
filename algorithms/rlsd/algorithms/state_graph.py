"""Step advantages from values of states, pooled over the group: a state is an observation (`anchor`), a turn an edge.

s_k is the state before turn k of a trajectory of T turns, s_{k+1} the one after it; z(x among …) is x − mean, over the
deviation + 1e-6 if `std`.

G2PO (arXiv 2606.22995, as its authors' core_g2po.py), R the return:
    V(s) = mean over the visits of γ^{T−k} R
    n_k  = V(s_{k+1}); after the last turn R if the trajectory was a success, else 0
    A^S  = z(n_k among the turns at s_k) + z(n_k − V(s_k) among the turns of the group)

GAGPO (arXiv 2605.13217), r the step reward, G the discounted step return:
    V(s) = mean over the visits of G_k
    δ_k  = r_k + γ V(s_{k+1}) − V(s_k), V = 0 after the end
    A_k  = δ_k + γ λ A_{k+1}, then z among the turns of the group, with the population deviation

GraphHCA (arXiv 2609.35084):
    Φ(s) = γ · mean over the visits of Φ(s_{k+1}); after the end 1 if the trajectory was a success, else 0
    A^S  = z(log max(Φ(s_{k+1}), floor) − log max(Φ(s_k), floor) among the turns at s_k)

What differs and why: G2PO's code pays 10 after a win, which is the return of a win there; here it is that return
itself. Its group of one turn has no deviation and becomes NaN, here 0. GraphHCA's Φ is solved exactly, as a linear
system for each group, since observations recur and the graph has circles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.gigpo import step_returns
from rlsd.algorithms.segment_ops import number_rows, segment_count, segment_mean, segment_standardise


def states(batch: TokenBatch) -> tuple[Tensor, int]:
    """Return the state (K,) int64 before each turn, numbered over the batch, and how many there are."""
    return number_rows(batch.group[batch.trajectory], batch.anchor)


def after_turn(batch: TokenBatch, values: Tensor, end: Tensor) -> Tensor:
    """Return (K,): `values` (K,) of the next turn of the trajectory, `end` (K,) after its last turn."""
    last = torch.ones_like(batch.trajectory, dtype=torch.bool)
    last[:-1] = batch.trajectory[1:] != batch.trajectory[:-1]
    return torch.where(last, end, values.roll(-1))


def gae(batch: TokenBatch, rewards: Tensor, values: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Return A (K,) float64: generalised advantages over turns, from step rewards (K,) and values (K,) of states."""
    values = values.double()
    errors = rewards.double() + gamma * after_turn(batch, values, torch.zeros_like(values)) - values
    return step_returns(batch, errors, gamma * lam)


def g2po_steps(batch: TokenBatch, returns: Tensor, row: Tensor, *, gamma: float, std: bool) -> Tensor:
    """Return A^S (K,) float64 of G2PO; `row` (K,) is taken off n where turns of one state are compared."""
    state, count = states(batch)
    group, groups = number_rows(batch.group[batch.trajectory])
    won = torch.where(batch.success, returns, torch.zeros_like(returns))[batch.trajectory]
    turns = segment_count(batch.trajectory, returns.shape[0])[batch.trajectory]
    reached = returns[batch.trajectory] * gamma ** (turns - batch.position)
    value = segment_mean(reached, state, count)[state]
    following = after_turn(batch, value, won)
    choice = segment_standardise(following - row, state, count, std=std)
    return choice + segment_standardise(following - value, group, groups, std=std)


def gagpo(batch: TokenBatch, rewards: Tensor, *, gamma: float, lam: float, std: bool) -> Tensor:
    """Return A (K,) float64 of GAGPO from step rewards (K,)."""
    state, count = states(batch)
    group, groups = number_rows(batch.group[batch.trajectory])
    value = segment_mean(step_returns(batch, rewards, gamma), state, count)[state]
    return segment_standardise(gae(batch, rewards, value, gamma=gamma, lam=lam), group, groups, std=std, unbiased=False)


def potential(batch: TokenBatch, gamma: float) -> Tensor:
    """Return Φ (K,) float64 of the state before each turn."""
    state, count = states(batch)
    group = batch.group[batch.trajectory]
    won = batch.success.double()[batch.trajectory]
    missing = torch.full_like(state, -1)
    following = after_turn(batch, state, missing)
    value = torch.zeros(count, dtype=torch.float64, device=state.device)
    for number in group.unique():
        here = torch.nonzero(group == number).squeeze(1)
        kept, local = torch.unique(state[here], return_inverse=True)
        size = kept.shape[0]
        visits = segment_count(local, size)
        inside = following[here] >= 0
        onto = torch.searchsorted(kept, following[here].clamp_min(0)).clamp_max(size - 1)
        system = torch.eye(size, dtype=torch.float64, device=state.device)
        share = gamma / visits[local]
        system.index_put_((local[inside], onto[inside]), -share[inside], accumulate=True)
        ends = torch.zeros(size, dtype=torch.float64, device=state.device)
        ends.index_add_(0, local, torch.where(inside, torch.zeros_like(share), share * won[here]))
        value[kept] = torch.linalg.solve(system, ends)
    return value[state]


def graph_hca_steps(batch: TokenBatch, *, gamma: float, floor: float, std: bool) -> Tensor:
    """Return A^S (K,) float64 of GraphHCA."""
    state, count = states(batch)
    return segment_standardise(potential_gain(batch, gamma=gamma, floor=floor), state, count, std=std)


def potential_gain(batch: TokenBatch, *, gamma: float, floor: float) -> Tensor:
    """Return (K,) float64: by how much each turn raised log Φ, in nats."""
    before = potential(batch, gamma)
    after = after_turn(batch, before, batch.success.double()[batch.trajectory])
    return after.clamp_min(floor).log() - before.clamp_min(floor).log()
