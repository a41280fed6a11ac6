"""Token losses and distillation terms, by hand and by gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from rlsd.algorithms import (
    AlgorithmError,
    DistillConfig,
    LossConfig,
    LossInputs,
    clipped_share,
    constant,
    kl_k3,
    policy_loss,
    resolve,
    token_loss,
)
from rlsd.algorithms.loss import importance_ratio


def tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def run(config: LossConfig, ratios: Sequence[float], advantage: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the losses and their gradients in log π_new, with π_old = .1 everywhere and one turn."""
    old = torch.full((len(ratios),), 0.1, dtype=torch.float64).log()
    new = (old + tensor(ratios).log()).requires_grad_()
    loss = policy_loss(new, old, tensor(advantage), config, segment=torch.zeros(len(ratios), dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss.sum(), new)
    return loss.tolist(), gradient.tolist()


def test_ppo_takes_the_worse_of_plain_and_clipped() -> None:
    loss, gradient = run(LossConfig(clip_low=0.2, clip_high=0.28), [1.5, 1.1, 0.5, 0.5, 1.5], [1, 1, 1, -1, -1])
    assert loss == pytest.approx([-1.28, -1.1, -0.5, 0.8, 1.5])
    assert gradient == pytest.approx([0, -1.1, -0.5, 0, 1.5])


def test_clipped_share_is_where_ppo_has_no_gradient() -> None:
    ratios, advantage = [1.5, 1.1, 0.5, 0.5, 1.5, 1.5], [1, 1, 1, -1, -1, 0]
    old = torch.zeros(6, dtype=torch.float64)
    got = clipped_share(tensor(ratios).log(), old, tensor(advantage), LossConfig())
    assert got.tolist() == [True, False, False, True, False, False]


def test_a_ratio_at_the_clip_itself_is_not_clipped() -> None:
    config = LossConfig(clip_low=0.5, clip_high=0.5)
    got = clipped_share(tensor([1.5, 0.5]).log(), tensor([0.0, 0.0]), tensor([1, -1]), config)
    assert tensor([1.5, 0.5]).log().exp().tolist() == [1.5, 0.5], "exactly at the clip"
    assert got.tolist() == [False, False]


def test_log_ratios_are_limited_to_twenty_nats() -> None:
    got = importance_ratio(tensor([30.0, 20.5, 19.5, -30.0]), tensor([0.0] * 4))
    assert got.log().tolist() == pytest.approx([20.0, 20.0, 19.5, -20.0])


def test_dual_clip_bounds_what_a_runaway_ratio_costs() -> None:
    loss, gradient = run(LossConfig(dual_clip=3.0), [10.0, 2.0, 10.0], [-1, -1, 1])
    assert loss == pytest.approx([3.0, 2.0, -1.2])
    assert gradient == pytest.approx([0.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("name", "loss", "gradient"), [("rlsd", 3.0, 0.0), ("rlsd_token", 3.0, 0.0), ("rloo", 20.0855, 20.0855)]
)
def test_dual_clip_of_the_presets(name: str, loss: float, gradient: float) -> None:
    """Ratio e³, A = −1: at most 3 where the original is built on verl or EasyR1, e³ where it is not."""
    got, slope = run(resolve(name).loss, [math.e**3], [-1])
    assert (got, slope) == (pytest.approx([loss], abs=1e-4), pytest.approx([gradient], abs=1e-4))


def test_the_dual_clip_counts_as_clipped() -> None:
    got = clipped_share(tensor([4.0, 2.0, 4.0]).log(), tensor([0.0] * 3), tensor([-1, -1, 0]), LossConfig(dual_clip=3))
    assert got.tolist() == [True, False, False]


def test_gspo_shares_the_turn_ratio_but_not_the_advantage() -> None:
    """Ratios 2 and .5: their geometric mean is 1, so no clip, and each token's gradient is its own −Â."""
    config = LossConfig(policy="gspo", clip_low=3e-4, clip_high=4e-4)
    loss, gradient = run(config, [2.0, 0.5], [1.0, 0.8])
    assert loss == pytest.approx([-1.0, -0.8])
    assert gradient == pytest.approx([-1.0, -0.8])
    loss, gradient = run(config, [1.1, 1.1], [1.0, -1.0])
    assert loss == pytest.approx([-1.0004, 1.1])
    assert gradient == pytest.approx([0.0, 1.1])


def test_gspo_sequences_are_the_numbered_segments() -> None:
    old, new = torch.zeros(3, dtype=torch.float64), tensor([0.1, 0.3, 0.5])
    config = LossConfig(policy="gspo", clip_low=0.9, clip_high=9.0)
    loss = policy_loss(new, old, tensor([1, 1, 1]), config, segment=torch.tensor([7, 7, 2]))
    assert loss.tolist() == pytest.approx([-math.exp(0.2), -math.exp(0.2), -math.exp(0.5)])


def test_cispo_clips_the_weight_and_keeps_the_gradient() -> None:
    _, gradient = run(LossConfig(policy="cispo", clip_high=0.28), [1.5, 0.5], [1.0, -1.0])
    assert gradient == pytest.approx([-1.28, 0.5])


def test_reinforce_and_sft() -> None:
    assert run(LossConfig(policy="reinforce"), [1.5, 0.5], [2.0, -1.0])[1] == pytest.approx([-2.0, 1.0])
    assert run(resolve("sft").loss, [1.0, 1.0], [0.0, 0.0])[0] == pytest.approx([math.log(10)] * 2)


def test_first_update_has_the_gradient_of_reinforce() -> None:
    for policy in ("ppo", "gspo", "cispo", "reinforce"):
        config = LossConfig.model_validate({"policy": policy})
        assert run(config, [1.0, 1.0], [0.7, -0.3])[1] == pytest.approx([-0.7, 0.3])


def test_absurd_log_ratio_stays_finite() -> None:
    old, new = tensor([-1000.0, 0.0]), tensor([0.0, -1000.0]).requires_grad_()
    loss = policy_loss(new, old, tensor([-1.0, -1.0]), LossConfig())
    assert torch.isfinite(loss).all()


def test_k3() -> None:
    """Reference values at a log-ratio of ± .2, 0 at equality."""
    got = kl_k3(tensor([0.2, -0.2, 0.0]), torch.zeros(3, dtype=torch.float64))
    assert got.tolist() == pytest.approx([0.018731, 0.021403, 0.0], abs=1e-6)


@pytest.mark.parametrize(("clamp", "value", "gradient"), [({}, 10.0, 0.0), ({"kl_clamp": None}, 396.4288, -402.4288)])
def test_the_reference_kl_of_one_token_is_clamped(clamp: dict[str, None], value: float, gradient: float) -> None:
    """log π_ref − log π = 6: e⁶ − 7 = 396.4, its slope 1 − e⁶; verl and EasyR1 stop at 10."""
    new = tensor([-7.0, -1.0]).requires_grad_()
    config = LossConfig.model_validate({"kl_coef": 1.0, "policy_coef": 0.0, **clamp})
    terms = token_loss(inputs(new_logp=new, reference_logp=tensor([-1.0, -1.2])), config, step=0)
    (slope,) = torch.autograd.grad(terms.total.sum(), new)
    assert terms.total.tolist() == pytest.approx([value, 0.018731], abs=1e-4)
    assert slope.tolist() == pytest.approx([gradient, 0.181269], abs=1e-4)


def inputs(**given: Tensor) -> LossInputs:
    base = {
        "new_logp": tensor([-1.0, -2.0]),
        "old_logp": tensor([-1.0, -2.0]),
        "advantage": tensor([1.0, -1.0]),
        "turn": torch.tensor([0, 1]),
    }
    return LossInputs(**(base | given))


def test_sdar_pushes_up_by_a_gate() -> None:
    """σ(5 Δ) at Δ = .1 and −.1 is .6225 and .3775; η = .01."""
    new = tensor([-1.0, -2.0]).requires_grad_()
    terms = token_loss(inputs(new_logp=new, teacher_logp=tensor([-0.9, -2.1])), resolve("sdar").loss, step=0)
    assert terms.distill.tolist() == pytest.approx([0.06225, -0.03775], abs=1e-5)
    (gradient,) = torch.autograd.grad(terms.distill.sum(), new, retain_graph=True)
    assert gradient.tolist() == pytest.approx([-0.622459, -0.377541], abs=1e-6)
    assert terms.total.tolist() == pytest.approx([-1 + 0.0006225, 1 - 0.0003775], abs=1e-6)


def test_sampled_distillation_is_a_policy_gradient_on_the_gap() -> None:
    new = tensor([-1.0, -2.0]).requires_grad_()
    config = LossConfig(policy_coef=0.0, distill=DistillConfig(kind="sampled"))
    terms = token_loss(inputs(new_logp=new, teacher_logp=tensor([-0.7, -2.1])), config, step=0)
    (gradient,) = torch.autograd.grad(terms.total.sum(), new)
    assert gradient.tolist() == pytest.approx([-0.3, 0.1])


def test_all_terms_add_up_and_unhinted_tokens_are_not_distilled() -> None:
    config = LossConfig(policy_coef=2.0, kl_coef=0.5, distill=DistillConfig(kind="forward_kl", coef=constant(3.0)))
    terms = token_loss(
        inputs(
            reference_logp=tensor([-1.2, -2.0]),
            divergence=tensor([0.4, 0.4]),
            hinted=torch.tensor([True, False]),
        ),
        config,
        step=0,
    )
    assert terms.policy.tolist() == pytest.approx([-1.0, 1.0])
    assert terms.kl.tolist() == pytest.approx([0.018731, 0.0], abs=1e-6)
    assert terms.distill.tolist() == pytest.approx([0.4, 0.0])
    assert terms.total.tolist() == pytest.approx([-2 + 0.5 * 0.0187308 + 1.2, 2.0], abs=1e-6)


def test_a_coefficient_of_zero_reads_nothing() -> None:
    config = LossConfig(distill=DistillConfig(kind="gate", coef=constant(0.0)))
    assert token_loss(inputs(), config, step=0).distill.tolist() == [0.0, 0.0]


def test_sampler_cap_multiplies_the_policy_loss() -> None:
    terms = token_loss(inputs(sampler_weight=tensor([2.0, 1.0])), LossConfig(tis_cap=2.0), step=0)
    assert terms.total.tolist() == pytest.approx([-2.0, 1.0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LossConfig(kl_coef=0.1), "reference_logp: expected a tensor .* kl_coef > 0"),
        (LossConfig(tis_cap=2.0), "sampler_weight: expected"),
        (LossConfig(distill=DistillConfig(kind="jsd")), "divergence: expected .* 'jsd', given None"),
        (LossConfig(distill=DistillConfig(kind="gate")), "teacher_logp: expected .* 'gate', given None"),
    ],
)
def test_missing_tensors_are_named(config: LossConfig, message: str) -> None:
    with pytest.raises(AlgorithmError, match=message):
        token_loss(inputs(), config, step=0)


def test_shapes_must_agree() -> None:
    with pytest.raises(AlgorithmError, match=r"new_logp \(2,\), old_logp \(2, 1\)"):
        policy_loss(torch.zeros(2), torch.zeros(2, 1), torch.zeros(2), LossConfig())
    with pytest.raises(AlgorithmError, match="segment: expected a tensor"):
        policy_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2), LossConfig(policy="gspo"))


def test_only_new_logp_carries_gradient() -> None:
    leaves = {
        name: tensor([-1.0, -2.0]).requires_grad_()
        for name in ("new_logp", "old_logp", "advantage", "sampler_weight", "reference_logp", "teacher_logp")
    }
    config = LossConfig(tis_cap=2.0, kl_coef=0.1, distill=DistillConfig(kind="gate"))
    total = token_loss(inputs(**leaves), config, step=0).total.sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    assert [gradient is not None for gradient in gradients] == [True] + [False] * 5
