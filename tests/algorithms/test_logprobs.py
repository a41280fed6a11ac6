"""Chunked log-probs equal the naive ones, in value, gradient and entropy, without the (m, V) table."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlsd.algorithms import AlgorithmError, chunked_logprobs

ROWS, WIDTH, VOCABULARY = 13, 5, 17


def case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, torch.nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    head = torch.nn.Linear(WIDTH, VOCABULARY).to(dtype)
    return hidden, head, torch.randint(VOCABULARY, (ROWS,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 4, 256])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_equal_to_naive(chunk: int, temperature: float) -> None:
    hidden, head, targets = case()
    table = (head(hidden) / temperature).log_softmax(-1)
    wanted = table[torch.arange(ROWS), targets]
    wanted_entropy = -(table.exp() * table).sum(-1)
    got, entropy = chunked_logprobs(hidden, head, targets, temperature=temperature, chunk=chunk, entropy=True)
    assert entropy is not None
    assert torch.allclose(got, wanted, atol=1e-12)
    assert torch.allclose(entropy, wanted_entropy, atol=1e-12)
    leaves = [hidden, head.weight, head.bias]
    naive = torch.autograd.grad((wanted * 2 + wanted_entropy).sum(), leaves)
    chunked = torch.autograd.grad((got * 2 + entropy).sum(), leaves)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(naive, chunked, strict=True))


def test_same_without_gradient_and_no_entropy_unless_asked() -> None:
    hidden, head, targets = case()
    with_graph, entropy = chunked_logprobs(hidden, head, targets, chunk=4)
    with torch.no_grad():
        without, _ = chunked_logprobs(hidden, head, targets, chunk=4)
    assert entropy is None
    assert not without.requires_grad
    assert torch.equal(with_graph, without)


@pytest.mark.parametrize("chunk", [4, 256])
def test_detached_entropies_have_the_same_values_and_no_part_in_the_gradient(chunk: int) -> None:
    hidden, head, targets = case()
    plain, _ = chunked_logprobs(hidden, head, targets, chunk=chunk)
    _, wanted = chunked_logprobs(hidden, head, targets, chunk=chunk, entropy=True)
    got, entropy = chunked_logprobs(hidden, head, targets, chunk=chunk, entropy="detached")
    assert entropy is not None
    assert wanted is not None
    assert not entropy.requires_grad
    assert torch.equal(got, plain)
    assert torch.equal(entropy, wanted.detach())
    leaves = [hidden, head.weight, head.bias]
    for mine, other in zip(torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(plain.sum(), leaves)):
        assert torch.equal(mine, other)
    assert len(entropy) == ROWS  # backward made none


def test_softmax_runs_in_float32_at_least() -> None:
    hidden, head, targets = case(torch.bfloat16)
    got, _ = chunked_logprobs(hidden, head, targets)
    wanted = head(hidden).float().log_softmax(-1)[torch.arange(ROWS), targets]
    assert got.dtype == torch.float32
    assert torch.allclose(got, wanted, atol=1e-6)


def test_masked_vocabulary() -> None:
    """Two open tokens of four: log-prob −ln 2, entropy ln 2, finite gradient."""
    logits = torch.tensor([[0.0, 0.0, -math.inf, -math.inf]], requires_grad=True)
    got, entropy = chunked_logprobs(logits, torch.nn.Identity(), torch.tensor([0]), entropy=True)
    assert entropy is not None
    assert (got.item(), entropy.item()) == pytest.approx((-math.log(2), math.log(2)))
    (gradient,) = torch.autograd.grad((got + entropy).sum(), logits)
    assert torch.isfinite(gradient).all()


def test_no_rows() -> None:
    got, entropy = chunked_logprobs(
        torch.zeros(0, 3), torch.nn.Linear(3, 4), torch.zeros(0, dtype=torch.int64), entropy=True
    )
    assert entropy is not None
    assert got.shape == entropy.shape == (0,)


def test_only_one_chunk_of_logits_lives_at_a_time() -> None:
    """Tensors autograd keeps between forward and backward: none has a row of the vocabulary."""
    hidden, head, targets = case()
    kept: list[tuple[int, ...]] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        chunked_logprobs(hidden, head, targets, chunk=4)
    assert not [shape for shape in kept if VOCABULARY in shape and WIDTH not in shape]


def test_refusals() -> None:
    hidden, head, targets = case()
    with pytest.raises(AlgorithmError, match=r"targets \(m,\), given \(13, 5\) and \(12,\)"):
        chunked_logprobs(hidden, head, targets[:-1])
    with pytest.raises(AlgorithmError, match="temperature: expected more than 0, given 0"):
        chunked_logprobs(hidden, head, targets, temperature=0.0)
    with pytest.raises(AlgorithmError, match="chunk: expected at least 1 row, given 0"):
        chunked_logprobs(hidden, head, targets, chunk=0)
