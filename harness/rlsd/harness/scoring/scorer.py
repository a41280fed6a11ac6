"""Log-probs of sequences without gradient: the passes to make, in step with the other processes if weights are
sharded, and smaller micro-batches if one does not fit into memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd.agents.hf.out_of_memory import MemoryFull, out_of_memory
from rlsd.harness.config.learner import LearnerConfig
from rlsd.harness.distributed import Ranks, lost_peer, whole
from rlsd.harness.scoring.prefix_cache import Beginnings, beginnings, beginnings_pass, passes, shared
from rlsd.harness.scoring.sequences import BLANK, Row
from rlsd.harness.scoring.spliced import spliced
from rlsd.harness.scoring.token_model import (
    Head,
    TokenModel,
    apart,
    in_step,
    micro_batches,
    packed,
    places,
    probed,
    too_large,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Results of a pass without gradient for M tokens, on the CPU; NaN for tokens that no row contains."""

    logp: Tensor
    """(M,) float32: nats of the sampled token."""
    entropy: Tensor
    """(M,) float32: nats of the distribution it was sampled from."""
    hidden: Tensor | None
    """(M, D) hidden states that predict the tokens, on the model's device, if requested; zeros for tokens that no row
    contains."""


class Scorer:
    """Computes log-probs under the learner's weights or a teacher's.

    Args:
        model: used where a call names no other model.
        settings: micro-batch size and whether common beginnings are shared.
        ranks: the run's processes; with sharded weights all must make the same calls.
    """

    def __init__(self, model: TokenModel, settings: LearnerConfig, ranks: Ranks) -> None:
        self.model = model
        self.settings = settings
        self.ranks = ranks
        self.forwarded: Counter[str] = Counter()
        """Tokens fed to a model since construction, by kind, padding apart; of this process."""

    @torch.no_grad()
    def logprobs(
        self,
        rows: Sequence[Row],
        total: int,
        *,
        model: TokenModel | None = None,
        keep_hidden: bool = False,
        kinds: tuple[str, str] = ("student", "teacher"),
    ) -> Scores:
        """Log-probs of all sampled tokens of `rows`, in eval mode.

        Args:
            total: M, tokens of the flat batch.
            model: a teacher's; default: the learner's.
            kinds: keys in `forwarded` for the rows' own columns and for their branches.

        Raises:
            MemoryFull: a row that does not fit into memory, or with FSDP2 a micro-batch.
        """
        model = model or self.model
        model.eval()
        logp, kept = torch.full((2, total), float("nan")), list[tuple[Tensor, Tensor]]()
        share = self.settings.prefix_sharing and model.masks and not model.blocks
        splice = self.settings.prefix_sharing and model.flash and not (model.masks or model.sharded)
        rows = rows if share or splice else apart(model, rows)
        common = self._beginnings(model, rows) if share else None
        for kind, count in zip(kinds, _fed(rows, common, share=share or splice)):
            self.forwarded[kind] += count
        limit, largest = self.settings.micro_batch_tokens, model.largest_mask
        largest = None if share or splice or model.blocks else largest
        separate = model.masks or splice
        batches = in_step(model, micro_batches(rows, limit, masks=separate, largest_mask=largest), self.ranks)
        todo = list(zip(batches, self._passes(model, batches, common, share)))[::-1]
        while todo:
            batch, least = todo.pop()
            try:
                scored = model(shared, batch, common, least) if share else model(spliced if splice else packed, batch)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                todo += [(half, 0) for half in self._halves(model, batch, error)]
                continue
            if batch[0] is BLANK:
                continue
            flat = places(batch)[2]
            logp[:, flat] = torch.stack([scored.logp, scored.entropy]).cpu()
            if keep_hidden:
                kept.append((flat.to(scored.hidden.device), scored.hidden))
        model.release()  # or the next forward pass would read the weights from before the update
        return Scores(logp=logp[0], entropy=logp[1], hidden=_joined(kept, total) if kept else None)

    @torch.no_grad()
    def probe(self, ids: Sequence[int]) -> list[float]:
        """Nats of ids[1:] under the weights as they are now, at temperature 1; every process must call."""
        self.model.eval()
        with lost_peer():
            logp = self.model(probed, ids).tolist()
        self.model.release()
        return logp

    def frozen_head(self, model: TokenModel) -> Head:
        """A teacher's present output embedding, usable outside its forward pass; no gradient flows into it."""
        if not model.sharded:
            return model.head
        embedding = model.model.get_output_embeddings()
        weight = whole(embedding.weight).detach()
        bias = None if embedding.bias is None else whole(embedding.bias).detach()
        return lambda hidden: torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias)

    def _beginnings(self, model: TokenModel, rows: Sequence[Row]) -> Beginnings | None:
        starts = beginnings(rows)
        any_rank = self.ranks.most(len(starts)) if model.sharded else len(starts)
        if not starts:
            if any_rank:
                model(beginnings_pass, {0: BLANK.ids})  # the others need this process's shards
            return None
        lengths = {family: len(ids) for family, ids in starts.items()}
        self.forwarded["prefix"] += sum(lengths.values())
        return Beginnings(
            cache=model(beginnings_pass, starts), index={f: i for i, f in enumerate(starts)}, lengths=lengths
        )

    def _passes(
        self, model: TokenModel, batches: Sequence[Sequence[Row]], common: Beginnings | None, share: bool
    ) -> list[int]:
        """Passes through the layers that each batch makes on every process; each pass of a sharded model needs all."""
        if not (model.sharded and share):
            return [0] * len(batches)
        mine = [passes(batch, common, model.largest_mask) for batch in batches]
        return [max(each) for each in zip(*self.ranks.gather(mine), strict=True)]

    def _halves(self, model: TokenModel, batch: list[Row], error: BaseException) -> tuple[list[Row], list[Row]]:
        """
        Raises:
            MemoryFull: the batch is a single row, or weights are sharded, so that no process can retry alone.
        """
        if len(batch) == 1 or model.sharded:
            raise MemoryFull(f"scoring: {too_large(batch, str(error), self.settings)}") from error
        if self.ranks.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return batch[half:], batch[:half]


def _fed(rows: Sequence[Row], common: Beginnings | None, *, share: bool) -> tuple[int, int]:
    """Tokens that a pass over `rows` feeds to the model: of prefixes, and of branches; without padding."""
    prefix = sum(r.prefix for r in rows)
    branch = sum(len(r.ids) - r.prefix for r in rows)
    if share:
        branch -= sum(len(r.branches) for r in rows)  # a branch's last token predicts nothing
        prefix -= 0 if common is None else sum(common.lengths.get(r.family, 0) for r in rows)
    return prefix, branch


def _joined(kept: Sequence[tuple[Tensor, Tensor]], total: int) -> Tensor:
    """(M, D) hidden states from (flat numbers, hidden states) by micro-batch; zeros elsewhere."""
    out = kept[0][1].new_zeros(total, kept[0][1].shape[-1])
    for flat, hidden in kept:
        out[flat] = hidden
    return out
