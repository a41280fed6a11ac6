"""A run says when its model does not read hindsight, from the turns that it trains on anyway."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlsd.algorithms import TokenBatch
from rlsd.algorithms.testing import toy_batch
from rlsd.harness.evals.reading import ENOUGH, LOOKED_AT, Reading, turn_gaps


def batch_of(nearer: list[list[float]], rest: list[list[float]]) -> TokenBatch:
    """One episode: turns with these Δ of their tokens that reduced the distance to the goal, then others."""
    batch = toy_batch([[*nearer, *rest]], returns=[1])
    before = torch.full((len(nearer) + len(rest),), 5.0)
    fell = torch.tensor([1.0] * len(nearer) + [0.0] * len(rest))
    return replace(batch, distance_before=before, distance_after=before - fell)


def test_turns_count_by_the_mean_of_their_action_and_by_the_distance() -> None:
    batch = batch_of([[0.2, 0.6]], [[-0.1], [0.3, 0.5]])
    nearer, rest = turn_gaps(batch)
    assert nearer == pytest.approx([0.4])
    assert rest == pytest.approx([-0.1, 0.4])
    unknown = replace(batch, distance_before=torch.tensor([5.0, float("nan"), 5.0]))
    assert turn_gaps(unknown)[1] == pytest.approx([0.4])
    assert turn_gaps(replace(batch, hinted=torch.zeros_like(batch.hinted))) == ([], [])
    assert turn_gaps(replace(batch, distance_before=None)) == ([], [])


def test_the_area_of_an_iteration() -> None:
    """Of the four pairs of a nearer and another turn, three are in order."""
    assert Reading(None).add(batch_of([[0.5], [0.1]], [[0.3], [-0.2]])) == 0.75
    assert Reading(None).add(batch_of([[0.5]], [])) is None


def test_a_model_that_does_not_read_is_warned_of_once_when_there_are_enough_turns() -> None:
    """Half of the pairs are in order: 0.5."""
    half = batch_of([[0.1], [0.3]] * (ENOUGH // 4), [[0.1], [0.3]] * (ENOUGH // 4))
    warnings: list[str] = []
    reading = Reading(warnings.append)
    assert reading.add(half) == 0.5
    assert not warnings
    assert [reading.add(half) for _ in range(3)] == [0.5] * 3
    (warning,) = warnings
    assert warning.startswith(
        "this model does not read its hindsight: AUC of Δ is 0.50 over the first 2 iterations (100 actions towards the "
        "goal, 100 others), below 0.65, so what hindsight says of a step is noise."
    )
    assert "`rlsd warm-start`" in warning


@pytest.mark.parametrize(("higher", "size"), [(0.9, ENOUGH), (0.1, 1)], ids=["reads", "few"])
def test_there_is_no_warning_without_cause(higher: float, size: int) -> None:
    warnings: list[str] = []
    reading = Reading(warnings.append)
    for _ in range(2 * LOOKED_AT):
        reading.add(batch_of([[higher]] * size, [[0.1]] * size))
    assert not warnings
