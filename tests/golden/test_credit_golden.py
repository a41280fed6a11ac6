"""Credit against numbers worked out by hand: λ = .5, ε = .2, turns Δ = [.1, .3] and [−.2, −.1, 0]."""

from __future__ import annotations

import math

import pytest
import torch

from rlsd.algorithms import CreditConfig, TokenBatch, constant, credit, resolve
from rlsd.algorithms.agent_opsd import belief_increments
from rlsd.algorithms.testing import toy_batch

GAPS = [[[0.1, 0.3], [-0.2, -0.1, 0.0]]]
HALF = constant(0.5)

LEVELS = {
    ("token", 1.0): [1.052585, 1.1, 0.909365, 0.952419, 1.0],
    ("token", -1.0): [-0.952419, -0.9, -1.1, -1.052585, -1.0],
    ("turn", 1.0): [1.1, 1.1, 0.952419, 0.952419, 0.952419],
    ("turn", -1.0): [-0.909365, -0.909365, -1.052585, -1.052585, -1.052585],
    ("turn_token", 1.0): [1.075317, 1.124683, 0.908004, 0.950914, 0.998337],
    ("turn_token", -1.0): [-0.934539, -0.884192, -1.101877, -1.054314, -1.001564],
    # mean Δ = .1 / 5 = .02: 1 ± (exp(±.02) − 1) / 2
    ("trajectory", 1.0): [1.010101] * 5,
    ("trajectory", -1.0): [-0.990099] * 5,
    ("span", 1.0): [1.1, 1.1, 0.952419, 0.952419, 0.952419],
}


def run(batch: TokenBatch, advantage: float, config: CreditConfig, step: int = 0) -> list[float]:
    base = torch.full(batch.trajectory.shape, advantage, dtype=torch.float64)
    return credit(batch, base, config, step=step).advantage.tolist()


@pytest.mark.parametrize(("level", "advantage"), list(LEVELS))
def test_levels(level: str, advantage: float) -> None:
    config = CreditConfig.model_validate({"level": level, "lam": 0.5})
    assert run(toy_batch(GAPS), advantage, config) == pytest.approx(LEVELS[level, advantage], abs=1e-6)


@pytest.mark.parametrize(
    ("advantage", "gap", "expected"),
    [(1, math.log(1.5), 1.1), (-1, math.log(1.5), -0.9), (1, -0.1, 0.952419), (-1, -0.1, -1.052585), (0, 1.0, 0.0)],
)
def test_paper_token(advantage: float, gap: float, expected: float) -> None:
    config = CreditConfig(level="token", lam=HALF)
    assert run(toy_batch([[[gap]]]), advantage, config) == pytest.approx([expected], abs=1e-6)


def test_end_token_takes_the_turn_weight_but_gives_no_evidence() -> None:
    """Δ = [.1, .3 | 9]: the 9 lies outside the action span, so e = .2 and not 3.13."""
    batch = toy_batch([[[0.1, 0.1, -9.0]]], action=[True, True, False])
    turn = 0.5 + 0.5 * math.exp(0.1)
    assert run(batch, 1.0, CreditConfig(level="turn", lam=HALF)) == pytest.approx([turn] * 3)
    assert run(batch, 1.0, CreditConfig(level="span", lam=HALF)) == pytest.approx([turn, turn, 1.0])
    everything = CreditConfig(level="turn", lam=HALF, evidence="turn")
    assert run(batch, 1.0, everything) == pytest.approx([0.9] * 3)
    # turn_token shares e^.1 over all three tokens: c = e^.1, e^.1, .8
    c = [math.exp(0.1), math.exp(0.1), 0.8]
    shared = [0.5 + 0.5 * math.exp(0.1) * x / (sum(c) / 3) for x in c]
    assert run(batch, 1.0, CreditConfig(level="turn_token", lam=HALF)) == pytest.approx(shared)


def test_serl_weighs_each_action_token_alone() -> None:
    batch = toy_batch([[[0.1, 0.1, -9.0]]], action=[True, True, False])
    config = resolve("serl").credit
    assert run(batch, 1.0, config) == pytest.approx([0.5 + 0.5 * math.exp(0.1)] * 2 + [1.0])


def test_sum_grows_with_the_action() -> None:
    batch = toy_batch([[[0.05, 0.05]]])
    mean, total = (CreditConfig.model_validate({"level": "turn", "lam": 1, "reduce": r}) for r in ("mean", "sum"))
    assert run(batch, 1.0, mean) == pytest.approx([math.exp(0.05)] * 2)
    assert run(batch, 1.0, total) == pytest.approx([math.exp(0.1)] * 2)


@pytest.mark.parametrize(("advantage", "expected"), [(1.0, [math.exp(-1), 1.2]), (-1.0, [-math.e, -0.8])])
def test_pessimistic_is_equation_16_as_printed(advantage: float, expected: list[float]) -> None:
    """min(w A, clip(w) A), Δ = [−1, 1]: w = [e⁻¹, e] for A = 1 and [e, e⁻¹] for A = −1."""
    config = CreditConfig(level="token", lam=constant(1.0), pessimistic=True)
    assert run(toy_batch([[[-1.0, 1.0]]]), advantage, config) == pytest.approx(expected)


def test_rlrt_turns_the_ratio_round_in_successes_only() -> None:
    batch = toy_batch([[[0.1]], [[0.1]]], success=[True, False])
    config = resolve("rlrt").credit
    assert run(batch, 1.0, config) == pytest.approx([0.5 + 0.5 * math.exp(-0.1), 1.0])


