"""Full-vocabulary divergences of T = [.7, .2, .1] and S = [.5, .3, .2], and their chunked form."""

from __future__ import annotations

import math

import pytest
import torch

from rlsd.algorithms import AlgorithmError, chunked_divergence, divergence, resolve

TEACHER = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
STUDENT = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("kind", "clip", "expected"),
    [
        ("forward_kl", None, 0.08512),
        ("forward_kl", 0.05, -0.10041),
        ("reverse_kl", None, 0.09203),
        ("reverse_kl", 0.05, -0.06824),
        ("jsd", None, 0.02190),
        ("jsd", 0.05, 0.02190),
    ],
)
def test_reference_numbers(kind: str, clip: float | None, expected: float) -> None:
    got = divergence(STUDENT, TEACHER, kind, element_clip=clip)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(expected, abs=6e-6)


REVERSAL = [[2.0, 1.0, 0.0, -1.0]], [[-1.0, 1.0, 2.0, 0.0]]
"""Logits of teacher and student."""


@pytest.mark.parametrize(
    ("clips", "value", "gradient"),
    [
        ({}, 1.7254, -0.6119),
        ({"element_clip": 0.05}, -0.1563, 0.0114),
        ({"divergence_clip": 2.0}, 1.7254, -0.6119),
        ({"divergence_clip": 0.05}, 0.05, 0.0),
    ],
)
def test_an_element_clip_can_turn_a_gradient_round_and_a_clip_on_the_whole_cannot(
    clips: dict[str, float], value: float, gradient: float
) -> None:
    """The exact gradient raises logit 0, which the teacher prefers; under the element clip descent lowers it
    (arXiv 2609.38995)."""
    teacher, student = (torch.tensor(logits, dtype=torch.float64) for logits in REVERSAL)
    student.requires_grad_()
    got = divergence(student, teacher, "forward_kl", **clips)
    (slope,) = torch.autograd.grad(got.sum(), student)
    assert got.item() == pytest.approx(value, abs=5e-5)
    assert slope[0, 0].item() == pytest.approx(gradient, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "kind"), [("opsd", "forward_kl"), ("opsd_reverse", "reverse_kl"), ("opsd_jsd", "jsd")]
)
def test_presets_of_opsd(name: str, kind: str) -> None:
    config = resolve(name)
    assert (config.loss.distill.kind, config.loss.distill.element_clip) == (kind, 0.05)
    assert (config.loss.policy_coef, config.teacher.weights) == (0.0, "initial")


def test_jsd_mixture_follows_beta() -> None:
    """β = .25 by hand: M = [.55, .275, .175]."""
    t, s = [0.7, 0.2, 0.1], [0.5, 0.3, 0.2]
    m = [0.25 * a + 0.75 * b for a, b in zip(t, s, strict=True)]
    wanted = sum(0.25 * a * math.log(a / c) + 0.75 * b * math.log(b / c) for a, b, c in zip(t, s, m, strict=True))
    assert divergence(STUDENT, TEACHER, "jsd", beta=0.25).item() == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_masked_vocabulary_gives_zero_and_a_finite_gradient(kind: str) -> None:
    hole = torch.full((1, 1), -math.inf, dtype=torch.float64)
    student = torch.cat([STUDENT, hole], 1).requires_grad_()
    got = divergence(student, torch.cat([TEACHER, hole], 1), kind)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(divergence(STUDENT, TEACHER, kind).item())  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(got.sum(), student)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_chunks_change_neither_value_nor_gradient(kind: str, chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(4, 11, bias=False).double()
    hidden = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    seen = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    free = divergence(head(hidden) / 0.7, head(seen) / 0.7, kind, element_clip=0.05)  # type: ignore[arg-type]
    clips = {"element_clip": 0.05, "divergence_clip": free.mean().item()}  # some are clipped, some are not
    naive = divergence(head(hidden) / 0.7, head(seen) / 0.7, kind, **clips)  # type: ignore[arg-type]
    got = chunked_divergence(
        hidden,
        seen,
        head,
        head,
        temperature=0.7,
        chunk=chunk,
        kind=kind,  # type: ignore[arg-type]
        **clips,
    )
    assert torch.allclose(got, naive, atol=1e-12)
    wanted = torch.autograd.grad(naive.sum(), [hidden])
    found = torch.autograd.grad(got.sum(), [hidden, head.weight, seen], allow_unused=True)
    assert torch.allclose(found[0], wanted[0], atol=1e-12)
    assert found[1] is not None
    assert found[2] is None


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_teacher_is_detached(kind: str) -> None:
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    divergence(student, teacher, kind).sum().backward()  # type: ignore[arg-type]
    assert student.grad is not None
    assert teacher.grad is None


def test_teacher_head_gets_no_gradient() -> None:
    student_head, teacher_head = torch.nn.Linear(4, 5), torch.nn.Linear(6, 5)
    chunked_divergence(torch.randn(3, 4), torch.randn(3, 6), student_head, teacher_head, chunk=2).sum().backward()
    assert student_head.weight.grad is not None
    assert teacher_head.weight.grad is None


def test_nothing_in_nothing_out() -> None:
    head = torch.nn.Linear(4, 5)
    assert chunked_divergence(torch.zeros(0, 4), torch.zeros(0, 4), head, head).shape == (0,)


def test_refusals_name_what_was_given() -> None:
    with pytest.raises(AlgorithmError, match=r"unknown divergence 'reverse_lk'\. Did you mean 'reverse_kl'"):
        divergence(STUDENT, TEACHER, "reverse_lk")  # type: ignore[arg-type]
    with pytest.raises(AlgorithmError, match=r"beta between 0 and 1, given 1\.0"):
        divergence(STUDENT, TEACHER, "jsd", beta=1.0)
    with pytest.raises(AlgorithmError, match=r"student_logits \(1, 3\), teacher_logits \(1, 2\)"):
        divergence(STUDENT, TEACHER[:, :2])
    with pytest.raises(AlgorithmError, match="same tokens, given 2 of the student and 3"):
        chunked_divergence(torch.zeros(2, 4), torch.zeros(3, 4), torch.nn.Identity(), torch.nn.Identity())
