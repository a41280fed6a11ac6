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


def test_reinforce_pp_whitens_over_tokens_each_with_its_return() -> None:
    """Win of one token, loss of three: tokens [1, 0, 0, 0], mean .25, std .5. Trajectories: mean .5, std 1/√2."""
    batch = toy_batch([[[0.0]], [[0.0], [0.0, 0.0]]], returns=[1, 0])
    config = AdvantageConfig(method="reinforce_pp")
    assert base_advantage(batch, config).tolist() == pytest.approx([1.5, -0.5, -0.5], abs=1e-5)
    config = AdvantageConfig(method="reinforce_pp", whiten="trajectories")
    half = math.sqrt(0.5)
    assert base_advantage(batch, config).tolist() == pytest.approx([half, -half, -half], abs=2e-6)


def test_hgpo_takes_the_population_deviation_and_no_level_without_predecessors() -> None:
    """Step returns 1 and 0 of the first turns, which share state 7: mean .5, deviation .5, so ± 1. Second turns match
    nowhere."""
    batch = toy_batch([[[0.0]] * 2] * 2, returns=[1, 0], anchor=[7, 1, 7, 2], step_reward=[0, 1, 0, 0])
    got = base_advantage(batch, AdvantageConfig(method="hgpo"))
    assert got.tolist() == pytest.approx([1, 0, -1, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("weights", "shares", "expected"),
    [
        ("code", (2 / 5, 3 / 5), [1, 1.1657, -1, -0.8828, 0, -0.7071]),
        ("paper", (1 / 3, 2 / 3), [1, 1.1381, -1, -0.9024, 0, -0.7071]),
    ],
)
def test_hgpo_level_weights_of_code_and_paper(weights: str, shares: tuple[float, float], expected: list[float]) -> None:
    """Second turns 1, 0, 0 before state 8: level 0 is (2, −1, −1)/√2; level 1, after state 7, is (1, −1)."""
    rewards = [0, 1, 0, 0, 0, 0]
    batch = toy_batch([[[0.0]] * 2] * 3, returns=[1, 0, 0], anchor=[7, 8, 7, 8, 6, 8], step_reward=rewards)
    got = base_advantage(batch, AdvantageConfig.model_validate({"method": "hgpo", "level_weights": weights})).tolist()
    assert got == pytest.approx(expected, abs=1e-4)
    levels = [(math.sqrt(2), 1.0), (-math.sqrt(0.5), -1.0)]
    assert [got[1], got[3]] == pytest.approx([shares[0] * a + shares[1] * b for a, b in levels], abs=1e-5)


def test_hgpo_episode_level_is_one_more_item_of_weight_one() -> None:
    """Returns 2, 0, 1 of one-turn siblings, the first two in one state, γ = 1, no std: episode [1, −1, 0], level 0
    [1, −1, none], weights 1 and 2. The episode advantage of the third is 0, so it has no item at all."""
    batch = toy_batch([[[0.0]]] * 3, returns=[2, 0, 1], anchor=[5, 5, 6], step_reward=[4, 0, 1])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, episode_level=True)
    assert base_advantage(batch, config).tolist() == pytest.approx([(1 + 2 * 2) / 3, (-1 - 2 * 2) / 3, 0])


def test_hgpo_weighs_deeper_matches_more() -> None:
    """Three siblings; the last turn stands before state 9 in all, after state 5 in two of them.

    γ = 1, no std, returns 6, 0, 3. Last turns: level 0 centred by 3 → [3, −3, 0]; level 1 clusters {6, 0} and {3}
    → [3, −3, 0]; nobody has a level 2.
    First turns: 5, 5, 4 → level 0 [3, −3] and nothing for the lone 4. Weights renormalise over non-zero levels.
    """
    batch = toy_batch([[[0.0]] * 2] * 3, returns=[6, 0, 3], anchor=[5, 9, 5, 9, 4, 9])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, history=2)
    assert base_advantage(batch, config).tolist() == pytest.approx([3, 3, -3, -3, 0, 0])


