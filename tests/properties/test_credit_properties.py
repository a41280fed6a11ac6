"""What must hold for every batch: hindsight sizes an update, it never turns it round."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd.algorithms import (
    AGGREGATIONS,
    PRESETS,
    AdvantageConfig,
    AlgorithmConfig,
    CreditConfig,
    TokenBatch,
    assign,
    base_advantage,
    credit,
    token_weights,
    turns_that_matter,
)
from tests.support.recipes import Recipe, recipes, same_in_any_order

EPSILON = 0.2
LEVELS = ("token", "span", "turn", "turn_token", "trajectory")
METHODS = ("grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "gigpo", "hgpo", "legacy_grpo")
BOUNDS = dict.fromkeys(LEVELS, (1 - EPSILON, 1 + EPSILON)) | {
    "turn_token": ((1 - EPSILON) ** 2 / (1 + EPSILON), (1 + EPSILON) ** 2 / (1 - EPSILON))
}
quick = settings(max_examples=60, deadline=None)


def configs(lam: float | None = None) -> st.SearchStrategy[CreditConfig]:
    rate = st.floats(0, 1) if lam is None else st.just(lam)
    return st.builds(
        lambda level, lam, reduce, evidence, tokens: CreditConfig.model_validate(
            {"level": level, "lam": lam, "reduce": reduce, "evidence": evidence, "tokens": tokens}
        ),
        st.sampled_from(LEVELS),
        rate,
        st.sampled_from(["mean", "sum"]),
        st.sampled_from(["action", "turn"]),
        st.sampled_from(["all", "action"]),
    )


def grpo(batch: TokenBatch) -> Tensor:
    return base_advantage(batch, AdvantageConfig())


@quick
@given(recipe=recipes(), config=configs())
def test_equal_views_are_grpo(recipe: Recipe, config: CreditConfig) -> None:
    """No hindsight text and live weights: Δ = 0, and RLSD is GRPO."""
    batch = recipe.batch(scale=0.0)
    got = credit(batch, grpo(batch), config, step=0)
    assert torch.allclose(got.advantage, grpo(batch)[batch.turn], rtol=0, atol=1e-6)


@quick
@given(recipe=recipes(), config=configs(lam=0.0))
def test_lambda_zero_is_grpo(recipe: Recipe, config: CreditConfig) -> None:
    batch = recipe.batch()
    assert torch.equal(credit(batch, grpo(batch), config, step=0).advantage, grpo(batch)[batch.turn])


@quick
@given(recipe=recipes(), config=configs())
def test_weights_stay_in_their_bounds_and_never_turn_a_sign(recipe: Recipe, config: CreditConfig) -> None:
    """|Â − A| ≤ λ ε |A|; for turn_token the ratio of two bounded factors widens it, see `BOUNDS`."""
    batch, lam = recipe.batch(), config.lam.value(0)
    got = credit(batch, grpo(batch), config, step=0)
    low, high = BOUNDS[config.level]
    assert bool((got.weight >= 1 + lam * (low - 1) - 1e-9).all())
    assert bool((got.weight <= 1 + lam * (high - 1) + 1e-9).all())
    assert torch.equal(got.advantage.sign(), got.base.sign())


@quick
@given(recipe=recipes(), config=configs())
def test_tokens_without_hindsight_keep_their_advantage(recipe: Recipe, config: CreditConfig) -> None:
    batch = recipe.batch()
    got = credit(batch, grpo(batch), config, step=0)
    assert torch.equal(got.weight[~batch.hinted], torch.ones_like(got.weight[~batch.hinted]))
    if config.level == "span":
        assert bool((got.weight[~batch.action_span] == 1).all())


@quick
@given(recipe=recipes(), lam=st.floats(0, 1))
def test_turn_token_shares_exactly_what_the_turn_got(recipe: Recipe, lam: float) -> None:
    batch = recipe.batch()
    base = grpo(batch)
    shared = credit(batch, base, CreditConfig.model_validate({"level": "turn_token", "lam": lam}), step=0)
    whole = credit(batch, base, CreditConfig.model_validate({"level": "turn", "lam": lam}), step=0)
    assert torch.allclose(shared.turn_credit, whole.turn_credit, rtol=1e-9, atol=1e-12)


@quick
@given(recipe=recipes(), config=configs())
def test_more_hindsight_for_a_token_never_takes_credit_away_when_won(recipe: Recipe, config: CreditConfig) -> None:
    """Raising every Δ raises m where A > 0 and lowers it where A < 0, at every level but the sharing one."""
    if config.level == "turn_token":
        return
    batch = recipe.batch()
    higher = recipe.batch()
    raised = torch.where(higher.hinted, higher.teacher_logp + 0.05, higher.teacher_logp)
    higher = TokenBatch(
        **{name: getattr(higher, name) for name in TokenBatch.__slots__ if name != "teacher_logp"},
        teacher_logp=raised,
    )
    before = credit(batch, grpo(batch), config, step=0)
    after = credit(higher, grpo(batch), config, step=0)
    assert bool(((after.weight - before.weight) * before.base.sign() >= -1e-9).all())


@quick
@given(recipe=recipes(), data=st.data(), name=st.sampled_from(sorted({*PRESETS} - {"control_shuffled"})))
def test_order_of_trajectories_does_not_matter(recipe: Recipe, data: st.DataObject, name: str) -> None:
    """Except to the control that deals the evidence of all turns anew, which is dealt in their order."""
    config: AlgorithmConfig = PRESETS[name]
    same_in_any_order(recipe, data, lambda batch: assign(batch, config, step=3).advantage)


@quick
@given(recipe=recipes(), data=st.data(), how=st.sampled_from(AGGREGATIONS))
def test_token_weights_do_not_depend_on_order_and_sum_to_one(recipe: Recipe, data: st.DataObject, how: str) -> None:
    same_in_any_order(recipe, data, lambda batch: token_weights(batch, how))  # type: ignore[arg-type]
    if how != "constant":
        assert token_weights(recipe.batch(), how).sum().item() == pytest.approx(1.0)  # type: ignore[arg-type]


@quick
@given(recipe=recipes(), method=st.sampled_from(METHODS))
def test_base_advantages_are_finite_and_constant_groups_give_zero(recipe: Recipe, method: str) -> None:
    batch = recipe.batch()
    got = base_advantage(batch, AdvantageConfig.model_validate({"method": method}))
    assert bool(torch.isfinite(got).all())
    if method in ("grpo", "dr_grpo", "rloo", "legacy_grpo"):
        for number, group in enumerate(recipe.group):
            siblings = [r for r, other in zip(recipe.returns, recipe.group, strict=True) if other == group]
            if len(set(siblings)) == 1:
                assert bool((got[batch.trajectory == number] == 0).all())


@quick
@given(recipe=recipes(), method=st.sampled_from(["grpo", "dr_grpo", "rloo"]))
def test_advantages_of_a_group_sum_to_zero(recipe: Recipe, method: str) -> None:
    batch = recipe.batch()
    turns = base_advantage(batch, AdvantageConfig.model_validate({"method": method}))
    first = turns[batch.position == 0]
    for group in set(recipe.group):
        assert first[batch.group == group].sum().item() == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(
    recipe=recipes(),
    config=configs(lam=0.5),
    applies_to=st.sampled_from(["both", "positive", "negative", "success"]),
    normalize=st.sampled_from(["none", "turn", "trajectory"]),
    method=st.sampled_from(["grpo", "gigpo"]),
)
def test_hindsight_of_turns_that_do_not_matter_need_not_be_read(
    recipe: Recipe, config: CreditConfig, applies_to: str, normalize: str, method: str
) -> None:
    batch = recipe.batch()
    if config.level in {"none": LEVELS, "turn": ("token",), "trajectory": LEVELS[:-1]}[normalize]:  # others are refused
        config = CreditConfig.model_validate({**config.model_dump(), "normalize": normalize})
    config = config.model_copy(update={"applies_to": applies_to})
    base = base_advantage(batch, AdvantageConfig(method=method))  # type: ignore[arg-type]
    read = batch.hinted & turns_that_matter(batch, base, config)[batch.turn]
    less = replace(batch, hinted=read, teacher_logp=torch.where(read, batch.teacher_logp, batch.student_logp))
    want, found = (credit(b, base, config, step=0).advantage for b in (batch, less))
    torch.testing.assert_close(found, want, atol=1e-6, rtol=0)
