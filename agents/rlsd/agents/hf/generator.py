"""Generation with a transformers model: prompts are fed after their cached prefixes, then all rows decode together.

Log-probs are those of the temperature-scaled distribution, untruncated unless `top_p` cuts it, in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlsd.agents.hf.kv_cache import LARGEST_MASK, SlotCache, pieces
from rlsd.agents.hf.models import run_backbone, split_head
from rlsd.agents.hf.prefill import batches, common_prefix, least_saving, passes, twins
from rlsd.agents.seeding import generator
from rlsd.agents.types import FinishReason, SampleRequest, SampleResult

PREFILL_TOKENS = 16_384
"""Maximum padded prompt tokens per forward pass."""
ENDED_SHARE = 0.4
"""Finished rows stay in the batch up to this share of it, so that the cache can be read in place."""
READ_STEP = 32
"""Cache columns are read in multiples of this, to limit the number of shapes."""


@dataclass(slots=True)
class CachedEpisode:
    """An episode's place in the cache."""

    slot: int
    cached: list[int] = field(default_factory=list)
    """Ids whose keys are in the slot."""


Job = tuple[SampleRequest, CachedEpisode]


class Generator:
    """Generates one batch at a time.

    Args:
        model: any causal LM of transformers (with or without PEFT adapters).
        eos_ids: ids that end a response.
        temperature: > 0 samples; 0 takes the most likely token.
        seed: base of the per-turn random numbers.
        top_p: below 1 only the likeliest tokens that together have this probability are drawn (evaluation only).
        stopped: whether a response's ids come to a stop string; None: there is none.
        largest_mask: most entries of an attention mask; longer prompts are fed in pieces.
    """

    def __init__(
        self,
        model: Any,
        *,
        eos_ids: frozenset[int],
        temperature: float,
        seed: int,
        top_p: float = 1.0,
        stopped: Callable[[Sequence[int]], bool] | None = None,
        largest_mask: int = LARGEST_MASK,
    ) -> None:
        self.model = model
        self.eos = eos_ids
        self.temperature = temperature
        self.seed = seed
        self.top_p = top_p
        self.stopped = stopped
        self.largest_mask = largest_mask
        self.decoded_tokens = 0
        self.prefilled_tokens = 0
        self.passes = 0
        """Forward passes since construction."""
        self.busy_s = 0.0
        self._cache = SlotCache(0)

    def _fit(self, slots: int) -> None:
        """Resize the cache, keeping its content. Only the generating thread does this, because an episode may join
        during a batch."""
        if self._cache.slots == slots:
            return
        cache = SlotCache(slots)
        for name in ("_keys", "_values"):
            for old in getattr(self._cache, name):
                new = old.new_zeros(slots, *old.shape[1:])
                new[: self._cache.slots] = old
                getattr(cache, name).append(new)
        self._cache = cache

    @torch.inference_mode()
    def move(self, episode: CachedEpisode, slot: int) -> None:
        """Move an episode to another, free slot; not during a batch."""
        if episode.cached:
            self._cache.move(episode.slot, slot)
        episode.slot = slot

    @torch.inference_mode()
    def generate(self, jobs: list[Job], *, slots: int, version: int) -> list[SampleResult]:
        """Responses to all requests, each sampled with random numbers seeded by its (episode, turn).

        Args:
            slots: number of episodes in the cache.
            version: policy version of the results.
        """
        started = time.perf_counter()
        self._fit(slots)
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        order = sorted(range(len(jobs)), key=lambda i: jobs[i][1].slot)
        ordered = [jobs[i] for i in order]
        most = max(r.max_new_tokens for r, _ in ordered)
        uniforms = torch.tensor([self._uniforms(r, most) for r, _ in ordered], device=device)
        with _current(device):
            hidden = self._prefill(ordered, device)
            ids, logps, ended = self._decode(ordered, hidden, uniforms, device)
        self.model.train(was_training)
        results: list[SampleResult | None] = [None] * len(jobs)
        for row, i in enumerate(order):
            results[i] = SampleResult(
                token_ids=tuple(ids[row]),
                logps=tuple(logps[row]),
                finish=ended[row] or FinishReason.LENGTH,
                policy_version=version,
            )
        self.busy_s += time.perf_counter() - started
        return [r for r in results if r is not None]

    def _uniforms(self, request: SampleRequest, count: int) -> list[float]:
        rng = generator(self.seed, *request.key, "turn", request.turn)
        return rng.random(count).tolist()

    def _prefill(self, jobs: list[Job], device: torch.device) -> Tensor:
        """Feed the uncached tokens; returns the (B, D) hidden states of the prompts' last tokens."""
        starts: list[int] = []
        for request, episode in jobs:
            prompt = list(request.prompt_ids)
            starts.append(common_prefix(episode.cached, prompt[:-1]))
            episode.cached = prompt
        lengths = [len(request.prompt_ids) - start for (request, _), start in zip(jobs, starts)]
        source = twins([request.prompt_ids for request, _ in jobs], lengths)
        fed = [b for b in range(len(jobs)) if source[b] == b]
        out: list[Tensor] = []
        for first, stop in batches([lengths[b] for b in fed], PREFILL_TOKENS):
            chosen = fed[first:stop]
            out.append(self._feed([jobs[b] for b in chosen], [starts[b] for b in chosen], device))
        hidden = torch.cat(out)
        if len(fed) == len(jobs):
            return hidden
        copied = [b for b in range(len(jobs)) if source[b] != b]
        self._cache.copy(
            [jobs[source[b]][1].slot for b in copied],
            [jobs[b][1].slot for b in copied],
            min(starts[b] for b in copied),
            max(starts[b] + lengths[b] for b in copied),
        )
        place = {b: i for i, b in enumerate(fed)}
        return hidden[torch.tensor([place[b] for b in source], device=device)]

    def _feed(self, jobs: list[Job], starts: list[int], device: torch.device) -> Tensor:
        """Feed the prompts from `starts` on; returns the (B, D) hidden states of their last tokens."""
        news = [request.prompt_ids[start:] for (request, _), start in zip(jobs, starts)]
        longest = max(map(len, news))
        ids = torch.zeros(len(news), longest, dtype=torch.long)
        columns = torch.zeros(len(news), longest, dtype=torch.long)
        for b, (start, new) in enumerate(zip(starts, news)):
            ids[b, : len(new)] = torch.tensor(new)
            columns[b] = torch.arange(start, start + longest)
        ends = torch.tensor([start + len(new) - 1 for start, new in zip(starts, news)])
        ids, columns, ends = ids.to(device), columns.to(device), ends.to(device)
        self.prefilled_tokens += sum(map(len, news))
        width = max(starts) + longest
        first, order, found = 0, list[int](), list[Tensor]()
        for stop in passes([len(new) for new in news], least_saving(device.type)):
            rows = [b for b, new in enumerate(news) if len(new) > first]
            chosen = torch.tensor(rows, device=device)
            hidden = self._forward(
                ids[chosen, first:stop],
                [jobs[b][1].slot for b in rows],
                columns[chosen, first:stop],
                width,
                ends[chosen],
            )
            done = [(i, len(news[b]) - 1 - first) for i, b in enumerate(rows) if len(news[b]) <= stop]
            if done:
                order += [rows[i] for i, _ in done]
                found.append(hidden[torch.tensor(done, device=device).unbind(1)])
            first = stop
        place = {b: i for i, b in enumerate(order)}
        return torch.cat(found)[torch.tensor([place[b] for b in range(len(jobs))], device=device)]

    def _forward(
        self, ids: Tensor, rows: Sequence[int], columns: Tensor, width: int, ends: Tensor | None = None
    ) -> Tensor:
        """(B, Q, D) hidden states of `ids` in slots `rows`, written at `columns`, all below `width`. `ends` are
        the (B,) last positions of rows with padding, which repeats them: there may be none beyond."""
        width = -(-width // READ_STEP) * READ_STEP
        backbone, _ = split_head(self.model)
        positions = columns if ends is None else columns.minimum(ends[:, None])
        dtype, out = next(self.model.parameters()).dtype, list[Tensor]()
        for first, stop in pieces(ids.shape[1], width, len(rows), self.largest_mask):
            self.passes += 1
            mask = self._cache.aim(rows, columns[:, first:stop], width, dtype)
            out.append(
                run_backbone(
                    backbone,
                    input_ids=ids[:, first:stop],
                    attention_mask=mask,
                    position_ids=positions[:, first:stop],
                    use_cache=True,
                    cache=self._cache,
                )
            )
        return out[0] if len(out) == 1 else torch.cat(out, dim=1)

    def _decode(
        self, jobs: list[Job], hidden: Tensor, uniforms: Tensor, device: torch.device
    ) -> tuple[list[list[int]], list[list[float]], list[FinishReason | None]]:
        """The host decides which rows continue, so each step waits for the device only once."""
        _, head = split_head(self.model)
        rows = [episode.slot for _, episode in jobs]
        ids: list[list[int]] = [[] for _ in jobs]
        logps: list[list[float]] = [[] for _ in jobs]
        ended: list[FinishReason | None] = [None] * len(jobs)
        live = fed = list(range(len(jobs)))  # fed: also finished rows that keep their place
        neighbours = rows[-1] - rows[0] + 1 == len(rows)
        drawn = uniforms  # of the live rows
        for step in range(max(r.max_new_tokens for r, _ in jobs)):
            tokens, logp = self.draw(head(hidden), drawn[:, step])
            self.decoded_tokens += len(live)
            for b, token, value in zip(live, *torch.stack([tokens.double(), logp.double()]).tolist()):
                ids[b].append(int(token))
                logps[b].append(value)
                if int(token) in self.eos:
                    ended[b] = FinishReason.EOS
                elif self.stopped is not None and self.stopped(ids[b]):
                    ended[b] = FinishReason.STOP
            live = [b for b in live if not ended[b] and step + 1 < jobs[b][0].max_new_tokens]
            if not live:
                break
            if not neighbours or len(live) < (1 - ENDED_SHARE) * len(fed):
                fed = live
            # A finished row writes behind its last token, where no query looks.
            places = [len(jobs[b][0].prompt_ids) + len(ids[b]) - 1 for b in fed]
            inputs = torch.tensor([[ids[b][-1] for b in fed], places], device=device)
            place = {b: i for i, b in enumerate(fed)}
            kept = torch.tensor([[place[b] for b in live], live], device=device)
            made = self._forward(inputs[0, :, None], [rows[b] for b in fed], inputs[1, :, None], max(places) + 1)
            hidden, drawn = made[kept[0], 0], uniforms[kept[1]]
            for b in live:
                jobs[b][1].cached.append(ids[b][-1])
        return ids, logps, ended

    def draw(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One token per row by inverting the cumulative distribution at `uniform`; returns tokens and log-probs in
        nats."""
        if self.temperature == 0:
            logp = torch.log_softmax(logits.float(), dim=-1)
            tokens = logp.argmax(-1)
        else:
            logp = torch.log_softmax(logits.float() / self.temperature, dim=-1)
            if self.top_p < 1:
                logp = nucleus(logp, self.top_p)
            cumulative = logp.double().exp().cumsum(-1)
            point = uniform.double()[:, None] * cumulative[:, -1:]
            tokens = torch.searchsorted(cumulative, point, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)
        return tokens, logp.gather(-1, tokens[:, None]).squeeze(-1)


def nucleus(logp: Tensor, top_p: float) -> Tensor:
    """(B, V) log-probs of the distribution cut to the likeliest tokens that together have probability `top_p`, and
    scaled up again; the others have -inf."""
    ordered, places = logp.sort(-1, descending=True)
    probability = ordered.double().exp()
    kept = probability.cumsum(-1) - probability < top_p  # the first one always
    mask = torch.zeros_like(kept).scatter(-1, places, kept)
    return torch.log_softmax(logp.masked_fill(~mask, -torch.inf), dim=-1)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Make the device current: some kernels (liger's) run on the current GPU, which in a new thread is the first
    one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
