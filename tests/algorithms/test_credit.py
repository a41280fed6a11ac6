"""What credit does at its edges: switches, missing hindsight, diagnostics."""

from __future__ import annotations

import math

import pytest
import torch

from rlsd.algorithms import (
    PRESETS,
    AlgorithmError,
    CreditConfig,
    base_advantage,
    constant,
    credit,
    resolve,
    turns_that_matter,
)
from rlsd.algorithms.testing import toy_batch
from tests.support.recipes import with_facts

FULL = constant(1.0)
LEVELS = ("token", "span", "turn", "turn_token", "trajectory")


def config(level: str, **settings: object) -> CreditConfig:
    return CreditConfig.model_validate({"level": level, "lam": 1.0, **settings})


def test_a_turn_without_an_action_gets_no_turn_evidence() -> None:
    """An unparseable answer: Δ exists, but nothing speaks for the turn."""
    batch = toy_batch([[[0.1, 0.1], [5.0, 0.0]]], action=[True, True, False, False])
    base = torch.ones(2, dtype=torch.float64)
    for level in ("span", "turn", "turn_token"):
        assert credit(batch, base, config(level), step=0).weight[2:].tolist() == [1.0, 1.0]
    assert credit(batch, base, config("token"), step=0).weight[2:].tolist() == [1.2, 1.0]
    everyone = credit(batch, base, config("trajectory"), step=0).weight
    assert everyone.tolist() == pytest.approx([math.exp(0.1)] * 4)


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({"level": "token"}, True),
        ({"level": "token", "tokens": "action"}, False),
        ({"level": "span"}, False),
        ({"level": "turn"}, False),
        ({"level": "turn_token"}, False),
        ({"level": "turn_token", "evidence": "turn"}, True),
        ({"level": "turn_token", "evidence": "turn", "tokens": "action"}, False),
        ({"level": "trajectory"}, True),
        ({"level": "trajectory", "tokens": "action"}, False),
        ({"level": "trajectory", "tokens": "action", "evidence": "turn"}, True),
    ],
)
def test_a_turn_without_an_action_is_not_read_again_where_only_actions_count(
    settings: dict[str, str], read: bool
) -> None:
    batch = toy_batch([[[0.1, 0.1], [5.0, 0.0]]], action=[True, True, False, False])
    base = torch.ones(2, dtype=torch.float64)
    assert turns_that_matter(batch, base, CreditConfig.model_validate(settings)).tolist() == [True, read]


@pytest.mark.parametrize("level", LEVELS)
def test_unhinted_turns_stay_at_one_and_out_of_every_mean(level: str) -> None:
    batch = toy_batch([[[0.1, 0.1], [0.0, 0.0]]], hinted=[True, True, False, False])
    got = credit(batch, torch.ones(2, dtype=torch.float64), config(level), step=0).weight.tolist()
    assert got == pytest.approx([math.exp(0.1)] * 2 + [1.0, 1.0])


@pytest.mark.parametrize(("side", "moves"), [("both", [1, 1]), ("positive", [1, 0]), ("negative", [0, 1])])
def test_side_keeps_the_other_sign_as_it_was(side: str, moves: list[int]) -> None:
    batch = toy_batch([[[0.1]], [[0.1]]], returns=[1, 0])
    base = base_advantage(batch, resolve("grpo").advantage)
    weight = credit(batch, base, config("turn", applies_to=side), step=0).weight
    assert (weight != 1).long().tolist() == moves


def test_each_turn_uses_the_sign_of_its_own_advantage() -> None:
    """Under GiGPO two turns of one trajectory may differ in sign."""
    batch = toy_batch([[[0.1], [0.1]]])
    got = credit(batch, torch.tensor([1.0, -1.0], dtype=torch.float64), config("trajectory"), step=0)
    assert got.weight.tolist() == pytest.approx([math.exp(0.1), math.exp(-0.1)])


def test_mean_one_over_a_trajectory_keeps_turns_apart() -> None:
    batch = toy_batch([[[0.1], [0.0, 0.0]]])
    got = credit(batch, torch.ones(2, dtype=torch.float64), config("turn", normalize="trajectory"), step=0)
    assert got.weight.mean().item() == pytest.approx(1.0)
    assert got.weight[0] / got.weight[1] == pytest.approx(math.exp(0.1))


def test_none_is_the_base_advantage() -> None:
    batch = toy_batch([[[3.0, -3.0]], [[1.0]]], returns=[1, 0])
    base = base_advantage(batch, resolve("grpo").advantage)
    got = credit(batch, base, resolve("grpo").credit, step=0)
    assert torch.equal(got.advantage, base[batch.turn])
    assert "gap" not in got.diagnostics
    assert "clipped" not in got.diagnostics


def test_turn_credit_is_the_mean_over_the_turn_and_the_base_of_an_empty_one() -> None:
    batch = toy_batch([[[0.1, -0.1], []]])
    got = credit(batch, torch.tensor([2.0, 0.5], dtype=torch.float64), config("token"), step=0)
    assert got.turn_credit.tolist() == pytest.approx([math.exp(0.1) + math.exp(-0.1), 0.5])


