"""Scoring over one key-value cache: what rows share is computed once, and hindsight attends to what its turn may see.

Three passes without gradient: the beginning that all rows of a family share, once for the family; the rest of each
row's prefix; the branches of all rows in chunks, on the prefixes' keys and values. Attention costs branch × prefix
instead of (branch + prefix)², and the prefixes run on the fast causal kernel. A pass that would need a larger mask than
`TokenModel.largest_mask` goes in pieces, so that memory grows with a row's length and not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from rlsd.agents.hf.kv_cache import pieces
from rlsd.agents.hf.prefill import common_prefix
from rlsd.harness.scoring.masks import additive, padded_positions
from rlsd.harness.scoring.sequences import Branch, Row
from rlsd.harness.scoring.stored_prefixes import ALIGNED, PrefixCache
from rlsd.harness.scoring.token_model import ScoredTokens, TokenModel

LEAST_BEGINNING = 32
"""Shorter common beginnings are not worth a pass of their own."""
LEAST_CHUNK = 256
"""Approximate columns of branches in one chunk: fewer leave the device idle, more read more prefix than they need."""
LEAST_SAVING = 0.25
"""Share of the prefixes' tokens that common beginnings must save, because they force an explicit attention mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginnings:
    """Common beginnings of families of rows, computed once."""

    cache: Any
    index: dict[int, int]
    """Family → row of the cache."""
    lengths: dict[int, int]
    """Family → tokens."""


