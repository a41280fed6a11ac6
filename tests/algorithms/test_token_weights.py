"""Token weights: two episodes, turns of 1 and 3 tokens, and one turn of 2."""

from __future__ import annotations

import pytest
import torch

from rlsd.algorithms import AGGREGATIONS, AlgorithmError, token_weights
from rlsd.algorithms.testing import toy_batch

BATCH = toy_batch([[[0.0], [0.0] * 3], [[0.0] * 2]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("trajectory", [1 / 8] * 4 + [1 / 4] * 2),
        ("turn", [1 / 3] + [1 / 9] * 3 + [1 / 6] * 2),
        ("token", [1 / 6] * 6),
        ("constant", [1 / 20] * 6),
    ],
)
def test_weights(how: str, expected: list[float]) -> None:
    got = token_weights(BATCH, how, constant_tokens=10)  # type: ignore[arg-type]
    assert got.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("trajectory", [0, 1 / 3, 1 / 3, 1 / 3, 0, 0]),
        ("turn", [0, 1 / 3, 1 / 3, 1 / 3, 0, 0]),
        ("token", [0, 1 / 3, 1 / 3, 1 / 3, 0, 0]),
        ("constant", [0, 0.1, 0.1, 0.1, 0, 0]),
    ],
)
def test_what_has_no_active_token_does_not_count(how: str, expected: list[float]) -> None:
    active = torch.tensor([False, True, True, True, False, False])
    got = token_weights(BATCH, how, active, constant_tokens=10)  # type: ignore[arg-type]
    assert got.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_micro_batches_add_up_in_any_split(how: str) -> None:
    """The loss is a plain sum over tokens, so any partition of them gives the same number."""
    loss = torch.arange(6, dtype=torch.float64)
    weighted = token_weights(BATCH, how) * loss  # type: ignore[arg-type]
    parts = [weighted[:1].sum(), weighted[1:4].sum(), weighted[4:].sum()]
    assert sum(parts).item() == pytest.approx(weighted.sum().item(), abs=1e-12)


def test_no_active_token_is_no_loss() -> None:
    for how in AGGREGATIONS:
        nothing = token_weights(BATCH, how, torch.zeros(6, dtype=torch.bool))  # type: ignore[arg-type]
        assert nothing.tolist() == [0.0] * 6


def test_unknown_name() -> None:
    with pytest.raises(AlgorithmError, match=r"unknown aggregation 'trajectry'\. Did you mean 'trajectory'"):
        token_weights(BATCH, "trajectry")  # type: ignore[arg-type]
