"""Base advantages of newer methods: numbers worked out by hand, and what released code returned on random batches.

`originals_outcome.json` holds random batches and results alone. Commits: Nala-YN/G2PO b8ffaf5, ZJU-REAL/BEACON db9347f,
GithubX-F/ProxMO-RL 496efa7 (its TF-IDF: scikit-learn), xlan156/verl-agent 8ca3a46 (GiGPO's similarity).
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsd.algorithms import METHODS, AdvantageConfig, AlgorithmError, TokenBatch, assign, base_advantage, value_targets
from rlsd.algorithms.gigpo import step_returns
from rlsd.algorithms.milestones import milestone_rewards, milestone_steps, milestone_turns, segments
from rlsd.algorithms.proxmo import modulation, soft_steps
from rlsd.algorithms.state_graph import g2po_steps, gae, gagpo, graph_hca_steps, potential, potential_gain
from rlsd.algorithms.testing import toy_batch
from rlsd.harness.scoring.similarity import anchor_numbers, tfidf

ORIGINALS: dict[str, Any] = json.loads((Path(__file__).parent / "originals_outcome.json").read_text())
CASES = ORIGINALS["cases"]
NO_PENALTY = torch.zeros(4, dtype=torch.float64)


def fork(win: float = 10.0, turns: int = 2) -> TokenBatch:
    """A win and a loss that begin in state 0 and part: states 0, 1 and 0, 2."""
    anchor = [0, 1, 0, 2] if turns == 2 else [0, 0]
    return toy_batch([[[0.0]] * turns] * 2, returns=[win, 0], anchor=anchor)


def with_unmet(batch: TokenBatch, counts: list[list[float]]) -> TokenBatch:
    """`counts`: of each trajectory, before its turns and after the last."""
    before, after = ([n for c in counts for n in part(c)] for part in (lambda c: c[:-1], lambda c: c[1:]))
    return replace(batch, unmet_before=torch.tensor(before), unmet_after=torch.tensor(after))


def batch_of(case: dict[str, Any]) -> TokenBatch:
    texts = [text for trajectory in case["observations"] for text in trajectory]
    turn_group = [g for g, t in zip(case["group"], case["observations"], strict=True) for _ in t]
    batch = toy_batch(
        [[[0.0]] * len(trajectory) for trajectory in case["observations"]],
        returns=case["returns"],
        group=case["group"],
        valid=case["valid"],
        anchor=anchor_numbers(turn_group, texts, None),
    )
    return with_unmet(replace(batch, features=tfidf(texts)), case["unmet"])


# ---------------------------------------------------------------------- G2PO


@pytest.mark.parametrize(
    ("std", "expected"),
    [(False, [9.49375, 0.25625, -9.50625, -0.24375]), (True, [1.9285, 0.0660, -1.9318, -0.0628])],
)
def test_g2po_compares_where_turns_lead_and_what_they_gain(std: bool, expected: list[float]) -> None:
    """V = 4.5125, 9.5, 0; n = 9.5, 10 | 0, 0. In state 0: ± 4.75. Gains 4.9875, .5, −4.5125, 0, mean .24375."""
    batch = fork()
    got = g2po_steps(batch, batch.returns, NO_PENALTY, gamma=0.95, std=std)
    assert got.tolist() == pytest.approx(expected, abs=5e-5)


def test_g2po_adds_the_episode_and_takes_a_row_penalty_off_the_choice_alone() -> None:
    """The loser's first turn is invalid: .5 off its n in state 0 (9.5, −.5 → ± 5) and off its score, not its gain."""
    batch = replace(fork(), valid=torch.tensor([True, True, False, True]))
    config = AdvantageConfig(method="g2po", std=False, invalid_penalty=0.5, penalty_on="row")
    assert base_advantage(batch, config).tolist() == pytest.approx(
        [5 + 5 + 4.74375, 5 + 0.25625, -5.5 - 5 - 4.75625, -5 - 0.24375]
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("penalty", "name"), [(0.0, "g2po"), (0.1, "g2po_penalty")])
@pytest.mark.parametrize("std", [True, False])
def test_g2po_is_its_authors(case: dict[str, Any], penalty: float, name: str, std: bool) -> None:
    batch = batch_of(case)
    got = g2po_steps(batch, batch.returns, penalty * (~batch.valid).double(), gamma=0.95, std=std)
    want = case["want"][f"{name}_mean_std_norm" if std else f"{name}_mean_norm"]
    assert got.tolist() == pytest.approx(want, abs=2e-5)


