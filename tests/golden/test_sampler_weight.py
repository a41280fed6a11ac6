"""Truncated and masked importance weights against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlsd.algorithms import LossConfig, TokenBatch, masked, sampler_ratio, sampler_weights, truncated
from rlsd.algorithms.testing import toy_batch

RATIOS = [[[4.0, 1.0], [0.25]], [[8.0, 0.5, 0.25]]]
"""π_old / π_sampler of two trajectories: turns of 2 and 1 tokens, and one turn of 3."""


def batch() -> TokenBatch:
    plain = toy_batch([[[0.0] * len(turn) for turn in trajectory] for trajectory in RATIOS])
    ratio = torch.tensor([r for trajectory in RATIOS for turn in trajectory for r in turn], dtype=torch.float64)
    return replace(plain, sampler_logp=plain.student_logp - ratio.log())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tis_cap": 2.0}, [2.0, 1.0, 0.25, 2.0, 0.5, 0.25]),
        ({"tis_cap": 100.0}, [4.0, 1.0, 0.25, 8.0, 0.5, 0.25]),
        ({"tis_cap": 5.0, "tis": "mask"}, [4.0, 1.0, 0.0, 0.0, 0.5, 0.0]),
        ({"tis_cap": 5.0, "tis": "mask", "tis_floor": 0.0}, [4.0, 1.0, 0.25, 0.0, 0.5, 0.25]),
        # geometric means: turns (4 · 1)^½ = 2, ¼, (8 · ½ · ¼)^⅓ = 1; trajectories (4 · 1 · ¼)^⅓ = 1, 1
        ({"tis_cap": 1.5, "tis_level": "turn"}, [1.5, 1.5, 0.25, 1.0, 1.0, 1.0]),
        ({"tis_cap": 1.5, "tis": "mask", "tis_level": "turn"}, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        ({"tis_cap": 2.0, "tis_level": "trajectory"}, [1.0] * 6),
        ({"tis_cap": 0.9, "tis": "mask", "tis_level": "trajectory"}, [0.0] * 6),
    ],
)
def test_weights_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    weights = sampler_weights(batch(), LossConfig.model_validate(settings))
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected, abs=1e-12)


def test_without_a_cap_nothing_is_corrected() -> None:
    assert sampler_weights(batch(), LossConfig()) is None


def test_bounds_belong_to_what_is_kept() -> None:
    ratio = torch.tensor([0.5, 5.0, 0.49, 5.01])
    assert masked(ratio, 0.5, 5.0).tolist() == [0.5, 5.0, 0.0, 0.0]
    assert truncated(ratio, 0.5).tolist() == pytest.approx([0.5, 0.5, 0.49, 0.5])


def test_a_ratio_has_no_gradient_and_stays_finite() -> None:
    old = torch.tensor([-1.0, -100.0, -1.0], requires_grad=True)
    ratio = sampler_ratio(old, torch.tensor([-1.0, -1.0, -100.0]))
    assert not ratio.requires_grad
    assert ratio.tolist() == pytest.approx([1.0, math.exp(-20), math.exp(20)])


def test_a_mask_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"keeps ratios from tis_floor 0\.5 to tis_cap 0\.5: none"):
        LossConfig(tis="mask", tis_cap=0.5)
