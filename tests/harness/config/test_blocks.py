"""The blocks of a config: what follows from their numbers."""

from __future__ import annotations

import pytest

from rlsd.harness.config import LrConfig


def rates(updates: list[int], **settings: float | str) -> list[float]:
    config = LrConfig.model_validate({"peak": 8.0, **settings})
    return [config.at(update) for update in updates]


def test_the_learning_rate_is_constant_unless_told_otherwise() -> None:
    assert rates([0, 1, 10**6]) == [8.0, 8.0, 8.0]
    assert rates([0, 5, 10], total_updates=10) == [8.0, 8.0, 8.0]
    with pytest.raises(ValueError, match=r"learner\.lr\.total_updates=1000"):
        rates([0], schedule="cosine", final=2.0)


def test_warm_up_begins_above_zero_and_reaches_the_rate_with_its_last_update() -> None:
    assert rates([0, 1, 2, 3, 4, 5], warmup_updates=4) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]


def test_the_cosine_runs_from_the_end_of_warm_up_to_the_last_update_and_stays_there() -> None:
    """Half-way the mean of both rates; a third of the way cos(60°) = 1/2, so 2 + 6 · 3/4."""
    found = rates([1, 2, 4, 5, 8, 9, 100], warmup_updates=2, schedule="cosine", final=2.0, total_updates=8)
    assert found == pytest.approx([8.0, 8.0, 6.5, 5.0, 2.0, 2.0, 2.0])


def test_a_cosine_no_longer_than_its_warm_up_ends_one_update_later() -> None:
    settings = {"warmup_updates": 3, "schedule": "cosine", "final": 2.0, "total_updates": 3}
    assert rates([2, 3, 4, 5], **settings) == pytest.approx([8.0, 8.0, 2.0, 2.0])  # type: ignore[arg-type]
