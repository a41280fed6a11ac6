"""How rows go through the model, so that nothing is computed twice.

    packed   one forward pass over padded rows; a branch is separated from the others by the attention mask.
             Used for updates, which need gradients. Needs no mask where no row has branches.
    shared   three passes over one key-value cache (see `prefix_cache`). Used for scoring.
    spliced  the same passes with variable-length calls in place of masks (see `spliced`). Used for scoring with
             flash attention.
    plain    every branch as a row of its own behind a copy of its prefix. For attention without masks, and for
             rows whose mask would be too large (`apart`).

All give the same log-probs (tested to 1e-5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers.cache_utils import Cache

from rlsd.agents.hf.abilities import attention_of
from rlsd.agents.hf.kv_cache import LARGEST_MASK
from rlsd.agents.hf.models import run_backbone, split_head
from rlsd.algorithms.logprobs import chunked_logprobs
from rlsd.harness.config.learner import LearnerConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.scoring.masks import additive, block_mask, collate
from rlsd.harness.scoring.sequences import BLANK, Branch, Place, Row

Head = Callable[[Tensor], Tensor]
LOW = torch.bfloat16
"""Precision of matrix products under `learner.precision: bfloat16`."""
LEAST_FILLED = 0.9
"""Share of a masked micro-batch's width that its shortest row fills."""


class ScoredTokens(NamedTuple):
    """Results of a forward pass for m sampled tokens, in the order of `places`."""

    logp: Tensor
    """(m,) float32 nats."""
    hidden: Tensor
    """(m, D) hidden states that predict them."""
    entropy: Tensor
    """(m,) float32 nats, without gradient."""