def shared(model: TokenModel, rows: Sequence[Row], starts: Beginnings | None, least: int = 0) -> ScoredTokens:
    """The same as `token_model.packed`, with nothing computed twice.

    Args:
        least: minimum number of passes through the layers; dummy passes follow the needed ones.
    """
    device = model.device
    known = [0 if starts is None else starts.lengths.get(r.family, 0) for r in rows]
    order = sorted(range(len(rows)), key=lambda b: -len(rows[b].branches))  # so that every chunk has the first rows
    chunks = list(_chunks([rows[b] for b in order]))
    room = max((chunk.ids.shape[1] for chunk in chunks), default=0)
    before = torch.tensor([known[b] for b in order])
    own = [rows[b].ids[known[b] : rows[b].prefix] for b in order]
    length, width = max(map(len, own)), 0
    cache = PrefixCache(room=room, length=length)
    if starts is not None and any(known):
        families = torch.tensor([starts.index.get(rows[b].family, 0) for b in order], device=device)
        width = max(known)
        early = [(la.keys[families, :, :width], la.values[families, :, :width]) for la in starts.cache.layers]
        cache = PrefixCache(room=room, length=length, before=early, starts=before.to(device))
    prefix, made = _prefix_pass(model, own, before, cache, width)
    hidden = [prefix.flatten(0, 1)]
    first = {(b, 0): i * prefix.shape[1] - known[b] for i, b in enumerate(order)}
    count = len(hidden[0])
    for chunk in chunks:
        branch, count_of = _branch_pass(model, cache, chunk)
        made += count_of
        for i, mine in enumerate(chunk.branches):
            at = count + i * branch.shape[1]
            for owner in mine:
                first[order[i], owner.start] = at - owner.start
                at += owner.stop - owner.start - 1
        hidden.append(branch.flatten(0, 1))
        count += len(hidden[-1])
    for _ in range(least - made):
        model.backbone(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
    where = torch.tensor(columns_of(rows, first), device=device)
    return model.scored(torch.cat(hidden)[where], targets_of(rows).to(device))


def passes(rows: Sequence[Row], starts: Beginnings | None, largest: int) -> int:
    """Number of passes through the layers that `shared` makes over `rows`.

    Args:
        largest: `TokenModel.largest_mask`.
    """
    known = [0 if starts is None else starts.lengths.get(r.family, 0) for r in rows]
    length, width = max(r.prefix - n for r, n in zip(rows, known)), max(known)
    count = len(pieces(length, width + length, len(rows), largest)) if width else 1
    return count + sum(len(chunk.pieces(largest)) for chunk in _chunks(sorted(rows, key=lambda r: -len(r.branches))))


def beginnings_pass(model: TokenModel, beginnings: dict[int, tuple[int, ...]]) -> Any:
    """Keys and values of each family's common beginning, in the order of `beginnings`."""
    cache, device = DynamicCache(), model.device
    ids = _padded(list(beginnings.values()))
    positions = torch.arange(ids.shape[1]).expand(len(ids), -1)
    model.backbone(input_ids=ids.to(device), position_ids=positions.to(device), cache=cache)
    return cache


def beginnings(rows: Sequence[Row]) -> dict[int, tuple[int, ...]]:
    """The tokens that rows of a family share before anything was sampled, by family; {} if sharing does not pay."""
    common: dict[int, tuple[int, ...]] = {}
    members: dict[int, int] = {}
    for row in rows:
        limit = min([row.prefix, *(p.column for p in row.places)]) - 1  # the column that predicts the first one stays
        start = common.get(row.family, row.ids[:limit])
        common[row.family] = start[: common_prefix(start, row.ids[:limit])]
        members[row.family] = members.get(row.family, 0) + 1
    kept = {f: s for f, s in common.items() if len(s) >= LEAST_BEGINNING and members[f] > 1}
    saved = sum((members[f] - 1) * len(s) for f, s in kept.items())
    return kept if saved >= LEAST_SAVING * sum(r.prefix for r in rows) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some branches of the first b rows, each without its last token, which predicts nothing."""

    branches: Sequence[Sequence[Branch]]
    """By row."""
    ids: Tensor
    """(b, Q) int64."""
    owner: Tensor
    """(b, Q) int64: the branch of its row that a column belongs to, from 1; 0 is padding."""
    fork: Tensor
    """(b, Q) int64: prefix columns it sees, common beginnings included."""
    positions: Tensor
    """(b, Q) int64."""
    deepest: Sequence[int]
    """Last fork of each row."""

    def pieces(self, largest: int) -> list[tuple[int, int]]:
        """First and end column of what goes through the layers at once."""
        rows, columns = self.ids.shape
        return pieces(columns, max(self.deepest) + columns + ALIGNED, rows, largest)


def _chunks(rows: Sequence[Row]) -> Iterator[Chunk]:
    """The branches of all rows in chunks of a few per row, earliest first. A chunk reads the prefix up to its own last
    fork only, so early turns do not pay for late ones. `rows` are ordered by their number of branches."""
    most, step = _steps(rows)
    for at in range(0, most, step):
        yield _chunk([(r, r.branches[at : at + step]) for r in rows if len(r.branches) > at])


def _steps(rows: Sequence[Row]) -> tuple[int, int]:
    """Largest number of branches of a row, and number of branches per row in a chunk."""
    most = max(len(r.branches) for r in rows)
    columns = sum(len(r.ids) - r.prefix for r in rows)
    return most, max(1, -(-most * LEAST_CHUNK // columns)) if most else 1


def _chunk(members: Sequence[tuple[Row, Sequence[Branch]]]) -> Chunk:
    sizes = [[b.stop - b.start - 1 for b in mine] for _, mine in members]
    owner = [[i for i, n in enumerate(lengths, start=1) for _ in range(n)] for lengths in sizes]
    fork = [[b.fork for b, n in zip(mine, lengths) for _ in range(n)] for (_, mine), lengths in zip(members, sizes)]
    positions = [[b.fork + i for b in mine for i in range(b.stop - b.start - 1)] for _, mine in members]
    width = max(len(p) for p in positions)
    return Chunk(
        branches=[mine for _, mine in members],
        ids=_padded([[i for b in mine for i in r.ids[b.start : b.stop - 1]] for r, mine in members]),
        owner=_padded(owner),
        fork=_padded(fork),
        positions=torch.tensor([padded_positions(p, width) for p in positions]),
        deepest=[max(b.fork for b in mine) for _, mine in members],
    )


def _prefix_pass(
    model: TokenModel, own: Sequence[Sequence[int]], before: Tensor, cache: PrefixCache, width: int
) -> tuple[Tensor, int]:
    """(B, T, D) hidden states of each row's prefix after the `before` (B,) tokens of its family's beginning, and the
    number of passes."""
    ids, device = _padded(own), model.device
    columns = torch.arange(ids.shape[1])
    positions = columns + before[:, None]
    if not width:
        hidden = model.backbone(input_ids=ids.to(device), position_ids=positions.to(device), cache=cache)
        return hidden, 1
    ends = before + torch.tensor([len(piece) for piece in own]) - 1
    out: list[Tensor] = []
    for first, stop in pieces(len(columns), width + len(columns), len(ids), model.largest_mask):
        cache.fill(first)
        mine = positions[:, first:stop]
        seen = torch.arange(width + stop) <= mine[:, :, None]
        out.append(
            model.backbone(
                input_ids=ids[:, first:stop].to(device),
                position_ids=mine.minimum(ends[:, None]).to(device),  # padding repeats the last one
                attention_mask=additive(seen[:, None].to(device), model.mask_dtype),
                cache=cache,
            )
        )
    return torch.cat(out, dim=1), len(out)


def _branch_pass(model: TokenModel, cache: PrefixCache, chunk: Chunk) -> tuple[Tensor, int]:
    """(b, Q, D) hidden states of a chunk behind its prefixes, and the number of passes."""
    device, deepest = model.device, max(chunk.deepest)
    out, keys = list[Tensor](), torch.arange(0)
    for first, stop in chunk.pieces(model.largest_mask):
        prefix = deepest + -(deepest + stop) % ALIGNED
        cache.aim(len(chunk.branches), prefix, first)
        columns = torch.arange(first, stop)
        keys = torch.cat([columns, keys])  # the order in which the cache has them
        own = (chunk.owner[:, first:stop, None] == chunk.owner[:, None, keys]) & (columns[:, None] >= keys)
        of_prefix = torch.arange(prefix) < chunk.fork[:, first:stop, None]
        seen = torch.cat([own, of_prefix], dim=2)[:, None]
        out.append(
            model.backbone(
                input_ids=chunk.ids[:, first:stop].to(device),
                position_ids=chunk.positions[:, first:stop].to(device),
                attention_mask=additive(seen.to(device), model.mask_dtype),
                cache=cache,
            )
        )
    return torch.cat(out, dim=1), len(out)


def columns_of(rows: Sequence[Row], first: dict[tuple[int, int], int]) -> list[int]:
    """Indices of the hidden states that predict the sampled tokens, in the order of `places`.

    Args:
        first: index of column 0, by row and first column of the branch (0: the prefix).
    """
    out: list[int] = []
    for b, row in enumerate(rows):
        for place in row.places:
            owner = 0
            if place.column >= row.prefix:
                owner = next(p.start for p in row.branches if p.start <= place.column < p.stop)
            at = first[b, owner] + place.column - 1
            out += range(at, at + place.count)
    return out


def targets_of(rows: Sequence[Row]) -> Tensor:
    """(m,) sampled tokens, in the order of `places`."""
    return torch.tensor([i for r in rows for p in r.places for i in r.ids[p.column : p.column + p.count]])


def _padded(pieces: Sequence[Sequence[int]]) -> Tensor:
    """(B, T) int64, zeros on the right."""
    width = max(len(p) for p in pieces)
    return torch.tensor([[*p, *[0] * (width - len(p))] for p in pieces])
