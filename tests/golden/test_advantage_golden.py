"""Base advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rlsd.algorithms import AdvantageConfig, AlgorithmError, base_advantage
from rlsd.algorithms.gigpo import step_returns
from rlsd.algorithms.testing import toy_batch


def advantages(returns: list[float], method: str, **settings: object) -> list[float]:
    group = settings.pop("group", None)
    config = AdvantageConfig.model_validate({"method": method, **settings})
    batch = toy_batch([[[0.0]]] * len(returns), returns=returns, group=group)  # type: ignore[arg-type]
    return base_advantage(batch, config).tolist()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("grpo", [0.866025, -0.866025, -0.866025, 0.866025]),
        ("legacy_grpo", [0.866025, -0.866025, -0.866025, 0.866025]),
        ("dr_grpo", [5.0, -5.0, -5.0, 5.0]),
        ("rloo", [20 / 3, -20 / 3, -20 / 3, 20 / 3]),
        ("reinforce_pp", [0.866025, -0.866025, -0.866025, 0.866025]),
        ("none", [1.0] * 4),
    ],
)
def test_four_siblings(method: str, expected: list[float]) -> None:
    assert advantages([10, 0, 0, 10], method) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "rloo", "reinforce_pp", "gigpo", "hgpo", "legacy_grpo"])
def test_equal_returns_and_lone_siblings_teach_nothing(method: str) -> None:
    assert advantages([0.1, 0.1, 0.1], method) == [0.0] * 3
    assert advantages([3.0], method) == [0.0]


def test_groups_stand_alone_and_may_be_mixed() -> None:
    """Group 7 is [1, 0], group 3 is [5, 5, 5]; a win by one is ± 1/√2 of a standard deviation."""
    half = math.sqrt(0.5)
    assert advantages([1, 5, 5, 0, 5], "grpo", group=[7, 3, 3, 7, 3]) == pytest.approx([half, 0, 0, -half, 0], abs=2e-6)


def test_reinforce_pp_baseline_subtracts_the_group_then_whitens() -> None:
    """Centred [.5, −.5, 5, −5]: variance 50.5 / 3."""
    std = math.sqrt(50.5 / 3)
    assert advantages([1, 0, 10, 0], "reinforce_pp_baseline", group=[0, 0, 1, 1]) == pytest.approx(
        [0.5 / std, -0.5 / std, 5 / std, -5 / std], abs=1e-6
    )


def test_trajectories_count_once_rows_only_under_legacy() -> None:
    """Win in one turn, loss in three. Rows [1, 0, 0, 0]: mean .25, std .5."""
    batch = toy_batch([[[0.0]], [[0.0]] * 3], returns=[1, 0])
    half = math.sqrt(0.5)
    fair = base_advantage(batch, AdvantageConfig())
    rows = base_advantage(batch, AdvantageConfig(method="legacy_grpo"))
    assert fair.tolist() == pytest.approx([half, -half, -half, -half], abs=2e-6)
    assert rows.tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-5)


def test_step_returns_are_discounted_inside_a_trajectory() -> None:
    batch = toy_batch([[[0.0]] * 3, [[0.0]] * 2], step_reward=[1, 0, 4, 0, 2])
    assert step_returns(batch, batch.step_reward, 0.5).tolist() == [2.0, 2.0, 4.0, 1.0, 2.0]


@pytest.mark.parametrize("std", [True, False])
def test_gigpo_compares_turns_before_the_same_observation(std: bool) -> None:
    """Win: states 0, 1. Loss: states 0, 2. γ = .5: step returns .5, 1 | 0, 0; only state 0 is shared."""
    batch = toy_batch([[[0.0]] * 2, [[0.0]] * 2], returns=[1, 0], anchor=[0, 1, 0, 2])
    got = base_advantage(batch, AdvantageConfig(method="gigpo", gamma=0.5, step_weight=0.8, std=std))
    half = math.sqrt(0.5)
    episode, step = (half, half) if std else (0.5, 0.25)
    assert got.tolist() == pytest.approx([episode + 0.8 * step, episode, -episode - 0.8 * step, -episode], abs=6e-6)


def test_gigpo_keeps_groups_apart() -> None:
    batch = toy_batch([[[0.0]], [[0.0]]], returns=[1, 0], anchor=[0, 0], group=[0, 1])
    assert base_advantage(batch, AdvantageConfig(method="gigpo")).tolist() == [0.0, 0.0]


def test_hgpo_weighs_deeper_matches_more() -> None:
    """Three siblings; the last turn stands before state 9 in all, after state 5 in two of them.

    γ = 1, no std, returns 6, 0, 3. Last turns: level 0 centred by 3 → [3, −3, 0]; level 1 clusters {6, 0} and {3}
    → [3, −3, 0]; level 2 (the state before that does not exist for anyone) repeats level 1.
    First turns: 5, 5, 4 → level 0 [3, −3] and nothing for the lone 4. Weights renormalise over non-zero levels.
    """
    batch = toy_batch([[[0.0]] * 2] * 3, returns=[6, 0, 3], anchor=[5, 9, 5, 9, 4, 9])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, history=2)
    assert base_advantage(batch, config).tolist() == pytest.approx([3, 3, -3, -3, 0, 0])


def test_hgpo_no_predecessor_is_not_state_zero() -> None:
    """State 9 at the start (return 4), and after state 0 (0 and 2): alike at level 0 only, where the 2 is the mean and
    its level is skipped."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2, [[0.0]] * 2], returns=[4, 0, 2], anchor=[9, 0, 9, 0, 9])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, history=1)
    got = base_advantage(batch, config)[[0, 2, 4]]
    assert got.tolist() == pytest.approx([2, (-2 - 2 * 1) / 3, 1])