def test_hgpo_no_predecessor_is_not_state_zero() -> None:
    """State 9 at the start (return 4), and after state 0 (0 and 2): alike at level 0 only, where the 2 is the mean and
    its level is skipped. Level weights 2 and 3."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2, [[0.0]] * 2], returns=[4, 0, 2], anchor=[9, 0, 9, 0, 9])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, history=1)
    got = base_advantage(batch, config)[[0, 2, 4]]
    assert got.tolist() == pytest.approx([2, (2 * -2 + 3 * -1) / 5, 1])


def test_hgpo_level_weights() -> None:
    """State 9 after 5 (returns 4, 0) and after 4 (2, 10): level 0 mean 4, level 1 means 2 and 6; weights 2/5, 3/5."""
    batch = toy_batch([[[0.0]] * 2] * 4, returns=[4, 0, 2, 10], anchor=[5, 9, 5, 9, 4, 9, 4, 9])
    config = AdvantageConfig(method="hgpo", gamma=1.0, std=False, history=1)
    last = base_advantage(batch, config)[1::2]
    assert last.tolist() == pytest.approx([2, -(2 * 4 + 3 * 2) / 5, -(2 * 2 + 3 * 4) / 5, (2 * 6 + 3 * 4) / 5])


@pytest.mark.parametrize(("on", "expected"), [("return", [0.6, -0.6, -0.6]), ("turn", [0.5, -0.5, -0.7])])
def test_invalid_penalty(on: str, expected: list[float]) -> None:
    """Returns 1 and 0, the loser's second turn invalid: .2 off the return (so 1 and −.2), or off that turn alone."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2], returns=[1, 0], valid=[True, True, False])
    config = AdvantageConfig.model_validate({"method": "dr_grpo", "invalid_penalty": 0.2, "penalty_on": on})
    assert base_advantage(batch, config).tolist() == pytest.approx(expected)


def test_a_row_penalty_comes_off_that_row_alone() -> None:
    """The loser's second turn is invalid. Scores 1, 1, 0, −.1 around the returns' mean .5; step returns .95, 1, 0, −.1:
    state 7 around .475, state 8 around .45."""
    batch = toy_batch(
        [[[0.0]] * 2] * 2,
        returns=[1, 0],
        anchor=[7, 8, 7, 8],
        step_reward=[0, 1, 0, 0],
        valid=[True, True, True, False],
    )
    config = AdvantageConfig(method="gigpo", std=False, invalid_penalty=0.1, penalty_on="row")
    assert base_advantage(batch, config).tolist() == pytest.approx([0.975, 1.05, -0.975, -1.15])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("grpo", [math.sqrt(0.5), -math.sqrt(0.5), -math.sqrt(0.5) - 0.2 * math.sqrt(2)]),
        ("dr_grpo", [0.5, -0.5, -0.7]),
        ("rloo", [1, -1, -1.4]),
        ("none", [1, 1, 1]),
    ],
)
def test_a_row_penalty_is_in_units_of_the_return(method: str, expected: list[float]) -> None:
    """Returns 1 and 0, the loser's second turn invalid: .2 off its score, then over the deviation 1/√2, or times the
    2 of leave-one-out among two."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2], returns=[1, 0], valid=[True, True, False])
    config = AdvantageConfig.model_validate({"method": method, "invalid_penalty": 0.2, "penalty_on": "row"})
    assert base_advantage(batch, config).tolist() == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("whiten", ["tokens", "trajectories"])
def test_a_row_penalty_counts_in_the_mean_of_tokens_but_not_of_trajectories(whiten: str) -> None:
    """Returns 1 and 0, penalty .2. Tokens 1, 0, −.2: mean 4/15, variance .4133. Trajectories: mean .5, std 1/√2."""
    batch = toy_batch([[[0.0]], [[0.0]] * 2], returns=[1, 0], valid=[True, True, False])
    config = AdvantageConfig.model_validate(
        {"method": "reinforce_pp", "invalid_penalty": 0.2, "penalty_on": "row", "whiten": whiten}
    )
    mean, std = (4 / 15, math.sqrt(0.4133333)) if whiten == "tokens" else (0.5, math.sqrt(0.5))
    want = [(score - mean) / std for score in (1.0, 0.0, -0.2)]
    assert base_advantage(batch, config).tolist() == pytest.approx(want, abs=5e-6)


@pytest.mark.parametrize("method", ["grpo", "reinforce_pp", "gigpo"])
def test_a_row_penalty_is_bounded_in_a_group_without_a_difference(method: str) -> None:
    """No deviation to divide by: the penalty itself, not a penalty over 1e-6. Tokens have one, the penalty's own."""
    batch = toy_batch([[[0.0]], [[0.0]]], returns=[1, 1], valid=[True, False])
    config = AdvantageConfig.model_validate({"method": method, "invalid_penalty": 0.2, "penalty_on": "row"})
    half = math.sqrt(0.5)
    want = [half, -half] if method == "reinforce_pp" else [0, -0.2]
    assert base_advantage(batch, config).tolist() == pytest.approx(want, abs=1e-4)


def test_return_penalty_is_in_the_step_returns_too() -> None:
    """Same return, same state, one invalid turn: A^E and A^S both see 0 against −.2."""
    batch = toy_batch([[[0.0]], [[0.0]]], returns=[0, 0], anchor=[3, 3], valid=[True, False])
    config = AdvantageConfig(method="gigpo", std=False, invalid_penalty=0.2)
    assert base_advantage(batch, config).tolist() == pytest.approx([0.2, -0.2])


@pytest.mark.parametrize(
    ("on", "expected"),
    [("turn", [1, 0, -1]), ("row", [1, 0, -1]), ("return", [2 / math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3)])],
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
