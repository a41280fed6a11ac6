from __future__ import annotations

import pytest

from rlsd.algorithms import CreditConfig, Schedule, constant, linear


def test_rlsd_decays_in_fifty_iterations() -> None:
    schedule = linear(0.5, 0.0, 50)
    assert [schedule.value(u) for u in (0, 25, 49, 50, 1000)] == pytest.approx([0.5, 0.25, 0.01, 0.0, 0.0])


def test_warm_up_hold_decay() -> None:
    schedule = Schedule(start=1.0, end=0.2, warmup_iterations=4, hold_iterations=2, decay_iterations=4)
    values = [schedule.value(u) for u in range(12)]
    assert values == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_without_decay_the_start_stays() -> None:
    assert constant(0.3).value(10**6) == 0.3
    assert Schedule(start=0.3, warmup_iterations=2, hold_iterations=5).value(100) == 0.3


def test_a_number_is_a_constant() -> None:
    assert CreditConfig.model_validate({"lam": 0.3}).lam == constant(0.3)
    assert CreditConfig.model_validate({"lam": 0}).lam == constant(0.0)
    with pytest.raises(ValueError, match=r"lam is a share: expected at most 1, given 1\.5"):
        CreditConfig.model_validate({"lam": 1.5})