class TokenModel(nn.Module):
    """A policy as the learner calls it. DDP and FSDP2 wrap this module, so all use of weights is inside `forward`.

    Args:
        model: a causal LM.
        temperature: log-probs are of logits / temperature.
        autocast: lower precision of matrix products; None for the weights' own.
        masks: the attention takes a mask; else pieces of a row are distinguished by their positions.
        largest_mask: most entries of a mask, rows × queries × keys; what would need more is done without.
    """

    def __init__(
        self,
        model: Any,
        *,
        temperature: float,
        autocast: torch.dtype | None = None,
        masks: bool = True,
        largest_mask: int = LARGEST_MASK,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.autocast = autocast
        self.masks = masks
        self.largest_mask = largest_mask

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def sharded(self) -> bool:
        """FSDP2 has spread the weights over processes: every forward pass needs all of them."""
        return isinstance(self, FSDPModule)

    def release(self) -> None:
        """Free the weights that a sharded model gathered for a forward pass."""
        if isinstance(self, FSDPModule):
            self.reshard()

    @property
    def longest_packed(self) -> int | None:
        """Columns of the longest row of pieces, branches or whole sequences, that `packed` may run; None: any, because
        the kernel makes no mask of them."""
        return None if self.blocks or self.flash else math.isqrt(self.largest_mask)

    @property
    def flash(self) -> bool:
        """The attention takes no mask, and calls with sequences of different lengths."""
        return "flash" in attention_of(self.model)

    @property
    def blocks(self) -> bool:
        """The attention takes masks as tables of blocks (FlexAttention)."""
        return "flex" in attention_of(self.model)

    @property
    def mask_dtype(self) -> torch.dtype:
        return self.autocast or next(self.model.parameters()).dtype

    def forward(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """`work(self, *arguments)` while the wrapper holds the weights ready."""
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return work(self, *arguments)

    def backbone(self, *, cache: Cache | None = None, **kwargs: Any) -> Tensor:
        """(B, T, D) hidden states; with `cache` the pass reads and writes its keys and values."""
        if cache is not None:
            kwargs["use_cache"] = True
        return run_backbone(split_head(self.model)[0], cache=cache, **kwargs)

    def head(self, hidden: Tensor) -> Tensor:
        """(m, D) → (m, V)."""
        embedding: Any = split_head(self.model)[1]
        return embedding(hidden.to(embedding.weight.dtype))

    def scored(self, hidden: Tensor, targets: Tensor) -> ScoredTokens:
        """Log-probs of (m,) `targets` from (m, D) hidden states, and entropies."""
        logp, entropy = chunked_logprobs(hidden, self.head, targets, temperature=self.temperature, entropy="detached")
        assert entropy is not None
        return ScoredTokens(logp.float(), hidden, entropy.float())


def apart(model: TokenModel, rows: Sequence[Row]) -> list[Row]:
    """The rows as `packed` may run them: every branch of a row is a row of its own if the attention takes no mask, or
    if it would be too large."""
    if not model.masks:
        return plain(rows)
    longest = model.longest_packed
    return [
        part
        for row in rows
        for part in ([row] if longest is None or len(row.ids) <= longest or not row.branches else plain([row]))
    ]


def micro_batches(
    rows: Sequence[Row],
    limit: int,
    *,
    masks: bool,
    largest_mask: int | None = LARGEST_MASK,
    at_once: bool = False,
) -> list[list[Row]]:
    """Batches of rows of similar length, at most `limit` padded columns each; a longer row is a batch of its own.

    Args:
        masks: the attention takes a mask; without one a row with branches is a batch of its own, because kernels
            without masks distinguish its pieces by position.
        largest_mask: most entries of the mask of a batch with branches; None: none is made of the whole batch.
        at_once: prefixes and branches take one pass (`packed`). Rows with branches are apart from the others, which
            need no mask, and at most a tenth of them is padding, of which a mask makes pairs with all columns.
    """
    batches: list[list[Row]] = []
    batch: list[Row] = []
    for row in sorted(rows, key=lambda r: (bool(r.branches), -len(r.ids)) if at_once else (-r.prefix, -len(r.ids))):
        if row.branches and not masks:
            batches.append([row])
            continue
        unlike = bool(batch) and (not batch[0].branches or len(row.ids) < LEAST_FILLED * len(batch[0].ids))
        if at_once and row.branches and unlike:
            batches.append(batch)
            batch = []
        width = max(len(r.ids) for r in [*batch, row])
        columns, branched = width * (len(batch) + 1), any(r.branches for r in [*batch, row])
        masked = columns * width if branched and largest_mask is not None else 0
        if batch and (columns > limit or masked > (largest_mask or 0)):
            batches.append(batch)
            batch = []
        batch.append(row)
    return [*batches, batch] if batch else batches


def in_step(model: TokenModel, batches: list[list[Row]], ranks: Ranks) -> list[list[Row]]:
    """The micro-batches, plus dummy ones up to the largest number of any process if weights are sharded: every forward
    pass then needs all processes."""
    if not model.sharded:
        return batches
    return batches + [[BLANK]] * (ranks.most(len(batches)) - len(batches))


def too_large(batch: Sequence[Row], reason: str, settings: LearnerConfig) -> str:
    """The error message for a micro-batch that does not fit into memory."""
    widest = max(len(r.ids) for r in batch)
    return (
        f"a micro-batch of {len(batch)} rows, the longest of {widest} tokens, does not fit into memory "
        f"({' '.join(reason.split())[:120]}); lower learner.micro_batch_tokens (now {settings.micro_batch_tokens}) or "
        "agent.context, or set learner.gradient_checkpointing"
    )


def packed(model: TokenModel, rows: Sequence[Row]) -> ScoredTokens:
    """One forward pass over padded rows."""
    ids, positions, seen = collate(rows, seen=model.masks and not model.blocks)
    device = model.device
    mask = None if seen is None else additive(seen.to(device), model.mask_dtype)
    hidden = model.backbone(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        attention_mask=block_mask(rows, device) if model.blocks else mask,
        use_cache=False,
    )
    row_of, column, _ = places(rows)
    return model.scored(hidden[row_of.to(device), (column - 1).to(device)], ids[row_of, column].to(device))


def probed(model: TokenModel, ids: Sequence[int]) -> Tensor:
    """(T-1,) float32 log-probs of ids[1:] at temperature 1, whatever the model's."""
    tokens = torch.tensor([list(ids)], device=model.device)
    hidden = model.backbone(input_ids=tokens, use_cache=False)[0, :-1]
    return chunked_logprobs(hidden, model.head, tokens[0, 1:])[0].float()


def plain(rows: Sequence[Row]) -> list[Row]:
    """The same sampled tokens with every branch as a row of its own: no mask is needed."""
    out: list[Row] = []
    for row in rows:
        own = tuple(p for p in row.places if p.column < row.prefix)
        if own:
            out.append(replace(row, ids=row.ids[: row.prefix], places=own, branches=()))
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
        home = next((pieces for pieces in out if sum(len(r.ids) for r in pieces) + len(row.ids) <= limit), None)
        if home is None:
            out.append([row])
        else:
            home.append(row)
    return [_end_to_end(pieces) for pieces in out]


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


def _end_to_end(rows: Sequence[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    ids: list[int] = []
    scored: list[Place] = []
    pieces: list[Branch] = []
    for row in rows:
        start = len(ids)
        ids += row.ids
        scored += [replace(p, column=p.column + start) for p in row.places]
        pieces.append(Branch(start=start, stop=len(ids), fork=0))
    return Row(ids=tuple(ids), places=tuple(scored), branches=tuple(pieces))