# ---------------------------------------------------------------------- GAGPO


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_gagpo_credits_the_turn_where_win_and_loss_part(lam: float) -> None:
    """V = .5, 1, 0: A = .5, 0 | −.5, 0 whatever λ; population deviation √.125."""
    batch = fork(win=1.0)
    values = torch.tensor([0.5, 1.0, 0.5, 0.0])
    assert gae(batch, batch.step_reward, values, gamma=1.0, lam=lam).tolist() == [0.5, 0.0, -0.5, 0.0]
    got = gagpo(batch, batch.step_reward, gamma=1.0, lam=lam, std=True)
    assert got.tolist() == pytest.approx([math.sqrt(2), 0, -math.sqrt(2), 0], abs=1e-5)


def test_generalised_advantages_by_hand() -> None:
    """γ = .5, λ = .5, V = 2, 4: δ = 1 + 2 − 2 = 1 and 3 − 4 = −1; A = 1 − .25, −1."""
    batch = toy_batch([[[0.0]] * 2], step_reward=[1, 3])
    assert gae(batch, batch.step_reward, torch.tensor([2.0, 4.0]), gamma=0.5, lam=0.5).tolist() == [0.75, -1.0]


def test_ppo_whitens_the_advantages_of_its_critic_over_tokens() -> None:
    """A = .75 and −1 as above; one token and two: mean −5/12, deviation 1.75 / √3."""
    batch = replace(toy_batch([[[0.0], [0.0, 0.0]]], step_reward=[1, 3]), values=torch.tensor([2.0, 4.0]))
    raw = AdvantageConfig(method="gae", gamma=0.5, lam=0.5, std=False)
    assert base_advantage(batch, raw).tolist() == [0.75, -1.0]
    whitened = base_advantage(batch, raw.model_copy(update={"std": True}))
    assert whitened.tolist() == pytest.approx([2 / math.sqrt(3), -1 / math.sqrt(3)], abs=3e-6)
    assert value_targets(batch, raw).tolist() == [2.5, 3.0]


def test_values_aim_at_what_an_invalid_turn_is_paid() -> None:
    batch = toy_batch([[[0.0]] * 2], step_reward=[1, 3], valid=[False, True])
    for on, want in (("return", 2.0), ("row", 2.0), ("turn", 2.5)):
        config = AdvantageConfig.model_validate(
            {"method": "gae", "gamma": 0.5, "invalid_penalty": 0.5, "penalty_on": on}
        )
        assert value_targets(batch, config).tolist() == [want, 3.0], on


def test_ppo_without_a_critic_is_refused() -> None:
    with pytest.raises(AlgorithmError, match=r"needs a critic's values of the turns .TokenBatch\.values., given none"):
        base_advantage(fork(), METHODS["ppo"].config.advantage)


def test_gagpo_has_no_episode_part_and_discounts_by_gamma_and_lambda() -> None:
    """One state 0, then 1 in the win and 2 in the loss; γ = .5: V = .25, 1, 0; δ = .25, 0 | −.25, 0."""
    config = AdvantageConfig(method="gagpo", gamma=0.5, lam=0.5, std=False)
    assert base_advantage(fork(win=1.0), config).tolist() == pytest.approx([0.25, 0, -0.25, 0])


# ---------------------------------------------------------------------- GraphHCA


