"""How rows go through the model, so that nothing is computed twice.

    packed   one forward pass over padded rows; a branch is kept apart from the others by the attention mask.
             The way of the update, where gradients are wanted.
    shared   three passes over one key-value cache: what all rows of a family begin with, once for the family; the
             rest of each trunk; all branches of a row behind their trunk. The way of scoring. Attention costs
             branch × trunk instead of (branch + trunk)², and the trunks run on the fast causal kernel.
    plain    every branch as a row of its own behind a copy of its trunk. For attention that takes no mask.

All three give the same log-probs (tested to 1e-5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rlsd.agents.models import split_head
from rlsd.algorithms.logprobs import chunked_logprobs
from rlsd.harness.rows import Branch, Place, Row

Head = Callable[[Tensor], Tensor]
LEAST_PREFIX = 32
"""Shorter common beginnings are not worth a pass of their own."""
LEAST_WAVE = 512
"""Columns of branches fed together, about: fewer leave the processor idle, more see more trunk than they need."""
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


class TokenModel(nn.Module):
    """A policy as the learner calls it; the module that DDP and FSDP2 wrap, so all use of weights is inside `forward`.

    Args:
        model: a causal LM.
        temperature: log-probs are of logits / temperature.
        autocast: lower precision of matrix products; None for the weights' own.
        masks: the attention takes a mask; else pieces of a row are told apart by their positions.
    """

    def __init__(
        self, model: Any, *, temperature: float, autocast: torch.dtype | None = None, masks: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.autocast = autocast
        self.masks = masks

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def mask_dtype(self) -> torch.dtype:
        return self.autocast or next(self.model.parameters()).dtype

    def forward(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """`work(self, *arguments)` while the wrapper holds the weights ready."""
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return work(self, *arguments)

    def backbone(self, **kwargs: Any) -> Tensor:
        return split_head(self.model)[0](**kwargs).last_hidden_state

    def head(self, hidden: Tensor) -> Tensor:
        """(m, D) → (m, V)."""
        embedding: Any = split_head(self.model)[1]
        return embedding(hidden.to(embedding.weight.dtype))

    def scored(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logp, _ = chunked_logprobs(hidden, self.head, targets, temperature=self.temperature)
        return logp.float(), hidden


def packed(model: TokenModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """(m,) float32 log-probs of the sampled tokens in the order of `places`, and (m, D) hidden states behind them."""
    ids, positions, seen = collate(rows)
    device = model.device
    hidden = model.backbone(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        attention_mask=_additive(seen.to(device), model.mask_dtype) if seen is not None and model.masks else None,
        use_cache=False,
    )
    row_of, column, _ = places(rows)
    return model.scored(hidden[row_of.to(device), (column - 1).to(device)], ids[row_of, column].to(device))


def shared(model: TokenModel, rows: Sequence[Row], prefixes: Prefixes | None) -> tuple[Tensor, Tensor]:
    """As `packed`, without gradient, trunks first and branches on their keys and values."""
    from transformers import DynamicCache

    device, cache = model.device, DynamicCache()
    known = [0 if prefixes is None else prefixes.lengths.get(r.family, 0) for r in rows]
    width = 0
    if prefixes is not None and any(known):
        held = torch.tensor([prefixes.index.get(r.family, 0) for r in rows], device=device)
        for i, layer in enumerate(prefixes.cache.layers):
            cache.update(layer.keys[held], layer.values[held], i)
        width = prefixes.cache.get_seq_length()
    trunks = [r.trunk for r in rows]
    ids, positions = _padded([r.ids[k:t] for r, k, t in zip(rows, known, trunks)], known)
    seen = None
    if width:
        columns = torch.arange(ids.shape[1])
        seen = _joined(
            torch.arange(width)[None, None, :] < torch.tensor(known)[:, None, None],
            (columns[:, None] >= columns[None, :])[None],
        )
    trunk = model.backbone(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        attention_mask=None if seen is None else _additive(seen.to(device), model.mask_dtype),
        past_key_values=cache,
        use_cache=True,
    )
    hidden, first = [trunk.flatten(0, 1)], {(b, 0): b * ids.shape[1] - known[b] for b in range(len(rows))}
    count = len(hidden[0])
    for wave in _waves(rows):
        branch = _branch_pass(model, cache, wave, known, width)
        for i, (b, mine, _) in enumerate(wave):
            at = count + i * branch.shape[1]
            for owner in mine:
                first[b, owner.start] = at - owner.start
                at += owner.stop - owner.start - 1
        hidden.append(branch.flatten(0, 1))
        count += len(hidden[-1])
    where = torch.tensor(_columns(rows, first), device=device)
    return model.scored(torch.cat(hidden)[where], _targets(rows).to(device))


def prefix_pass(model: TokenModel, beginnings: dict[int, tuple[int, ...]]) -> Any:
    """Keys and values of each family's common beginning, in the order of `beginnings`."""
    from transformers import DynamicCache

    cache = DynamicCache()
    ids, positions = _padded(list(beginnings.values()), [0] * len(beginnings))
    device = model.device
    model.backbone(input_ids=ids.to(device), position_ids=positions.to(device), past_key_values=cache, use_cache=True)
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


