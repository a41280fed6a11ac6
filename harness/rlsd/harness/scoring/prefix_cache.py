"""Scoring over one key-value cache: what rows share is computed once, hindsight behind what its turn may see.

Three passes, without gradient: what all rows of a family begin with, once for the family; the rest of each trunk; the
branches of all rows, a few at a time, on the trunks' keys and values. Attention costs branch × trunk instead of
(branch + trunk)², and the trunks run on the fast causal kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from rlsd.harness.scoring.sequences import Branch, Row
from rlsd.harness.scoring.token_model import ScoredTokens, TokenModel, additive

LEAST_PREFIX = 32
"""Shorter common beginnings are not worth a pass of their own."""
LEAST_WAVE = 256
"""Columns of branches fed together, about: fewer leave the processor idle, more see more trunk than they need."""
ALIGNED = 16
"""A wave reads a multiple of this many keys: attention takes longer over a remainder than over what fills it up."""
LEAST_SAVING = 0.25
"""Share of the trunks' tokens that common beginnings must save: with them the trunks need an explicit mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """Common beginnings of families of rows, computed once."""

    cache: Any
    index: dict[int, int]
    """Family → row of the cache."""
    lengths: dict[int, int]
    """Family → tokens."""


class TrunkCache(Cache):
    """Keys and values of B trunks behind room for one wave of their branches.

        columns    room | row's common beginning, rest of its trunk | zeros, `ALIGNED` at least

    Every row's trunk stands from the first column after the room, however long its beginning is, so a wave reads up to
    its deepest fork and hardly further. It is written right before that: one slice is read, no trunk is ever copied.
    The order of the columns does not matter to attention: the mask says what is seen, and positions are in the keys.

    Args:
        room: most columns of a wave.
        before: the (keys, values) of each layer's common beginnings, (B, H, P, D) each; empty without.
        starts: (B,) tokens of each row's beginning.
    """

    def __init__(
        self, *, room: int, before: Sequence[tuple[Tensor, Tensor]] = (), starts: Tensor | None = None
    ) -> None:
        self.layers = []
        self._room = room
        self._before = before
        self._starts = starts
        self._held: list[tuple[Tensor, Tensor]] = []
        self._wave: tuple[int, int] | None = None

    def aim(self, rows: int, trunk: int) -> None:
        """Direct the next pass at branches of the first `rows` rows, which read `trunk` columns of their trunks."""
        self._wave = (rows, trunk)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object):  # type: ignore[override]
        """Write (B, H, Q, D) keys and values of one layer; what the pass reads."""
        news = (key_states, value_states)
        if self._wave is None:
            before = self._before[layer_idx] if self._before else (None, None)
            keys, values = (self._opened(new, early) for new, early in zip(news, before))
            self._held.append((keys, values))
            return keys[:, :, self._room : -ALIGNED], values[:, :, self._room : -ALIGNED]
        rows, trunk = self._wave
        out = []
        for held, new in zip(self._held[layer_idx], news):
            seen = held[:rows, :, self._room - new.shape[2] : self._room + trunk]
            seen[:, :, : new.shape[2]] = new
            out.append(seen)
        return out[0], out[1]

    def _opened(self, new: Tensor, early: Tensor | None) -> Tensor:
        """Columns for everything, with what stays filled in; a wave writes all columns it reads of the rest."""
        b, h, t, d = new.shape
        width = 0 if early is None else early.shape[2]
        held = new.new_empty(b, h, self._room + width + t + ALIGNED, d)
        held[:, :, self._room + (width or t) :] = 0  # what no row fills is masked, but must be finite
        if early is None or self._starts is None:
            held[:, :, self._room : -ALIGNED] = new
            return held
        held[:, :, self._room : self._room + width] = early
        own = self._room + self._starts[:, None] + torch.arange(t, device=new.device)
        held.transpose(1, 2)[torch.arange(b, device=new.device)[:, None], own] = new.transpose(1, 2)
        return held

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return query_length, 0