def test_the_released_script_of_rlsd_fades_out_in_60_iterations() -> None:
    config = resolve("rlsd_released").credit
    faded = [run(toy_batch([[[1.0]]]), 1.0, config, step)[0] for step in (0, 30, 60)]
    assert faded == pytest.approx([1.1, 1.05, 1.0])


def test_mean_one_moves_credit_and_creates_none() -> None:
    config = CreditConfig(level="token", lam=constant(1.0), normalize="turn")
    assert run(toy_batch([[[0.1, 0.0]]]), 1.0, config) == pytest.approx(
        [2 * math.exp(0.1) / (math.exp(0.1) + 1), 2 / (math.exp(0.1) + 1)]
    )


@pytest.mark.parametrize(("advantage", "weights"), [(1.0, [1.0451, 0.9, 1.0935]), (-1.0, [-0.9549, -1.1, -0.9065])])
def test_agent_opsd(advantage: float, weights: list[float]) -> None:
    """B0 = .5 (one of two siblings won), γ = .95, e = [.4, −.2, .6] → b = [.0987, −.0538, .1389]."""
    batch = toy_batch([[[0.3, 0.1], [-0.2], [0.6]], [[0.0]]], success=[True, False])
    config = resolve("agent_opsd").credit
    assert run(batch, advantage, config)[:4] == pytest.approx([weights[0], *weights], abs=6e-5)


def test_gaps_of_rounding_noise_leave_the_belief_weight_near_one() -> None:
    """Gaps of 1e-7 nats move a belief by 2.5e-8: far below the 1e-6 beside the deviation."""
    batch = toy_batch([[[1e-7], [-2e-7], [3e-7]], [[0.0]]], success=[True, False])
    got = credit(batch, torch.ones(4, dtype=torch.float64), resolve("agent_opsd").credit, step=0)
    assert got.weight.tolist() == pytest.approx([1.00079, 0.99354, 1.00567, 1.0], abs=1e-5)


def test_a_certain_belief_stays_a_millionth_away_from_certainty() -> None:
    """B0 = .5, evidence +30, then −60 nats: B = 1 − 1e-6, then 1e-6, not 1 and 9e-14."""
    got = belief_increments(toy_batch([[[30.0], [-60.0]], [[0.0]]], success=[True, False]), gamma=1.0)
    assert got.tolist() == pytest.approx([0.5 - 1e-6, 2e-6 - 1.0, 0.0], abs=1e-12)


def test_a_turn_without_hindsight_does_not_count_in_the_spread_of_the_belief() -> None:
    """γ = 1: the un-hinted turn, whose gap is 9, changes nothing for the three others, and keeps m = 1 itself.

    b = [.0987, −.0489, .1401], mean .0633, std .0811: z = [.4361, −1.3830, .9471].
    """
    config = resolve({"name": "agent_opsd", "credit": {"gamma": 1.0}}).credit
    whole = toy_batch([[[0.4], [-0.2], [0.6]], [[0.0]]], success=[True, False])
    gaps = [[[0.4], [9.0], [-0.2], [0.6]], [[0.0]]]
    parted = toy_batch(gaps, success=[True, False], hinted=[True, False, True, True, True])
    want = run(whole, 1.0, config)
    assert want[:3] == pytest.approx([1.0436, 0.9, 1.0947], abs=6e-5)
    assert run(parted, 1.0, config) == pytest.approx([want[0], 1.0, *want[1:]])


def test_a_group_that_always_wins_starts_one_in_ten_thousand_below_certainty() -> None:
    """Odds 9999 : 1; evidence of −ln 9999 brings the belief to one half."""
    got = belief_increments(toy_batch([[[-math.log(9999)]]], success=[True]), gamma=1.0)
    assert got.tolist() == pytest.approx([0.5 - 0.9999])


def test_clipped_turns_of_the_belief_are_counted() -> None:
    """Of e = [.4, −.2, .6] the second turn leaves [.8, 1.2]; the sibling has no advantage and does not count."""
    batch = toy_batch([[[0.4], [-0.2], [0.6]], [[0.0]]], success=[True, False])
    base = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    got = credit(batch, base, resolve("agent_opsd").credit, step=0)
    assert got.diagnostics["clipped"] == pytest.approx(1 / 3)


def test_belief_starts_at_the_success_rate() -> None:
    """Three of four siblings won: B0 = .75, odds 3; evidence ln 2 then −ln 2 with γ = 1: odds 6, then 3."""
    won = [[[math.log(2)], [-math.log(2)]], [[0.0]], [[0.0]], [[0.0]]]
    got = belief_increments(toy_batch(won, success=[True, True, True, False]), gamma=1.0)
    assert got.tolist() == pytest.approx([6 / 7 - 3 / 4, 3 / 4 - 6 / 7, 0, 0, 0])


def test_turn_token_over_action_tokens_alone() -> None:
    """e = .05: the action tokens share c = e^.05 in the ratio 1 : e^.1, the end token keeps 1."""
    batch = toy_batch([[[0.0, 0.1, -9.0]]], action=[True, True, False])
    config = CreditConfig(level="turn_token", lam=constant(1.0), tokens="action")
    mean = (1 + math.exp(0.1)) / 2
    assert run(batch, 1.0, config) == pytest.approx([math.exp(0.05) / mean, math.exp(0.05) * math.exp(0.1) / mean, 1.0])


def test_schedule_fades_hindsight_out() -> None:
    config = resolve("rlsd_token").credit
    batch = toy_batch([[[1.0]]])
    faded = [run(batch, 1.0, config, step)[0] for step in (0, 25, 50, 99)]
    assert faded == pytest.approx([1.1, 1.05, 1.0, 1.0])
