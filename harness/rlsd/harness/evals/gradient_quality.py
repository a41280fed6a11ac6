"""How good a small batch's gradient is: its cosine with the gradient that all other batches together suggest.

Every batch is held against a truth that has not seen it. Notation: B batches, D numbers a gradient.

    episodes, times    (c² / (1 − c²)) / (b² / (1 − b²)): how many times the episodes of the base method give it the
                       cosine c instead of its own b, if the base is unbiased and its noise shrinks as 1 / episodes
    projected          cosine after the entropy direction is taken out of both gradients
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlsd.harness.evals.stats import mean_interval

SPLITS = 200
"""Random halves for the reliability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Cosines of one method's gradients, each (B,)."""

    raw: list[float]
    projected: list[float]
    entropy: list[float]
    """With the entropy direction: negative where a step makes the policy more certain."""

    @classmethod
    def of(cls, rows: Sequence[tuple[float, float, float]]) -> Marks:
        """From what `Truth.mark` says of each batch."""
        return cls(raw=[r[0] for r in rows], projected=[r[1] for r in rows], entropy=[r[2] for r in rows])


class Truth:
    """The truth for each batch: the sum of the other batches' gradients.

    Args:
        gradients: (B, D) of the true credit, one batch each.
        entropy: (D,) gradient of the mean entropy of the policy.
    """

    def __init__(self, gradients: Tensor, entropy: Tensor) -> None:
        self.gradients = gradients
        self.whole = gradients.double().sum(dim=0)
        self.entropy = _unit(entropy.double())

    def without(self, batch: int) -> Tensor:
        """(D,) unit vector: the truth that has not seen the batch."""
        return _unit(self.whole - self.gradients[batch].double())

    def mark(self, gradient: Tensor, batch: int) -> tuple[float, float, float]:
        """(cosine, cosine without the entropy direction, cosine with it) of (D,) `gradient`; 0 for a zero gradient."""
        g, truth = _unit(gradient.double()), self.without(batch)
        along, known = float(g @ self.entropy), float(truth @ self.entropy)
        raw = float(g @ truth)
        rest = math.sqrt(max(0.0, 1.0 - along**2) * max(0.0, 1.0 - known**2))
        return raw, (raw - along * known) / rest if rest > 1e-9 else 0.0, along

    def marks(self, gradients: Sequence[Tensor]) -> Marks:
        """Of a method's gradients, one for each batch."""
        return Marks.of([self.mark(g, i) for i, g in enumerate(gradients)])

    def reliability(self, *, seed: int = 0) -> tuple[float, float]:
        """Mean cosine of the sums over two random halves of the batches, and the cosine r of the whole sum with the
        true gradient that follows from it, √(2c / (1 + c)). Cosines with the truth are at most r."""
        rng, count = np.random.default_rng(seed), len(self.gradients)
        inner = (self.gradients.double() @ self.gradients.double().T).numpy()
        found = []
        for _ in range(SPLITS):
            order = rng.permutation(count)
            a, b = np.zeros(count), np.zeros(count)
            a[order[: count // 2]], b[order[count // 2 :]] = 1.0, 1.0
            size = math.sqrt(max(0.0, float(a @ inner @ a)) * max(0.0, float(b @ inner @ b)))
            found.append(float(a @ inner @ b) / size if size else 0.0)
        half = float(np.mean(found))
        return half, math.sqrt(2 * half / (1 + half)) if half > 0 else 0.0


def summary(marks: Marks, base: Marks) -> dict[str, float | list[float] | None]:
    """One row of the table: means over batches with 95 % half-widths, and paired differences with the base method."""
    row: dict[str, float | list[float] | None] = {}
    for name, mine, theirs in (("cos", marks.raw, base.raw), ("projected", marks.projected, base.projected)):
        row[name], row[f"{name}_half"] = mean_interval(mine)
        row[f"{name}_minus_grpo"], row[f"{name}_minus_grpo_half"] = mean_interval(
            [a - b for a, b in zip(mine, theirs, strict=True)]
        )
    row["episodes_times"] = times(float(np.mean(marks.raw)), float(np.mean(base.raw)))
    row["entropy_cos"] = float(np.mean(marks.entropy))
    row["batches"] = marks.raw
    row["batches_projected"] = marks.projected
    return row


def times(cosine: float, base: float) -> float | None:
    """How many times the base method's episodes give it `cosine`; None where either is not above 0 or is 1.

    >>> round(times(0.6, 0.3), 2)
    5.69
    """
    if min(cosine, base) <= 0 or max(cosine, base) >= 1:
        return None
    return (cosine**2 / (1 - cosine**2)) / (base**2 / (1 - base**2))


def _unit(x: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(x)
    return x / size if float(size) > 0 else x
