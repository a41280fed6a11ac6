"""The passes of a run at their largest, on tensors without values: peak bytes and floating-point operations.

The code is that of the run: rows, masks, caches, recomputation and chunks of logits are what they will be. What is
counted is what tensors hold; an allocator keeps more, by a few per cent, and kernels have scratch space of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlsd.agents.hf.generator import PREFILL_TOKENS, Generator
from rlsd.agents.hf.kv_cache import SlotCache, pieces
from rlsd.agents.hf.models import run_backbone, split_head
from rlsd.harness.config.learner import LearnerConfig
from rlsd.harness.learner import parallel
from rlsd.harness.plan.allocated import Allocated
from rlsd.harness.plan.episodes import Longest
from rlsd.harness.plan.operations import Operations
from rlsd.harness.scoring.prefix_cache import shared
from rlsd.harness.scoring.sequences import Row
from rlsd.harness.scoring.token_model import LOW, TokenModel, apart, micro_batches, packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one micro-batch needs beside what lives between iterations."""

    peak: int
    """Bytes."""
    flops: float
    """Floating-point operations, recomputation included; attention counts every pair of columns."""
    columns: int
    """Tokens fed, padding and hindsight included."""
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What the sampler in this process needs."""

    cache: int
    """Bytes of keys and values; they live between iterations."""
    cache_a_token: int
    """Bytes of keys and values of one token."""
    extra: int
    """Bytes beside the cache at the peak."""
    prefill: Pass
    """Prompts of as many episodes as are fed at once."""
    step: Pass
    """One token of every episode at its longest."""


class Passes:
    """The largest passes of a run.

    Args:
        model: `shapes.without_values`, or a real one, whose passes then really run.
        settings: micro-batch size, precision, recomputation.
        episode: the longest one.
        temperature: the sampler's.
        masks: a mask may separate the views in one row.
    """

    def __init__(
        self, model: Any, settings: LearnerConfig, episode: Longest, *, temperature: float, masks: bool
    ) -> None:
        self.model = model
        self.settings = settings
        self.episode = episode
        low = LOW if settings.precision == "bfloat16" and settings.parallel != "fsdp2" else None
        self.tokens = TokenModel(model, temperature=temperature, autocast=low, masks=masks)

    def update(self, *, imitates: bool = False) -> Pass:
        """Forward and backward of one micro-batch, with the gradients that earlier ones left.

        Args:
            imitates: the teacher view is trained too (warm starts).
        """
        row = self.episode.both() if imitates else self.episode.student()
        rows = self._rows(row, share=False)
        layers = parallel.recompute(self.model) if self.settings.gradient_checkpointing else []
        for layer in layers:
            layer.training = True

        def work() -> None:
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)
            self.tokens(packed, rows).logp.sum().backward()

        found = self._count(work, columns=_columns(rows), rows=len(rows))
        for layer in layers:
            layer.training = False
        self.model.zero_grad(set_to_none=True)
        return found

    def scoring(self, *, hindsight: bool) -> Pass:
        """Log-probs of one micro-batch without gradient.

        Args:
            hindsight: the teacher view too, on the prefixes of the student's.
        """
        row = self.episode.both() if hindsight else self.episode.student()
        share = self.settings.prefix_sharing and self.tokens.masks
        rows = self._rows(row, share=share)

        def work() -> None:
            self.tokens(shared, rows, None) if share else self.tokens(packed, rows)

        with torch.no_grad():
            return self._count(work, columns=_columns(rows), rows=len(rows))

    def sampling(self, slots: int) -> Sampling:
        """The longest prompts of `slots` episodes, and their last token: the cache is as large as it gets."""
        length, prompt = self.episode.row, self.episode.row - self.episode.response
        draw = Generator(self.model, eos_ids=frozenset(), temperature=1.0, seed=0).draw
        head, cache = split_head(self.model)[1], SlotCache(slots)
        at_once = min(slots, max(1, PREFILL_TOKENS // prompt))

        def prefill() -> None:
            self._sampled(cache, range(at_once), torch.arange(prompt).expand(at_once, -1), prompt)

        def step() -> None:
            hidden = self._sampled(cache, range(slots), torch.full((slots, 1), length - 1), length)
            draw(head(hidden[:, 0]), torch.zeros(slots))

        with torch.no_grad():
            first = self._count(prefill, columns=at_once * prompt, rows=at_once)
            last = self._count(step, columns=slots, rows=slots, cache=cache)
        return Sampling(
            cache=cache.nbytes,
            cache_a_token=cache.nbytes // (slots * cache.tensors[0].shape[2]),
            extra=max(first.peak, last.peak) - cache.nbytes,
            prefill=first,
            step=last,
        )

    def _sampled(self, cache: SlotCache, rows: Sequence[int], columns: Tensor, width: int) -> Tensor:
        out: list[Tensor] = []
        for first, stop in pieces(columns.shape[1], width, len(rows), self.tokens.largest_mask):
            mine = columns[:, first:stop]
            mask = cache.aim(rows, mine, width, self.tokens.mask_dtype)
            out.append(
                run_backbone(
                    split_head(self.model)[0],
                    input_ids=torch.zeros_like(mine),
                    attention_mask=mask,
                    position_ids=mine,
                    use_cache=True,
                    cache=cache,
                )
            )
        return out[0] if len(out) == 1 else torch.cat(out, dim=1)

    def _rows(self, row: Row, *, share: bool) -> list[Row]:
        """The largest micro-batch of equal rows."""
        if not share:
            row = max(apart(self.tokens, [row]), key=lambda piece: len(piece.ids))
        limit = self.settings.micro_batch_tokens
        rows = [row] * max(1, limit // len(row.ids))
        largest = None if share else self.tokens.largest_mask
        return micro_batches(rows, limit, masks=self.tokens.masks, largest_mask=largest)[0]

    def _count(self, work: Callable[[], Any], *, columns: int, rows: int, cache: SlotCache | None = None) -> Pass:
        """
        Args:
            cache: exists already, and counts.
        """
        operations, count = Operations(), Allocated()
        count.ignore([*self.model.parameters(), *self.model.buffers()])
        count.add(cache.tensors if cache else ())
        with operations, count:
            work()
        return Pass(peak=count.peak, flops=float(operations.total), columns=columns, rows=rows)


def _columns(rows: Sequence[Row]) -> int:
    return sum(len(r.ids) for r in rows)
