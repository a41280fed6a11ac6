"""Gradients without a step: what they equal, and what a sketch keeps of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlsd.harness.config import LearnerConfig
from rlsd.harness.learner.gradients import Gradients, Sketch
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.step import TokenSlice
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import student_rows
from rlsd.harness.scoring.tables import token_count
from tests.support.worlds import Played


@pytest.fixture(scope="module")
def played() -> Played:
    return Played("compact")


def learner_of(played: Played) -> Learner:
    return Learner(
        played.policy,
        LearnerConfig.model_validate({"lr": 1e-3, "micro_batch_tokens": 600, "grad_clip": 1e9}),
        temperature=1.0,
    )


def credits_of(played: Played, count: int) -> Tensor:
    return torch.randn(count, token_count(played.trajectories), generator=torch.Generator().manual_seed(0))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def test_gradients_are_linear_in_the_credit(played: Played) -> None:
    credits, rows = credits_of(played, 3), student_rows(played.trajectories)
    gradients = Gradients(learner_of(played), Sketch(0))
    found = gradients.policy(rows, torch.cat([credits, (credits[0] - 2 * credits[1] + credits[2])[None]]))
    assert found.shape == (4, gradients.size)
    torch.testing.assert_close(found[3], found[0] - 2 * found[1] + found[2], rtol=1e-4, atol=1e-4)
    assert float(found[0].norm()) > 1


def test_the_gradient_is_the_one_an_update_follows(played: Played) -> None:
    learner, credit, rows = learner_of(played), credits_of(played, 1), student_rows(played.trajectories)
    found = Gradients(learner, Sketch(0)).policy(rows, credit)[0]
    before = {name: p.clone() for name, p in learner.weights().items()}

    def loss(part: TokenSlice) -> Tensor:
        return -(credit[0, part.flat] * part.logp).sum()

    learner.update(rows, loss)
    trained = torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None])
    learner.load(before, {}, {})
    torch.testing.assert_close(found, -trained, rtol=1e-4, atol=1e-4)


def test_a_gradient_leaves_the_weights_and_their_grad_alone(played: Played) -> None:
    learner = learner_of(played)
    learner.optimizer.zero_grad(set_to_none=True)
    before = {name: p.clone() for name, p in learner.weights().items()}
    Gradients(learner, Sketch(0)).policy(student_rows(played.trajectories), credits_of(played, 1))
    assert all(torch.equal(p, before[name]) for name, p in learner.weights().items())
    assert all(p.grad is None for p in learner.model.parameters())


def test_the_entropy_gradient_predicts_the_change_of_entropy(played: Played) -> None:
    learner, rows, total = learner_of(played), student_rows(played.trajectories), token_count(played.trajectories)
    weight = torch.full((total,), 1.0 / total)
    gradient = Gradients(learner, Sketch(0)).policy_and_entropy(rows, torch.zeros(1, total), weight)
    assert not gradient[0].any()
    scorer, before = Scorer(learner.tokens, learner.settings, learner.ranks), {}
    before.update({name: p.clone() for name, p in learner.weights().items()})
    step, spread = 1e-3 / float(gradient[1].norm()), []
    for sign in (1.0, -1.0):
        start = 0
        with torch.no_grad():
            for name, p in learner.weights().items():
                p.copy_(before[name] + sign * step * gradient[1][start : start + p.numel()].view_as(p))
                start += p.numel()
        spread.append(float(scorer.logprobs(rows, total).entropy.double().mean()))
    learner.load(before, {}, {})
    assert spread[0] - spread[1] == pytest.approx(2 * step * float(gradient[1].norm()) ** 2, rel=0.02)


def test_a_sketch_keeps_cosines_and_states_its_error(played: Played) -> None:
    credits, rows = credits_of(played, 6), student_rows(played.trajectories)
    credits[1:] += 0.7 * credits[0]
    learner, dims = learner_of(played), 4096
    exact = Gradients(learner, Sketch(0)).policy(rows, credits)
    sketched = Gradients(learner, Sketch(dims, seed=1))
    small = sketched.policy(rows, credits)
    assert small.shape == (6, dims)
    errors = [abs(cosine(exact[0], g) - cosine(small[0], s)) for g, s in zip(exact[1:], small[1:])]
    assert 0 < max(errors) < 4 / math.sqrt(dims)
    assert 0 < sketched.sketch_error(rows, credits) < 4 / math.sqrt(dims)
    assert Gradients(learner, Sketch(0)).sketch_error(rows, credits) == 0


def test_a_sketch_is_linear_and_follows_its_seed() -> None:
    draw = torch.Generator().manual_seed(2)
    a, b = ([torch.randn(7, 5, generator=draw), torch.randn(40, generator=draw)] for _ in range(2))
    sketch = Sketch(16, seed=3)
    torch.testing.assert_close(sketch([x + 2 * y for x, y in zip(a, b)]), sketch(a) + 2 * sketch(b))
    assert torch.equal(Sketch(16, seed=3)(a), sketch(a))
    assert not torch.equal(Sketch(16, seed=4)(a), sketch(a))
    assert torch.equal(Sketch(0)(a), torch.cat([a[0].flatten(), a[1]]))