def shared(model: TokenModel, rows: Sequence[Row], prefixes: Prefixes | None, least: int = 0) -> ScoredTokens:
    """What `token_model.packed` gives, with nothing computed twice.

    Args:
        least: passes through the layers to make, blank ones after those that are needed.
    """
    device = model.device
    known = [0 if prefixes is None else prefixes.lengths.get(r.family, 0) for r in rows]
    order = sorted(range(len(rows)), key=lambda b: -len(rows[b].branches))  # so that every wave has the first rows
    waves = list(_waves([rows[b] for b in order]))
    room = max((wave.ids.shape[1] for wave in waves), default=0)
    before = torch.tensor([known[b] for b in order])
    cache, width = TrunkCache(room=room), 0
    if prefixes is not None and any(known):
        held = torch.tensor([prefixes.index.get(rows[b].family, 0) for b in order], device=device)
        width = max(known)
        early = [(la.keys[held, :, :width], la.values[held, :, :width]) for la in prefixes.cache.layers]
        cache = TrunkCache(room=room, before=early, starts=before.to(device))
    trunk = _trunk_pass(model, [rows[b].ids[known[b] : rows[b].trunk] for b in order], before, cache, width)
    hidden = [trunk.flatten(0, 1)]
    first = {(b, 0): i * trunk.shape[1] - known[b] for i, b in enumerate(order)}
    count = len(hidden[0])
    for wave in waves:
        branch = _branch_pass(model, cache, wave)
        for i, mine in enumerate(wave.branches):
            at = count + i * branch.shape[1]
            for owner in mine:
                first[order[i], owner.start] = at - owner.start
                at += owner.stop - owner.start - 1
        hidden.append(branch.flatten(0, 1))
        count += len(hidden[-1])
    for _ in range(least - 1 - len(waves)):
        model.backbone(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
    where = torch.tensor(_columns(rows, first), device=device)
    return model.scored(torch.cat(hidden)[where], _targets(rows).to(device))


def passes(rows: Sequence[Row]) -> int:
    """How many passes through the layers `shared` makes over `rows`."""
    most, step = _steps(rows)
    return 1 + -(-most // step)


def prefix_pass(model: TokenModel, beginnings: dict[int, tuple[int, ...]]) -> Any:
    """Keys and values of each family's common beginning, in the order of `beginnings`."""
    cache, device = DynamicCache(), model.device
    ids = _padded(list(beginnings.values()))
    positions = torch.arange(ids.shape[1]).expand(len(ids), -1)
    model.backbone(input_ids=ids.to(device), position_ids=positions.to(device), cache=cache)
    return cache


def beginnings(rows: Sequence[Row]) -> dict[int, tuple[int, ...]]:
    """What rows of one family have in common before anything was sampled, by family; {} where it does not pay."""
    found: dict[int, tuple[int, ...]] = {}
    members: dict[int, int] = {}
    for row in rows:
        limit = min([row.trunk, *(p.column for p in row.places)]) - 1  # the column that predicts the first one stays
        start = found.get(row.family, row.ids[:limit])
        found[row.family] = start[: _common(start, row.ids[:limit])]
        members[row.family] = members.get(row.family, 0) + 1
    kept = {f: s for f, s in found.items() if len(s) >= LEAST_PREFIX and members[f] > 1}
    saved = sum((members[f] - 1) * len(s) for f, s in kept.items())
    return kept if saved >= LEAST_SAVING * sum(r.trunk for r in rows) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Some branches of the first b rows, each without its last token (which predicts nothing)."""

    branches: Sequence[Sequence[Branch]]
    """By row."""
    ids: Tensor
    """(b, Q) int64."""
    owner: Tensor
    """(b, Q) int64: which branch of its row a column belongs to, from 1; 0 is padding."""
    fork: Tensor
    """(b, Q) int64: trunk columns it sees, beginnings included."""
    positions: Tensor
    """(b, Q) int64."""
    deepest: Sequence[int]
    """Last fork of each row."""


def _waves(rows: Sequence[Row]) -> Iterator[Wave]:
    """The branches of all rows, a few of each row at a time, first ones first: a wave sees the trunk up to its own
    last fork only, so early turns do not pay for late ones. `rows` are ordered by their number of branches."""
    most, step = _steps(rows)
    for at in range(0, most, step):
        yield _wave([(r, r.branches[at : at + step]) for r in rows if len(r.branches) > at])


def _steps(rows: Sequence[Row]) -> tuple[int, int]:
    """Most branches of a row, and how many of each row make a wave."""
    most = max(len(r.branches) for r in rows)
    columns = sum(len(r.ids) - r.trunk for r in rows)
    return most, max(1, -(-most * LEAST_WAVE // columns)) if most else 1


def _wave(found: Sequence[tuple[Row, Sequence[Branch]]]) -> Wave:
    sizes = [[b.stop - b.start - 1 for b in mine] for _, mine in found]
    owner = [[i for i, n in enumerate(held, start=1) for _ in range(n)] for held in sizes]
    fork = [[b.fork for b, n in zip(mine, held) for _ in range(n)] for (_, mine), held in zip(found, sizes)]
    positions = [chain.from_iterable(range(b.fork, b.fork + b.stop - b.start - 1) for b in mine) for _, mine in found]
    return Wave(
        branches=[mine for _, mine in found],
        ids=_padded([[i for b in mine for i in r.ids[b.start : b.stop - 1]] for r, mine in found]),
        owner=_padded(owner),
        fork=_padded(fork),
        positions=_padded([list(p) for p in positions]),
        deepest=[max(b.fork for b in mine) for _, mine in found],
    )


def _trunk_pass(
    model: TokenModel, pieces: Sequence[Sequence[int]], before: Tensor, cache: TrunkCache, width: int
) -> Tensor:
    """(B, T, D) hidden states of what each trunk has beyond the `before` (B,) tokens of its family's beginning."""
    ids, device = _padded(pieces), model.device
    columns, mask = torch.arange(ids.shape[1]), None
    positions = columns + before[:, None]
    if width:
        seen = torch.arange(width + len(columns)) <= positions[:, :, None]
        mask = additive(seen[:, None].to(device), model.mask_dtype)
    return model.backbone(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        attention_mask=mask,
        cache=cache,
    )


def _branch_pass(model: TokenModel, cache: TrunkCache, wave: Wave) -> Tensor:
    """(b, Q, D) hidden states of a wave behind its trunks."""
    device, deepest = model.device, max(wave.deepest)
    trunk = deepest + -(deepest + wave.ids.shape[1]) % ALIGNED
    cache.aim(len(wave.branches), trunk)
    columns = torch.arange(wave.ids.shape[1])
    own = (wave.owner[:, :, None] == wave.owner[:, None, :]) & (columns[:, None] >= columns[None, :])
    of_trunk = torch.arange(trunk) < wave.fork[:, :, None]
    seen = torch.cat([own, of_trunk], dim=2)[:, None]
    return model.backbone(
        input_ids=wave.ids.to(device),
        position_ids=wave.positions.to(device),
        attention_mask=additive(seen.to(device), model.mask_dtype),
        cache=cache,
    )


def _columns(rows: Sequence[Row], first: dict[tuple[int, int], int]) -> list[int]:
    """Where the hidden states that predict the sampled tokens stand, in the order of `places`.

    Args:
        first: place of column 0, by row and first column of the branch (0: the trunk).
    """
    out: list[int] = []
    for b, row in enumerate(rows):
        for place in row.places:
            owner = 0
            if place.column >= row.trunk:
                owner = next(p.start for p in row.branches if p.start <= place.column < p.stop)
            at = first[b, owner] + place.column - 1
            out += range(at, at + place.count)
    return out


def _targets(rows: Sequence[Row]) -> Tensor:
    return torch.tensor([i for r in rows for p in r.places for i in r.ids[p.column : p.column + p.count]])


def _padded(pieces: Sequence[Sequence[int]]) -> Tensor:
    """(B, T) int64, zeros on the right."""
    width = max(len(p) for p in pieces)
    return torch.tensor([[*p, *[0] * (width - len(p))] for p in pieces])


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))