def test_graph_hca_pays_the_rise_of_the_log_potential() -> None:
    """One state, one win and one loss: Φ = .95 / 2; log(1 / .475) and log(.01 / .475)."""
    batch = fork(turns=1)
    assert potential(batch, 0.95).tolist() == pytest.approx([0.475, 0.475])
    assert potential_gain(batch, gamma=0.95, floor=0.01).tolist() == pytest.approx([0.7444, -3.8607], abs=5e-5)
    got = graph_hca_steps(batch, gamma=0.95, floor=0.01, std=True)
    assert got.tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)], abs=1e-6)


def test_the_potential_of_a_circle_is_exact() -> None:
    """A win by states 0, 0, 1 (γ = .5): Φ(1) = .5; Φ(0) = .25 Φ(0) + .25 Φ(1) = 1/6."""
    batch = toy_batch([[[0.0]] * 3], returns=[1], anchor=[0, 0, 1])
    assert potential(batch, 0.5).tolist() == pytest.approx([1 / 6, 1 / 6, 0.5])


def test_potentials_of_groups_stand_alone() -> None:
    """The same anchor number in two groups is two states."""
    batch = toy_batch([[[0.0]]] * 2, returns=[1, 0], anchor=[0, 0], group=[0, 1])
    assert potential(batch, 0.5).tolist() == [0.5, 0.0]


# ---------------------------------------------------------------------- BEACON


def milestones() -> TokenBatch:
    """A milestone after two turns and none after the third, against two turns without one."""
    return with_unmet(toy_batch([[[0.0]] * 3, [[0.0]] * 2], returns=[0, 0]), [[2, 2, 1, 1], [2, 2, 2]])


def test_beacon_pays_turns_that_near_a_milestone() -> None:
    """ρ = 10, γ = .9: 9, 10 | 0, 0 with no milestone behind, mean 4.75; the third turn is alone."""
    batch = milestones()
    assert segments(batch, milestone_turns(batch)).tolist() == [0, 0, 1, 0, 0]
    got = milestone_steps(batch, torch.zeros(5, dtype=torch.float64), gamma=0.9, reward=10.0, std=False)
    assert got.tolist() == pytest.approx([4.25, 5.25, 0, -4.75, -4.75])
    method = base_advantage(batch, METHODS["beacon"].config.advantage)
    assert method.tolist() == pytest.approx([4.25, 5.25, 0, -4.75, -4.75]), "weight 10, pay 1"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([3, 2, 3, 2, 1], [True, False, False, True]),
        ([3, 1, 0], [True, True]),
        ([math.nan, 2, 1], [False, True]),
        ([2, math.nan, 1], [False, True]),
        ([2, 1, math.nan], [True, False]),
    ],
)
def test_a_fact_that_is_undone_and_redone_pays_once(counts: list[float], expected: list[bool]) -> None:
    batch = with_unmet(toy_batch([[[0.0]] * (len(counts) - 1)]), [counts])
    assert milestone_turns(batch).tolist() == expected


def test_no_turn_is_paid_for_the_milestone_of_another_trajectory() -> None:
    batch = toy_batch([[[0.0]], [[0.0]]])
    assert milestone_rewards(batch, torch.tensor([False, True]), gamma=0.5, reward=1.0).tolist() == [0.0, 1.0]


def test_beacon_without_facts_is_the_episode_advantage() -> None:
    batch = fork(win=1.0)
    config = METHODS["beacon"].config.advantage
    assert base_advantage(batch, config).tolist() == [0.5, 0.5, -0.5, -0.5]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("std", [True, False])
def test_beacon_is_its_authors(case: dict[str, Any], std: bool) -> None:
    batch = batch_of(case)
    none = torch.zeros(len(batch.valid), dtype=torch.float64)
    got = milestone_steps(batch, none, gamma=0.9, reward=10.0, std=std)
    assert got.tolist() == pytest.approx(case["want"]["beacon_std" if std else "beacon_mean"], abs=2e-5)