def plain(rows: Sequence[Row]) -> list[Row]:
    """The same sampled tokens with every branch as a row of its own: no mask is needed."""
    out: list[Row] = []
    for row in rows:
        own = tuple(p for p in row.places if p.column < row.trunk)
        if own:
            out.append(replace(row, ids=row.ids[: row.trunk], places=own, branches=()))
        for b in row.branches:
            moved = tuple(
                replace(p, column=p.column - b.start + b.fork) for p in row.places if b.start <= p.column < b.stop
            )
            out.append(replace(row, ids=row.ids[: b.fork] + row.ids[b.start : b.stop], places=moved, branches=()))
    return out


def joined(rows: Sequence[Row], limit: int) -> list[Row]:
    """Rows without branches end to end, at most `limit` columns each (a longer row stays alone): nothing is padded.

    A piece is a branch that forks off at column 0, so it sees itself alone and its positions start at 0.
    """
    out: list[list[Row]] = []
    for row in sorted(rows, key=lambda r: -len(r.ids)):
        home = next((held for held in out if sum(len(r.ids) for r in held) + len(row.ids) <= limit), None)
        if home is None:
            out.append([row])
        else:
            home.append(row)
    return [_end_to_end(held) for held in out]


def forwarded(rows: Sequence[Row], prefixes: Prefixes | None, *, share: bool) -> tuple[int, int]:
    """Tokens of trunks and of branches that a pass over `rows` feeds to the model, padding apart."""
    trunk = sum(r.trunk for r in rows)
    branch = sum(len(r.ids) - r.trunk for r in rows)
    if share:
        branch -= sum(len(r.branches) for r in rows)  # a branch's last token predicts nothing
        trunk -= 0 if prefixes is None else sum(prefixes.lengths.get(r.family, 0) for r in rows)
    return trunk, branch


