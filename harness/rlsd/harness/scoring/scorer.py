"""Log-probs of rows without gradient: which passes are made, in step with other processes where weights are sharded,
and what happens when one does not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from rlsd.agents.hf.out_of_memory import MemoryFull, out_of_memory
from rlsd.harness.learner.step import too_large
from rlsd.harness.scoring.prefix_cache import Prefixes, beginnings, passes, prefix_pass, shared
from rlsd.harness.scoring.sequences import BLANK, Row
from rlsd.harness.scoring.token_model import TokenModel, packed, places, plain

if TYPE_CHECKING:
    from rlsd.harness.learner.learner import Learner


def log_probs(
    learner: Learner, tokens: TokenModel, rows: Sequence[Row], total: int, *, keep_hidden: bool, kinds: tuple[str, str]
) -> tuple[Tensor, Tensor | None]:
    """What `Learner.logprobs` promises, with the weights of `tokens`."""
    out = torch.full((total,), float("nan"))
    kept: list[tuple[Tensor, Tensor]] = []
    tokens.eval()
    rows = rows if learner.masks else plain(rows)
    share = learner.settings.share and learner.masks
    prefixes = _prefixes(learner, tokens, rows) if share else None
    for kind, count in zip(kinds, _fed(rows, prefixes, share=share)):
        learner.forwarded[kind] += count
    batches = learner.in_step(list(learner.micro_batches(rows)))
    todo = list(zip(batches, _passes(learner, batches, share)))[::-1]
    while todo:
        batch, least = todo.pop()
        try:
            logp, hidden = tokens(shared, batch, prefixes, least) if share else tokens(packed, batch)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            todo += [(half, 0) for half in _halves(learner, batch, error)]
            continue
        if batch[0] is BLANK:
            continue
        flat = places(batch)[2]
        out[flat] = logp.cpu()
        if keep_hidden:
            kept.append((flat.to(hidden.device), hidden))
    if isinstance(tokens, FSDPModule):
        tokens.reshard()  # or the next forward pass would read the weights from before the update
    if not kept:
        return out, None
    whole = kept[0][1].new_zeros(total, kept[0][1].shape[-1])
    for flat, hidden in kept:
        whole[flat] = hidden
    return out, whole


def _prefixes(learner: Learner, tokens: TokenModel, rows: Sequence[Row]) -> Prefixes | None:
    found = beginnings(rows)
    somebody = learner.ranks.most(len(found)) if learner.wrapper == "fsdp2" else len(found)
    if not found:
        if somebody:
            tokens(prefix_pass, {0: BLANK.ids})  # the others need this process's shards
        return None
    lengths = {family: len(ids) for family, ids in found.items()}
    learner.forwarded["prefix"] += sum(lengths.values())
    return Prefixes(cache=tokens(prefix_pass, found), index={f: i for i, f in enumerate(found)}, lengths=lengths)


def _fed(rows: Sequence[Row], prefixes: Prefixes | None, *, share: bool) -> tuple[int, int]:
    """Tokens of trunks and of branches that a pass over `rows` feeds to the model, padding apart."""
    trunk = sum(r.trunk for r in rows)
    branch = sum(len(r.ids) - r.trunk for r in rows)
    if share:
        branch -= sum(len(r.branches) for r in rows)  # a branch's last token predicts nothing
        trunk -= 0 if prefixes is None else sum(prefixes.lengths.get(r.family, 0) for r in rows)
    return trunk, branch


def _passes(learner: Learner, batches: Sequence[Sequence[Row]], share: bool) -> list[int]:
    """Passes through the layers that each batch makes on every process; each pass of a sharded model needs all."""
    mine = [passes(batch) if share else 1 for batch in batches]
    if learner.wrapper != "fsdp2" or not share:
        return mine
    return [max(each) for each in zip(*learner.ranks.gather(mine), strict=True)]


def _halves(learner: Learner, batch: list[Row], error: BaseException) -> tuple[list[Row], list[Row]]:
    """
    Raises:
        MemoryFull: there is nothing to halve, or the other processes could not follow.
    """
    if len(batch) == 1 or learner.wrapper == "fsdp2":
        raise MemoryFull(f"scoring: {too_large(batch, str(error), learner.settings)}") from error
    if learner.device.type == "cuda":
        torch.cuda.empty_cache()
    half = len(batch) // 2
    return batch[half:], batch[:half]
