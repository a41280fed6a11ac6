"""Whether a model reads its hindsight, as the first iterations of a run show it, without a pass of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from rlsd.algorithms import TokenBatch
from rlsd.harness.evals.stats import auc

LEAST_TRUE = 0.65
"""AUC of true hindsight below this means Δ is noise."""
ENOUGH = 100
"""Actions of each kind, those that reduced the distance to the goal and the others, before anything is said."""
LOOKED_AT = 10
"""Iterations after which nothing more is said."""


class Reading:
    """Pools the turns of the first iterations until there are enough for a verdict.

    Args:
        warn: gets one line, at most once, where hindsight is not read; None in the control with another task's.
    """

    def __init__(self, warn: Callable[[str], None] | None) -> None:
        self._warn = warn
        self._nearer: list[float] = []
        self._rest: list[float] = []
        self._iterations = 0

    def add(self, batch: TokenBatch) -> float | None:
        """The AUC of Δ of an iteration; None where it has no turns of both kinds."""
        nearer, rest = turn_gaps(batch)
        if self._warn is not None:
            self._pool(nearer, rest, self._warn)
        value = auc(nearer, rest)
        return None if math.isnan(value) else value

    def _pool(self, nearer: list[float], rest: list[float], warn: Callable[[str], None]) -> None:
        self._nearer += nearer
        self._rest += rest
        self._iterations += 1
        enough = min(len(self._nearer), len(self._rest)) >= ENOUGH
        if enough or self._iterations == LOOKED_AT:
            self._warn = None
        value = auc(self._nearer, self._rest)
        if not enough or value >= LEAST_TRUE:
            return
        warn(
            f"this model does not read its hindsight: AUC of Δ is {value:.2f} over the first {self._iterations} "
            f"iterations ({len(self._nearer)} actions towards the goal, {len(self._rest)} others), below {LEAST_TRUE}, "
            "so what hindsight says of a step is noise. `rlsd diagnose` measures it with a control, `rlsd warm-start` "
            "makes a model that reads it, `--set algorithm=grpo` trains without"
        )


def turn_gaps(batch: TokenBatch) -> tuple[list[float], list[float]]:
    """Δ of turns with hindsight, a mean over their action's tokens, in nats: of turns that reduced the distance to the
    goal, and of the others; turns without a known distance are left out."""
    before, after = batch.distance_before, batch.distance_after
    if before is None or after is None:
        return [], []
    use = batch.action_span & batch.hinted
    turns = len(batch.trajectory)
    sums = torch.zeros(turns, dtype=batch.gap.dtype).index_add_(0, batch.turn[use], batch.gap[use])
    counts = torch.zeros(turns).index_add_(0, batch.turn[use], torch.ones(int(use.sum())))
    known = (counts > 0) & ~before.isnan() & ~after.isnan()
    gaps, fell = sums / counts, after < before
    return gaps[known & fell].tolist(), gaps[known & ~fell].tolist()
