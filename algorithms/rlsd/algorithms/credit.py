"""Credit: the outcome gives the direction, hindsight the size.

    Â_t = A · m_t,   m_t = (1 − λ) + λ · weight_t,   λ = λ(step)                 RLSD, arXiv 2604.03128, §3

`none` is the base advantage itself (m = 1, GRPO); `rlsd` takes the weight of the module `rlsd`, `belief` that
of `agent_opsd`.

What differs and why: everything is computed once on the whole iteration (stored log-probs, the SDAR port's
choice), so m depends neither on rows nor on micro-batches; the paper's code recomputes Δ in every
micro-batch. m is formed as 1 + λ (weight − 1), the same number, which is exactly 1 where Δ = 0 or λ = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.agent_opsd import belief_weight
from rlsd.algorithms.batch import Credit, TokenBatch
from rlsd.algorithms.errors import AlgorithmError
from rlsd.algorithms.rlsd import CreditConfig, Squashed, level_weight
from rlsd.algorithms.segment_ops import segment_count, segment_mean


def credit(batch: TokenBatch, base: Tensor, config: CreditConfig, *, step: int) -> Credit:
    """Return every token's final advantage from the turns' base advantage `base` (K,) in iteration `step`."""
    if base.shape != batch.trajectory.shape:
        raise AlgorithmError(
            f"base advantage: expected {tuple(batch.trajectory.shape)}, one number per turn, given {tuple(base.shape)}."
        )
    turns = batch.trajectory.shape[0]
    dtype = batch.student_logp.dtype
    advantage = base.detach().to(dtype)[batch.turn]
    lam = config.lam.value(step) if config.method != "none" else 0.0
    weight, hindsight = torch.ones_like(advantage), None
    if lam > 0.0:
        sign = advantage.sign()
        if config.method == "belief":
            hindsight = belief_weight(batch, sign, gamma=config.gamma, radius=config.clip)
        else:
            hindsight = level_weight(batch, sign, config)
        mixed = 1.0 + lam * (hindsight.weight - 1.0)
        weight = torch.where(hindsight.applies & _on_side(batch, advantage, config.applies_to), mixed, weight)
    final = advantage * weight
    empty = segment_count(batch.turn, turns) == 0
    turn_credit = torch.where(empty, base.double(), segment_mean(final, batch.turn, turns)).to(dtype)
    return Credit(
        advantage=final,
        base=advantage,
        weight=weight,
        turn_credit=turn_credit,
        diagnostics=_diagnostics(batch, advantage, weight, hindsight, lam),
    )


def turns_that_matter(batch: TokenBatch, base: Tensor, config: CreditConfig) -> Tensor:
    """Return (K,) bool: turns whose hindsight can change any final advantage, given `base` (K,).

    A turn with advantage 0, or on the side that keeps m = 1, needs no teacher; nor does a turn without action tokens
    if only action tokens are evidence or weighted. If a trajectory shares its evidence, one relevant turn makes all of
    its turns relevant; with `belief` all turns are.
    """
    if config.method == "none":
        return torch.zeros_like(base, dtype=torch.bool)
    if config.method == "belief":
        return torch.ones_like(base, dtype=torch.bool)
    matters = base != 0
    if config.applies_to == "positive":
        matters = base > 0
    elif config.applies_to == "negative":
        matters = base < 0
    elif config.applies_to == "success":
        matters = matters & batch.success[batch.trajectory]
    if config.level == "trajectory" or config.normalize == "trajectory":
        some = segment_count(batch.trajectory, batch.group.shape[0], matters) > 0
        matters = some[batch.trajectory]
    if _needs_an_action(config):
        matters = matters & (segment_count(batch.turn, batch.trajectory.shape[0], batch.action_span) > 0)
    return matters


def _needs_an_action(config: CreditConfig) -> bool:
    """Return whether hindsight of a turn without action tokens changes nothing (see the token sets in `rlsd`)."""
    by_action = config.evidence == "action"
    if config.level in ("turn", "turn_token") and by_action:
        return True
    action_only = config.level == "span" or config.tokens == "action"
    return action_only and (config.level != "trajectory" or by_action)


def _on_side(batch: TokenBatch, advantage: Tensor, side: str) -> Tensor:
    """Return (M,) bool: tokens whose weight may leave 1."""
    if side == "positive":
        return advantage > 0
    if side == "negative":
        return advantage < 0
    if side == "success":
        return batch.success[batch.token_trajectory]
    return torch.ones_like(advantage, dtype=torch.bool)


def _diagnostics(
    batch: TokenBatch, advantage: Tensor, weight: Tensor, hindsight: Squashed | None, lam: float
) -> dict[str, float]:
    """Return scalars to log; means over no tokens are omitted. Gaps in nats, over hinted tokens."""
    won = batch.success[batch.token_trajectory]
    everything = torch.ones_like(won)
    scored = batch.hinted if hindsight is not None else torch.zeros_like(won)
    means = {
        "weight_shift": ((weight - 1.0).abs(), everything),
        "zero_advantage": ((advantage == 0).double(), everything),
        "hinted": (batch.hinted.double(), everything),
        "gap": (batch.gap, scored),
        "gap_success": (batch.gap, scored & won),
        "gap_failure": (batch.gap, scored & ~won),
        "gap_positive": (batch.gap, scored & (advantage > 0)),
        "gap_negative": (batch.gap, scored & (advantage < 0)),
    }
    if hindsight is not None:
        means["clipped"] = (hindsight.clipped.double(), hindsight.applies & (advantage != 0))
    report = {name: float(value[kept].double().mean()) for name, (value, kept) in means.items() if bool(kept.any())}
    return {"lam": lam, **report}
