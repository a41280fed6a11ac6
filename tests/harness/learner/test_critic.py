"""The value head: what it starts as, what it learns, and that a checkpoint holds all of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlsd.algorithms import CriticConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.learner.critic import Critic

NORMAL = torch.tensor([[3.0, 1.0, -1.0, -3.0], [-3.0, -1.0, 1.0, 3.0], [1.0, 1.0, -1.0, -1.0], [5.0, -5.0, 5.0, -5.0]])
"""Mean 0 each; the head sees them over their deviation."""
RETURNS = torch.tensor([1.0, 0.0, 1.0, 0.5])


def critic(seed: int = 0, **settings: float) -> Critic:
    return Critic(4, CriticConfig.model_validate(settings), seed=seed, ranks=Ranks())


def trained(head: Critic, times: int) -> list[float]:
    return [head.fit(NORMAL, RETURNS) for _ in range(times)]


@pytest.mark.parametrize("width", [0, 3])
def test_values_are_0_before_the_first_step_and_the_loss_is_that_of_these_values(width: int) -> None:
    head = critic(width=width)
    assert head.values(NORMAL).tolist() == [0.0] * 4
    assert head.fit(NORMAL, RETURNS) == pytest.approx((1 + 0 + 1 + 0.25) / 4)


def test_the_first_step_of_adam_by_hand() -> None:
    """Adam's first step is lr · sign of the gradient. Bias: the mean error is below 0, so + lr. The first weight's
    inputs 3/√5, −3/√5, 1, 1 against returns 1, 0, 1, .5 have a negative gradient, the last one's a positive."""
    head = critic(lr=0.125, steps=1)
    head.fit(NORMAL, RETURNS)
    state = head.state()
    assert state["weight/0.bias"].tolist() == pytest.approx([0.125], abs=1e-6)
    weight = state["weight/0.weight"][0]
    assert [float(weight[0]), float(weight[3])] == pytest.approx([0.125, -0.125], abs=1e-5)


@pytest.mark.parametrize("width", [0, 8])
def test_a_head_learns_the_returns(width: int) -> None:
    losses = trained(critic(width=width, lr=0.02, steps=50), 10)
    assert losses[-1] < 1e-3 < losses[0]


def test_the_policys_hidden_states_get_no_gradient_and_their_size_does_not_matter() -> None:
    hidden = NORMAL.clone().requires_grad_()
    head = critic()
    head.fit(hidden, RETURNS)
    assert hidden.grad is None
    torch.testing.assert_close(head.values(100 * NORMAL), head.values(NORMAL), rtol=0, atol=1e-4)


def test_the_seed_decides_the_hidden_layer_and_no_other_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    one, same, other = (critic(seed, width=3).state()["weight/0.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


@pytest.mark.parametrize("width", [0, 3])
def test_a_restored_head_goes_on_bit_for_bit(width: int) -> None:
    whole, first = critic(width=width, steps=3), critic(width=width, steps=3)
    trained(whole, 4)
    trained(first, 2)
    second = critic(9, width=width, steps=3)
    second.load_state(copied(first.state()))
    trained(second, 2)
    assert second.state().keys() == whole.state().keys()
    for name, value in whole.state().items():
        assert torch.equal(second.state()[name], value), name


def test_a_state_without_weights_is_a_missing_key() -> None:
    with pytest.raises(KeyError):
        critic().load_state({})


def test_no_turns_are_no_step() -> None:
    head = critic()
    assert math.isnan(head.fit(torch.zeros(0, 4), torch.zeros(0)))
    assert head.values(NORMAL).tolist() == [0.0] * 4
