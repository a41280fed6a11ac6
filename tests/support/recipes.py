"""Random batches as nested lists, so that a property can rebuild them in another order or with other gaps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from rlsd.algorithms import TokenBatch
from rlsd.algorithms.testing import toy_batch


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A batch as nested lists, so that it can be rebuilt in another order."""

    trajectories: list[list[list[tuple[float, bool, bool]]]]
    """Tokens as (Δ, in the action span, hinted)."""
    returns: list[float]
    group: list[int]
    anchor: list[list[int]]
    unmet: list[list[int]]
    """Goal facts unmet before each turn and after the last; -1 is unknown."""
    features: list[list[list[float]]]
    """Vector of the observation before each turn."""
    values: list[list[float]]
    """A critic's value of each turn."""

    def batch(self, order: list[int] | None = None, scale: float = 1.0) -> TokenBatch:
        order = list(range(len(self.returns))) if order is None else order
        chosen = [self.trajectories[i] for i in order]
        tokens = [token for trajectory in chosen for turn in trajectory for token in turn]
        batch = toy_batch(
            [[[scale * gap for gap, _, _ in turn] for turn in trajectory] for trajectory in chosen],
            returns=[self.returns[i] for i in order],
            group=[self.group[i] for i in order],
            action=[action for _, action, _ in tokens],
            hinted=[hinted for _, _, hinted in tokens],
            anchor=[anchor for i in order for anchor in self.anchor[i]],
        )
        unmet = [[float("nan") if n < 0 else float(n) for n in self.unmet[i]] for i in order]
        return replace(
            with_facts(batch),
            unmet_before=torch.tensor([n for counts in unmet for n in counts[:-1]]),
            unmet_after=torch.tensor([n for counts in unmet for n in counts[1:]]),
            values=torch.tensor([value for i in order for value in self.values[i]]),
            features=torch.tensor([vector for i in order for vector in self.features[i]]),
        )


def with_facts(batch: TokenBatch) -> TokenBatch:
    """The batch with what only some methods read: distances (out of reach, unknown too), entropies, a wrong view. Each
    number follows from its own row, so it moves with it."""
    at = batch.anchor.double()
    return replace(
        batch,
        distance_before=torch.where(at == 2, math.inf, at),
        distance_after=torch.where(batch.position % 3 == 2, math.nan, (at + batch.position) % 3),
        entropy=batch.gap.abs() / 30,
        teacher_entropy=batch.gap.abs() / 40,
        against=(torch.where(batch.gap > 20, math.nan, batch.student_logp - 0.5 * batch.gap),),
    )


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    gap = st.floats(-30, 30, allow_nan=False)
    trajectories, anchors = [], []
    for _ in range(draw(st.integers(1, 5))):
        turns = []
        for _ in range(draw(st.integers(1, 4))):
            hinted = draw(st.booleans())
            turns.append([(draw(gap), draw(st.booleans()), hinted) for _ in range(draw(st.integers(1, 4)))])
        trajectories.append(turns)
        anchors.append([draw(st.integers(0, 2)) for _ in turns])
    count = len(trajectories)
    return Recipe(
        trajectories=trajectories,
        returns=[draw(st.sampled_from([0.0, 0.1, 1.0, 10.0])) for _ in range(count)],
        group=[draw(st.integers(0, 2)) for _ in range(count)],
        anchor=anchors,
        unmet=[[draw(st.integers(-1, 3)) for _ in range(len(turns) + 1)] for turns in trajectories],
        values=[[draw(st.floats(-2, 2)) for _ in turns] for turns in trajectories],
        features=[[[draw(st.floats(0, 1)) for _ in range(2)] for _ in turns] for turns in trajectories],
    )


def per_trajectory(batch: TokenBatch, values: Tensor, order: list[int]) -> list[list[float]]:
    """Return token values by original trajectory number."""
    split: dict[int, list[float]] = {}
    for owner, value in zip(batch.token_trajectory.tolist(), values.tolist(), strict=True):
        split.setdefault(order[owner], []).append(value)
    return [split[i] for i in sorted(split)]


def same_in_any_order(
    recipe: Recipe, data: st.DataObject, values: Callable[[TokenBatch], Tensor], tolerance: float = 1e-6
) -> None:
    straight = list(range(len(recipe.returns)))
    shuffled = data.draw(st.permutations(straight))
    wanted = per_trajectory(recipe.batch(), values(recipe.batch()), straight)
    mixed = recipe.batch(shuffled)
    found = per_trajectory(mixed, values(mixed), shuffled)
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, abs=tolerance)