# ---------------------------------------------------------------------- ProxMO


def softened(features: Tensor | None) -> list[float]:
    batch = replace(toy_batch([[[0.0]]] * 3, returns=[1, 0, 0], anchor=[0, 1, 1]), features=features)
    return soft_steps(batch, batch.returns, temperature=0.1).tolist()


def test_proxmo_weighs_turns_by_how_alike_their_states_are() -> None:
    """Cosines to the winner's state .5 and 0; the two others' is √.75. e^−5 and e^−10 beside their own weight 1."""
    half, none, near = math.exp(-5), math.exp(-10), math.exp(10 * (math.sqrt(0.75) - 1))
    vectors = torch.tensor([[1.0, 0.0], [1.0, math.sqrt(3)], [0.0, 3.0]], dtype=torch.float64)
    assert softened(vectors) == pytest.approx(
        [(half + none) / (1 + half + none), -half / (half + 1 + near), -none / (none + near + 1)]
    )


def test_proxmo_without_vectors_takes_equal_anchors_as_alike() -> None:
    far = math.exp(-10)
    assert softened(None) == pytest.approx([2 * far / (1 + 2 * far), -far / (2 + far), -far / (2 + far)])


def test_proxmo_modulates_the_episode_by_how_rare_the_result_is() -> None:
    """One win of four: p = .25, α = 1, range .2: σ(.75) and σ(−.25) around ½, over σ(1) − ½."""
    batch = toy_batch([[[0.0]]] * 4, returns=[1, 0, 0, 0])
    up, down, most = (1 / (1 + math.exp(-x)) - 0.5 for x in (0.75, -0.25, 1.0))
    config = AdvantageConfig(method="proxmo", std=False, step_weight=0.0, modulation=0.2, modulation_power=1.0)
    assert base_advantage(batch, config).tolist() == pytest.approx(
        [0.75 * (1 + 0.2 * up / most)] + [-0.25 * (1 + 0.2 * down / most)] * 3
    )


@pytest.mark.parametrize("case", CASES)
def test_proxmo_is_its_authors(case: dict[str, Any]) -> None:
    batch = batch_of(case)
    got = soft_steps(batch, step_returns(batch, batch.step_reward, 0.95), temperature=0.1)
    assert got.tolist() == pytest.approx(case["want"]["proxmo"], abs=2e-5)


def test_proxmo_modulates_as_its_authors() -> None:
    """Four trajectories of which p · 4 won; range .05, α 4."""
    for share, reward, want in ORIGINALS["modulation"]:
        wins = round(4 * share)
        batch = toy_batch([[[0.0]]] * 4, returns=[1.0] * wins + [0.0] * (4 - wins))
        got = modulation(batch, most=0.05, power=4.0)
        if 0 < wins < 4:
            assert float(got[0 if reward else 3]) == pytest.approx(want, abs=1e-6)


# ---------------------------------------------------------------------- GiGPO by similarity, CoARS


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("least", [0.8, 0.9])
def test_similar_states_are_those_of_gigpos_code(case: dict[str, Any], least: float) -> None:
    texts = [text for trajectory in case["observations"] for text in trajectory]
    groups = [g for g, t in zip(case["group"], case["observations"], strict=True) for _ in t]
    assert anchor_numbers(groups, texts, least) == case["want"][f"anchors_{least}"]


def test_reinforce_is_the_reward_that_follows() -> None:
    batch = toy_batch([[[0.0]] * 3], step_reward=[1, 0, 4])
    assert base_advantage(batch, AdvantageConfig(method="reinforce", gamma=0.5)).tolist() == [2.0, 2.0, 4.0]


def test_coars_adds_a_tenth_of_the_clipped_gap() -> None:
    batch = toy_batch([[[0.4, -2.0, 1.5]]], returns=[1])
    assert assign(batch, METHODS["coars"].config, step=0).advantage.tolist() == pytest.approx([1.04, 0.9, 1.1])
