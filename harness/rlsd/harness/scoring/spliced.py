"""Scoring hindsight with kernels that take no mask: variable-length calls over the prefixes' keys and values.

The prefixes go through the causal kernel, padded on the right. Then branches go end to end, many at once; each is a
sequence of the call whose keys are those of its prefix up to the fork and its own. The kernel aligns its causal mask to
the last query and key, so a branch sees its whole prefix and itself up to each column. Keys and values of a layer are
copied for one call at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rlsd.agents.hf.abilities import text_config
from rlsd.agents.hf.kv_cache import KeysAndValues
from rlsd.harness.scoring.prefix_cache import columns_of, targets_of
from rlsd.harness.scoring.sequences import Branch, Place, Row
from rlsd.harness.scoring.token_model import ScoredTokens, TokenModel, packed, places, plain

LEAST_KEYS = 16_384
"""Keys of one call, as many as fit; a longer branch is a call of its own."""


class SplicedCache(KeysAndValues):
    """Keys and values of B prefixes, from which a pass over branches reads what each of them sees."""

    def __init__(self) -> None:
        self.layers = []
        self._stored: list[tuple[Tensor, Tensor]] = []
        self._spans: Sequence[tuple[int, int, int]] | None = None

    def aim(self, spans: Sequence[tuple[int, int, int]]) -> None:
        """Make the next pass run branches end to end, given by (row of the prefixes, fork, columns)."""
        self._spans = spans

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object):  # type: ignore[override]
        """Keep the (B, H, P, D) keys and values of prefixes, or return those that branches (1, H, Q, D) read."""
        if self._spans is None:
            self._stored.append((key_states, value_states))
            return key_states, value_states
        out: list[Tensor] = []
        for stored, new in zip(self._stored[layer_idx], (key_states, value_states)):
            own = new[0].split([length for _, _, length in self._spans], dim=1)
            parts = [p for (b, fork, _), mine in zip(self._spans, own) for p in (stored[b, :, :fork], mine)]
            out.append(torch.cat(parts, dim=1)[None])
        return out[0], out[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return query_length, 0


def spliced(model: TokenModel, rows: Sequence[Row]) -> ScoredTokens:
    """The same as `token_model.packed`, for kernels that take no mask."""
    device, cache = model.device, SplicedCache()
    width = max(r.prefix for r in rows)
    ids = torch.tensor([[*r.ids[: r.prefix], *[0] * (width - r.prefix)] for r in rows], device=device)
    positions = torch.arange(width, device=device).expand(len(rows), -1)
    hidden = [model.backbone(input_ids=ids, position_ids=positions, cache=cache).flatten(0, 1)]
    first = {(b, 0): b * width for b in range(len(rows))}
    count = len(rows) * width
    for call in _calls(rows):
        cache.aim([(b, branch.fork, branch.stop - branch.start - 1) for b, branch in call])
        hidden.append(_call(model, rows, call, cache))
        for b, branch in call:
            first[b, branch.start] = count - branch.start
            count += branch.stop - branch.start - 1
    where = torch.tensor(columns_of(rows, first), device=device)
    return model.scored(torch.cat(hidden)[where], targets_of(rows).to(device))


def spliced_fault(model: Any, *, low: torch.dtype | None, tolerance: float, low_tolerance: float) -> str | None:
    """What is wrong with `spliced` for this model where it is; None if it gives the log-probs of plain rows.

    Args:
        low: lower precision of matrix products.
        tolerance: largest difference in nats, of float32.
        low_tolerance: of a lower precision.
    """
    rng, vocab = random.Random(0), int(text_config(model).vocab_size)
    branches = (Branch(start=70, stop=90, fork=11), Branch(start=90, stop=97, fork=64))
    own = (Place(column=60, flat=0, count=10), Place(column=80, flat=10, count=10), Place(column=92, flat=20, count=5))
    rows = [
        Row(ids=tuple(rng.randrange(8, vocab) for _ in range(97)), places=own, branches=branches),
        Row(ids=tuple(rng.randrange(8, vocab) for _ in range(30)), places=(Place(column=9, flat=25, count=21),)),
    ]
    tokens = TokenModel(model, temperature=1.0, autocast=low, masks=False)
    found, want = torch.empty(46), torch.empty(46)
    try:
        with torch.no_grad():
            found[places(rows)[2]] = tokens(spliced, rows).logp.cpu()
            for row in plain(rows):
                want[places([row])[2]] = tokens(packed, [row]).logp.cpu()
    except Exception as error:  # a kernel, or a model that passes its arguments on in another way, can raise anything
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    largest = float((found - want).abs().max())
    limit = tolerance if tokens.mask_dtype == torch.float32 else low_tolerance
    return None if largest <= limit else f"up to {largest:.2g} nats off"


def _calls(rows: Sequence[Row]) -> Iterator[list[tuple[int, Branch]]]:
    """Branches with their row's number, as many as read `LEAST_KEYS` keys at most."""
    call: list[tuple[int, Branch]] = []
    keys = 0
    for b, row in enumerate(rows):
        for branch in row.branches:
            reads = branch.fork + branch.stop - branch.start - 1
            if call and keys + reads > LEAST_KEYS:
                yield call
                call, keys = [], 0
            call.append((b, branch))
            keys += reads
    if call:
        yield call


def _call(model: TokenModel, rows: Sequence[Row], call: Sequence[tuple[int, Branch]], cache: SplicedCache) -> Tensor:
    """(Q, D) hidden states of branches end to end, each without its last token, which predicts nothing."""
    device = model.device
    lengths = torch.tensor([branch.stop - branch.start - 1 for _, branch in call])
    keys = lengths + torch.tensor([branch.fork for _, branch in call])
    ids = [i for b, branch in call for i in rows[b].ids[branch.start : branch.stop - 1]]
    positions = torch.cat([branch.fork + torch.arange(n) for (_, branch), n in zip(call, lengths.tolist())])
    return model.backbone(
        input_ids=torch.tensor([ids], device=device),
        position_ids=positions[None].to(device),
        cache=cache,
        cu_seq_lens_q=_ends(lengths).to(device),
        cu_seq_lens_k=_ends(keys).to(device),
        max_length_q=int(lengths.max()),
        max_length_k=int(keys.max()),
    )[0]


def _ends(lengths: Tensor) -> Tensor:
    """(n + 1,) int32: where sequences end to end start, and where the last one stops."""
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