def collate(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pad rows on the right.

    Returns:
        (B, T) ids, (B, T) positions, and (B, 1, T, T) bool of what each column may see; None where plain causal
        attention is right (padding stands behind everything, so no real token can see it).
    """
    width = max(len(r.ids) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.arange(width).repeat(len(rows), 1)
    for b, row in enumerate(rows):
        ids[b, : len(row.ids)] = torch.tensor(row.ids)
        if row.branches:
            positions[b, : len(row.ids)] = torch.tensor(row.positions())
    if not any(r.branches for r in rows):
        return ids, positions, None
    owner = torch.zeros(len(rows), width, dtype=torch.long)
    fork = torch.zeros(len(rows), width, dtype=torch.long)
    for b, row in enumerate(rows):
        for i, branch in enumerate(row.branches, start=1):
            owner[b, branch.start : branch.stop] = i
            fork[b, branch.start : branch.stop] = branch.fork
    columns = torch.arange(width)
    same = (owner[:, :, None] == owner[:, None, :]) & (columns[None, :, None] >= columns[None, None, :])
    trunk = (owner[:, None, :] == 0) & (columns[None, None, :] < fork[:, :, None])
    return ids, positions, (same | trunk)[:, None]


def places(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """(m,) row, (m,) column and (m,) flat number of every sampled token of `rows`."""
    row_of: list[int] = []
    column: list[int] = []
    flat: list[int] = []
    for b, row in enumerate(rows):
        for place in row.places:
            row_of += [b] * place.count
            column += range(place.column, place.column + place.count)
            flat += range(place.flat, place.flat + place.count)
    return torch.tensor(row_of), torch.tensor(column), torch.tensor(flat)


Wave = list[tuple[int, list[Branch], Row]]
"""Some branches of some rows: (number of the row, its branches, the row)."""


def _waves(rows: Sequence[Row]) -> Iterator[Wave]:
    """The branches of all rows, a few of each row at a time, first ones first: a wave sees the trunk up to its own
    last fork only, so early turns do not pay for late ones."""
    most = max(len(r.branches) for r in rows)
    if not most:
        return
    columns = sum(len(r.ids) - r.trunk for r in rows)
    step = max(1, -(-most * LEAST_WAVE // columns))
    for at in range(0, most, step):
        found = [(b, list(r.branches[at : at + step]), r) for b, r in enumerate(rows)]
        yield [(b, mine, r) for b, mine, r in found if mine]


def _branch_pass(model: TokenModel, trunks: Any, wave: Wave, known: Sequence[int], width: int) -> Tensor:
    """(rows of the wave, Q, D) hidden states of its branches, each without its last token, behind their trunks."""
    from transformers import DynamicCache

    device = model.device
    held = torch.tensor([b for b, _, _ in wave], device=device)
    before = torch.tensor([known[b] for b, _, _ in wave])
    forks = torch.tensor([max(branch.fork for branch in mine) for _, mine, _ in wave])
    trunk = max(0, int((forks - before).max()))
    cache = DynamicCache()
    for i, layer in enumerate(trunks.layers):
        cache.update(layer.keys[held, :, : width + trunk], layer.values[held, :, : width + trunk], i)
    pieces = [[(branch, row.ids[branch.start : branch.stop - 1]) for branch in mine] for _, mine, row in wave]
    ids = torch.zeros(len(wave), max(sum(len(p) for _, p in mine) for mine in pieces), dtype=torch.long)
    positions, owner, fork = torch.zeros_like(ids), torch.zeros_like(ids), torch.zeros_like(ids)
    for b, mine in enumerate(pieces):
        at = 0
        for i, (branch, piece) in enumerate(mine, start=1):
            stop = at + len(piece)
            ids[b, at:stop] = torch.tensor(piece)
            positions[b, at:stop] = torch.arange(branch.fork, branch.fork + len(piece))
            owner[b, at:stop] = i
            fork[b, at:stop] = branch.fork
            at = stop
    columns, fork, before = torch.arange(ids.shape[1]), fork[:, :, None], before[:, None, None]
    of_prefix = torch.arange(width)[None, None, :] < torch.minimum(before, fork)
    of_trunk = torch.arange(trunk)[None, None, :] + before < fork
    own = (owner[:, :, None] == owner[:, None, :]) & (columns[:, None] >= columns[None, :])
    seen = torch.cat([of_prefix, of_trunk, own], dim=2)[:, None]
    return model.backbone(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        attention_mask=_additive(seen.to(device), model.mask_dtype),
        past_key_values=cache,
        use_cache=True,
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


def _padded(pieces: Sequence[Sequence[int]], starts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(B, T) ids padded on the right, and positions from each piece's start on."""
    width = max(len(p) for p in pieces)
    ids = torch.zeros(len(pieces), width, dtype=torch.long)
    for b, piece in enumerate(pieces):
        ids[b, : len(piece)] = torch.tensor(piece)
    return ids, torch.arange(width) + torch.tensor(starts)[:, None]


def _joined(before: Tensor, own: Tensor) -> Tensor:
    """(B, 1, T, P + T) from (B, 1, P) and (1, T, T)."""
    size, width = before.shape[0], own.shape[1]
    return torch.cat([before.expand(-1, width, -1), own.expand(size, -1, -1)], dim=2)[:, None]


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What attention adds to its scores: 0 where seen. Made once, not in every layer; finite, so that rows of padding
    do not give NaN."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))


def _end_to_end(held: Sequence[Row]) -> Row:
    if len(held) == 1:
        return held[0]
    ids: list[int] = []
    scored: list[Place] = []
    pieces: list[Branch] = []
    for row in held:
        start = len(ids)
        ids += row.ids
        scored += [replace(p, column=p.column + start) for p in row.places]
        pieces.append(Branch(start=start, stop=len(ids), fork=0))
    return Row(ids=tuple(ids), places=tuple(scored), branches=tuple(pieces))
