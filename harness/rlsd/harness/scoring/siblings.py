"""Siblings in one row: what they have in common goes through the layers once, forward and backward.

The first row stays as it is; another one becomes a branch that forks off where it differs, one token earlier, since the
last common token predicts the first one of its own. Tokens that both sampled are scored twice in one column.

    s s s s a a o o a a             s s s s a a o o a a │ a b b o b b
    s s s s a b b o b b      →                          └ forks off at column 4

The gradient is that of separate rows (prefix sharing in training: Prefix Grouper, arXiv 2506.05433).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlsd.agents.hf.abilities import text_config
from rlsd.agents.hf.models import split_head
from rlsd.agents.hf.prefill import common_prefix
from rlsd.harness.scoring.prefix_cache import LEAST_BEGINNING
from rlsd.harness.scoring.sequences import Branch, Place, Row

PAIR = 7.0
"""Cost of one pair of query and key beside the product with one weight: 4 operations forward instead of 2, 2.5 times as
many backward instead of 2, at two thirds of the speed (CPU, 512 to 2,048 tokens)."""
WIDEST = 4096
"""Columns of a joined row whose attention needs a mask of all pairs: 64 MiB in float32."""
LEAST = 0.1
"""Share of the cost that joining must save: joined rows are apart from others, in more and smaller micro-batches."""
CAUSAL = 0.7
"""Time of attention without a mask over that with one, which computes all pairs (CPU, 512 to 1,024 tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What rows cost, in products with one weight."""

    token: float
    """A token in the layers without attention."""
    pair: float
    """A pair of query and key."""
    blocks: bool
    """Attention computes only what a mask leaves; else all pairs of a row with branches."""

    @classmethod
    def of(cls, model: Any, *, blocks: bool) -> Cost | None:
        """Of a causal LM's forward and backward pass; None if its config names no layers."""
        layers = getattr(text_config(model), "num_hidden_layers", None)
        if layers is None:
            return None
        embedding = model.get_input_embeddings().weight
        weights = sum(p.numel() for p in split_head(model)[0].parameters()) - embedding.numel()
        return cls(token=2.0 * weights, pair=PAIR * layers * embedding.shape[-1], blocks=blocks)

    def row(self, row: Row) -> float:
        """A forward pass of a row alone."""
        prefix, width = row.prefix, len(row.ids)
        if not row.branches:
            pairs = CAUSAL * width**2
        elif self.blocks:
            sizes = [(b.fork, b.stop - b.start) for b in row.branches]
            pairs = CAUSAL * (prefix**2 + sum(2 * fork * size + size**2 for fork, size in sizes))
        else:
            pairs = float(width**2)
        return self.token * width + self.pair * pairs


def most_pairs(rows: Sequence[Row], limit: int) -> int:
    """Pairs of query and key in the largest micro-batch of at most `limit` columns that rows without branches may make:
    attention that keeps every pair for the backward pass (eager) has memory for as many."""
    longest = max((len(r.ids) for r in rows), default=0)
    return longest * max(longest, limit)


def with_siblings(rows: Sequence[Row], limit: int, cost: Cost, *, most: int | None = None) -> list[Row]:
    """The rows, those of a family joined where that is cheaper; rows with branches or without a family as they are.
    All of them as they are if that saves too little.

    Args:
        limit: most columns of a joined row; with a mask of all pairs also `WIDEST`.
        most: most pairs of columns of a joined row, if memory grows with them.
    """
    out: list[Row] = []
    limit = limit if cost.blocks else min(limit, WIDEST)
    limit = limit if most is None else min(limit, math.isqrt(most))
    able = [r for r in rows if r.family >= 0 and not r.branches]
    for row in sorted(able, key=lambda r: (r.family, r.ids)):  # so that neighbours have most in common
        home = out[-1] if out else None
        if home is not None and home.family == row.family:
            both = _joined(home, row)
            if both is not None and len(both.ids) <= limit and cost.row(both) < cost.row(home) + cost.row(row):
                out[-1] = both
                continue
        out.append(row)
    if sum(map(cost.row, out)) > (1 - LEAST) * sum(map(cost.row, able)):
        return list(rows)
    return out + [r for r in rows if r.family < 0 or r.branches]


def _joined(home: Row, row: Row) -> Row | None:
    """Both in one row; None if they have too little in common."""
    common = common_prefix(home.ids[: home.prefix], row.ids)
    if common < LEAST_BEGINNING:
        return None
    fork, start = common - 1, len(home.ids)
    shared, own = list[Place](), list[Place]()
    for place in row.places:
        count = min(max(common - place.column, 0), place.count)
        if count:
            shared.append(replace(place, count=count))
        if count < place.count:
            column = start + place.column + count - fork
            own.append(Place(column=column, flat=place.flat + count, count=place.count - count))
    if not own:
        return replace(home, places=(*home.places, *shared))
    return replace(
        home,
        ids=home.ids + row.ids[fork:],
        places=(*home.places, *shared, *own),
        branches=(*home.branches, Branch(start=start, stop=start + len(row.ids) - fork, fork=fork)),
    )