def test_hgpo_level_weights() -> None:
    """State 9 after 5 (returns 4, 0) and after 4 (2, 10): level 0 mean 4, level 1 means 2 and 6; weights 1/3, 2/3."""
    batch = toy_batch([[[0.0]] * 2] * 4, returns=[4, 0, 2, 10], anchor=[5, 9, 5, 9, 4, 9, 4, 9])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, history=1)
    last = base_advantage(batch, config)[1::2]
    assert last.tolist() == pytest.approx([2, (-4 - 2 * 2) / 3, (-2 - 2 * 4) / 3, (6 + 2 * 4) / 3])


@pytest.mark.parametrize(("on", "expected"), [("return", [0.6, -0.6, -0.6]), ("turn", [0.5, -0.5, -0.7])])
def test_invalid_penalty(on: str, expected: list[float]) -> None:
    """Returns 1 and 0, the loser's second turn invalid: .2 off the return (so 1 and −.2), or off that turn alone."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2], returns=[1, 0], valid=[True, True, False])
    config = AdvantageConfig.model_validate({"method": "dr_grpo", "invalid_penalty": 0.2, "penalty_on": on})
    assert base_advantage(batch, config).tolist() == pytest.approx(expected)


def test_return_penalty_is_in_the_step_returns_too() -> None:
    """Same return, same state, one invalid turn: A^E and A^S both see 0 against −.2."""
    batch = toy_batch([[[0.0]], [[0.0]]], returns=[0, 0], anchor=[3, 3], valid=[True, False])
    config = AdvantageConfig(method="gigpo", std=False, invalid_penalty=0.2)
    assert base_advantage(batch, config).tolist() == pytest.approx([0.2, -0.2])


@pytest.mark.parametrize(
    ("on", "expected"), [("turn", [1, 0, -1]), ("return", [2 / math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3)])]
)
def test_invalid_penalty_in_the_rows_of_legacy(on: str, expected: list[float]) -> None:
    """Win in one turn; loss in two, the second invalid. Penalty 1 off that row: [1, 0, −1], mean 0, std 1. Off the
    return: [1, −1, −1], mean −1/3, variance 4/3."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2], returns=[1, 0], valid=[True, True, False])
    config = AdvantageConfig.model_validate({"method": "legacy_grpo", "invalid_penalty": 1.0, "penalty_on": on})
    assert base_advantage(batch, config).tolist() == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "rloo", "reinforce_pp", "gigpo", "hgpo", "legacy_grpo", "none"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_return_or_step_reward_that_is_no_number_is_refused(method: str, wrong: float) -> None:
    with pytest.raises(AlgorithmError, match=rf"returns: 1 of 3 are not finite, the first is {wrong} of trajectory 1;"):
        advantages([1, wrong, 0], method)
    batch = toy_batch([[[0.0]] * 2], step_reward=[wrong, wrong])
    with pytest.raises(AlgorithmError, match=rf"step_reward: 2 of 2 are not finite, the first is {wrong} of turn 0;"):
        base_advantage(batch, AdvantageConfig.model_validate({"method": method}))


def test_an_advantage_beyond_its_dtype_is_refused() -> None:
    """3e38 and −3e38 are numbers in float32; half their difference times two, as RLOO has it, is none."""
    batch = toy_batch([[[0.0]]] * 2, returns=[3e38, -3e38], dtype=torch.float32)
    with pytest.raises(AlgorithmError, match=r"advantage: 2 of 2 are not finite, the first is inf of turn 0;"):
        base_advantage(batch, AdvantageConfig(method="rloo"))


def test_dtype_follows_the_returns() -> None:
    batch = toy_batch([[[0.0]]] * 2, returns=[1, 0], dtype=torch.float32)
    assert base_advantage(batch, AdvantageConfig()).dtype == torch.float32