def test_diagnostics() -> None:
    """Won: Δ = .1 and 1 (clipped). Lost: Δ = −.1 and one token without hindsight."""
    batch = toy_batch([[[0.1, 1.0]], [[-0.1], [0.0]]], returns=[1, 0], hinted=[True, True, True, False])
    got = credit(batch, torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64), config("token"), step=0)
    up = math.exp(0.1) - 1
    assert got.diagnostics == pytest.approx(
        {
            "lam": 1.0,
            "weight_shift": (2 * up + 0.2) / 4,
            "zero_advantage": 0.0,
            "hinted": 0.75,
            "gap": 1.0 / 3,
            "gap_success": 0.55,
            "gap_failure": -0.1,
            "gap_positive": 0.55,
            "gap_negative": -0.1,
            "clipped": 1 / 3,
        }
    )


def test_clipped_counts_the_turn_and_the_share() -> None:
    """Turn one: e = .15, only the share of Δ = .3 is clipped. Turn two: e = .3 is, so all its tokens are."""
    batch = toy_batch([[[0.0, 0.3], [0.3, 0.3]]])
    ones = torch.ones(2, dtype=torch.float64)
    assert credit(batch, ones, config("turn_token"), step=0).diagnostics["clipped"] == 0.75
    assert credit(batch, ones, config("turn"), step=0).diagnostics["clipped"] == 0.5


def test_means_over_nothing_are_left_out() -> None:
    batch = toy_batch([[[0.1]]], returns=[1])
    got = credit(batch, torch.ones(1, dtype=torch.float64), config("token"), step=0)
    assert "gap_failure" not in got.diagnostics
    assert all(math.isfinite(value) for value in got.diagnostics.values())


def test_an_iteration_without_tokens() -> None:
    batch = with_facts(toy_batch([[[]]]))
    for settings in (*(p.credit for p in PRESETS.values()), CreditConfig.model_validate({"rule": "none", "lam": 1.0})):
        got = credit(batch, torch.ones(1, dtype=torch.float64), settings, step=0)
        assert got.advantage.shape == (0,)


def test_lambda_zero_reads_no_teacher() -> None:
    batch = toy_batch([[[math.nan]]])
    got = credit(batch, torch.ones(1, dtype=torch.float64), CreditConfig(lam=constant(0.0)), step=0)
    assert got.advantage.tolist() == [1.0]


def test_a_token_is_covered_by_its_own_hindsight_beside_an_empty_turn() -> None:
    """As many turns as tokens, but both tokens in the first: turn numbers are no token numbers."""
    batch = toy_batch([[[0.1, 0.1], []]], hinted=[True, False])
    settings = CreditConfig(level="turn", evidence="turn", lam=FULL)
    got = credit(batch, torch.ones(2, dtype=torch.float64), settings, step=0).weight
    assert got.tolist() == pytest.approx([math.exp(0.1), 1.0])


def test_belief_needs_two_hinted_turns() -> None:
    batch = toy_batch([[[0.5], [0.0]]], hinted=[True, False])
    settings = resolve("agent_opsd").credit.model_copy(update={"lam": FULL})
    assert credit(batch, torch.ones(2, dtype=torch.float64), settings, step=0).weight.tolist() == [1.0, 1.0]


def test_an_unhinted_turn_leaves_the_others_spread_alone() -> None:
    """The published three turns e = [.4, −.2, .6], then one without hindsight: their weights do not move."""
    turns = [[[0.4], [-0.2], [0.6], [0.0]], [[0.0]]]
    batch = toy_batch(turns, hinted=[True, True, True, False, True], success=[True, False])
    settings = resolve("agent_opsd").credit.model_copy(update={"lam": FULL})
    got = credit(batch, torch.ones(5, dtype=torch.float64), settings, step=0).weight[:4]
    assert got.tolist() == pytest.approx([1.0902, 0.8, 1.187, 1.0], abs=6e-5)


def test_base_of_a_wrong_length() -> None:
    with pytest.raises(AlgorithmError, match=r"expected \(2,\), one number per turn, given \(3,\)"):
        credit(toy_batch([[[0.1], [0.2]]]), torch.ones(3), CreditConfig(), step=0)


@pytest.mark.parametrize(
    ("side", "read"),
    [
        ("both", [True, True, False]),
        ("positive", [True, False, False]),
        ("negative", [False, True, False]),
        ("success", [True, False, False]),
    ],
)
def test_only_turns_whose_credit_can_change_are_read(side: str, read: list[bool]) -> None:
    """A win above the mean, a loss below it, and a win without an advantage."""
    batch = toy_batch([[[0.1]]] * 3, returns=[2, 0, 1])
    base = torch.tensor([1.0, -1.0, 0.0])
    config = CreditConfig.model_validate({"applies_to": side})
    assert turns_that_matter(batch, base, config).tolist() == read


def test_a_turn_without_an_advantage_is_in_no_mean_by_sign() -> None:
    batch = toy_batch([[[0.3]], [[0.5]], [[0.9]]], returns=[2, 0, 1])
    found = credit(batch, torch.tensor([1.0, -1.0, 0.0]), resolve("rlsd").credit, step=0).diagnostics
    assert (found["gap_positive"], found["gap_negative"]) == pytest.approx((0.3, 0.5))
    assert found["zero_advantage"] == pytest.approx(1 / 3)
