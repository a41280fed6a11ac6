"""In-process sampling with a transformers model: batched over episodes, key-value cache kept over turns.

Requests wait until every episode that has joined is waiting too ("all": bit-for-bit repeatable on CPU, whatever the
order in which environments answer), or are served as they come ("eager"). A finished row leaves the decode batch at
once. Log-probs are those of the temperature-scaled, untruncated distribution, in float32.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from rlsd.agents.core import ContextFull, EpisodeKey, FinishReason, SampleRequest, SampleResult
from rlsd.agents.models import split_head
from rlsd.agents.seeding import generator
from rlsd.agents.slots import SlotCache

PREFILL_TOKENS = 16_384
"""Padded prompt tokens fed in one forward pass, at most."""
READ_STEP = 32
"""Cache columns are read in multiples of this, so that shapes repeat."""


@dataclass(slots=True)
class _Episode:
    slot: int
    cached: list[int] = field(default_factory=list)
    """Ids whose keys stand in the slot."""


_Waiting = tuple[SampleRequest, _Episode, asyncio.Future[SampleResult]]
_Job = tuple[SampleRequest, _Episode]


class HFSampler:
    """Samples from `model` as it is now: weight updates are seen at once; call `refresh` after each.

    Args:
        model: any causal LM of transformers (with or without PEFT adapters).
        eos_ids: ids that end a response.
        temperature: > 0 samples; 0 takes the most likely token (evaluation only).
        seed: base of the per-turn generators.
        context: longest prompt + response in tokens.
        dispatch: "all" (deterministic) or "eager" (overlaps slow environments with generation).
        source: where `refresh` copies the weights from, for a `model` that is a copy; None where it is the live one.
    """

    def __init__(
        self,
        model: Any,
        *,
        eos_ids: frozenset[int],
        temperature: float = 1.0,
        seed: int = 0,
        context: int = 2048,
        dispatch: Literal["all", "eager"] = "all",
        source: Any = None,
    ) -> None:
        self.model = model
        self.live = source is None
        self._source = source
        self.eos = torch.tensor(sorted(eos_ids))
        self.temperature = temperature
        self.seed = seed
        self.context = context
        self.dispatch = dispatch
        self.version = 0
        self.decoded_tokens = 0
        """Tokens decoded since construction."""
        self.prefilled_tokens = 0
        """Prompt tokens fed since construction; what the cache held is not fed again."""
        self.busy_s = 0.0
        """Seconds spent generating since construction."""
        self._episodes: dict[EpisodeKey, _Episode] = {}
        self._free: list[int] = []
        self._slots = 0
        self._cache = SlotCache(0)
        self._waiting: list[_Waiting] = []
        self._serving = False
        self._released: list[int] = []
        """Slots given back while a batch is being generated; free when it is done."""

    def join(self, key: EpisodeKey) -> None:
        if key in self._episodes:
            raise ValueError(f"episode {key} has joined already")
        if not self._free:
            slots = max(8, 2 * self._slots)
            self._free += range(self._slots, slots)
            self._slots = slots
        self._episodes[key] = _Episode(slot=self._free.pop(0))

    def leave(self, key: EpisodeKey) -> None:
        episode = self._episodes.pop(key, None)
        if episode is None:
            return
        if self._serving:
            self._released.append(episode.slot)
        else:
            self._free.append(episode.slot)
            self._free.sort()
            self._wake()

    def refresh(self, version: int) -> None:
        """The weights have changed: what is cached is void.

        Raises:
            RuntimeError: responses are being generated.
        """
        if self._serving:
            raise RuntimeError("the weights changed while responses were generated; refresh between rollouts")
        if self._source is not None:
            copy_weights(self._source, self.model)
        self.version = version
        for episode in self._episodes.values():
            episode.cached = []

    async def sample(self, request: SampleRequest) -> SampleResult:
        episode = self._episodes[request.key]
        if len(request.prompt_ids) + request.max_new_tokens > self.context:
            raise ContextFull(
                f"prompt of {len(request.prompt_ids)} tokens + {request.max_new_tokens} new ones > {self.context}"
            )
        future: asyncio.Future[SampleResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, episode, future))
        self._wake()
        return await future

    def connect(self) -> None:
        """There is nothing to connect to."""

    def close(self) -> None:
        """Nothing is held beside memory."""

    def _wake(self) -> None:
        """Serve at the end of the present turn of the event loop, if it is time."""
        if self._waiting and not self._serving:
            asyncio.get_running_loop().call_soon(self._maybe_serve)

    def _maybe_serve(self) -> None:
        if self._serving or not self._waiting:
            return
        if self.dispatch == "all" and len(self._waiting) < len(self._episodes):
            return
        batch = sorted((w for w in self._waiting if not w[2].done()), key=lambda item: item[0].key)
        self._waiting = []
        if not batch:
            return
        self._serving = True
        jobs = [(request, episode) for request, episode, _ in batch]
        if self.dispatch == "all":
            try:
                results: list[SampleResult] | BaseException = self._generate(jobs)
            except Exception as error:
                results = error
            self._deliver(batch, results)
        else:
            task = asyncio.get_running_loop().run_in_executor(None, self._generate, jobs)
            task.add_done_callback(lambda done: self._deliver(batch, done.exception() or done.result()))

    def _deliver(self, batch: list[_Waiting], results: Any) -> None:
        self._serving = False
        self._free = sorted((*self._free, *self._released))
        self._released = []
        for i, (_, _, future) in enumerate(batch):
            if future.done():
                continue
            if isinstance(results, BaseException):
                future.set_exception(results)
            else:
                future.set_result(results[i])
        self._wake()

    def _fit(self) -> None:
        """Give the cache as many slots as episodes may hold; what is cached stays. Only the generating thread does
        this, because an episode may join while a batch is under way."""
        slots = self._slots
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
    def _generate(self, jobs: list[_Job]) -> list[SampleResult]:
        """Responses to all requests, each drawn with the generator of its own (episode, turn)."""
        started = time.perf_counter()
        self._fit()
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        order = sorted(range(len(jobs)), key=lambda i: jobs[i][1].slot)
        ordered = [jobs[i] for i in order]
        most = max(r.max_new_tokens for r, _ in ordered)
        uniforms = torch.tensor([self._uniforms(r, most) for r, _ in ordered], device=device)
        hidden = self._prefill(ordered, device)
        ids, logps, ended = self._decode(ordered, hidden, uniforms, device)
        self.model.train(was_training)
        results: list[SampleResult | None] = [None] * len(jobs)
        for row, i in enumerate(order):
            results[i] = SampleResult(
                token_ids=tuple(ids[row]),
                logps=tuple(logps[row]),
                finish=FinishReason.EOS if ended[row] else FinishReason.LENGTH,
                policy_version=self.version,
            )
        self.busy_s += time.perf_counter() - started
        return [r for r in results if r is not None]

    def _uniforms(self, request: SampleRequest, count: int) -> list[float]:
        rng = generator(self.seed, *request.key, "turn", request.turn)
        return rng.random(count).tolist()

    def _prefill(self, jobs: list[_Job], device: torch.device) -> Tensor:
        """Feed what the cache lacks; (B, D) hidden state of each prompt's last token."""
        news: list[tuple[int, list[int]]] = []
        for request, episode in jobs:
            prompt = list(request.prompt_ids)
            keep = _common_prefix(episode.cached, prompt, limit=len(prompt) - 1)
            episode.cached = prompt
            news.append((keep, prompt[keep:]))
        out: list[Tensor] = []
        start = 0
        while start < len(jobs):
            longest, stop = 0, start
            while stop < len(jobs):
                grown = max(longest, len(news[stop][1]))
                if stop > start and grown * (stop + 1 - start) > PREFILL_TOKENS:
                    break
                longest, stop = grown, stop + 1
            out.append(self._feed(jobs[start:stop], news[start:stop], longest, device))
            start = stop
        return torch.cat(out)

    def _feed(
        self,
        jobs: list[_Job],
        news: list[tuple[int, list[int]]],
        longest: int,
        device: torch.device,
    ) -> Tensor:
        ids = torch.zeros(len(news), longest, dtype=torch.long)
        positions = torch.zeros(len(news), longest, dtype=torch.long)
        for b, (start, new) in enumerate(news):
            ids[b, : len(new)] = torch.tensor(new)
            positions[b] = torch.arange(start, start + longest)
        last = torch.tensor([len(new) - 1 for _, new in news], device=device)
        rows = torch.tensor([episode.slot for _, episode in jobs], device=device)
        self.prefilled_tokens += sum(len(new) for _, new in news)
        hidden = self._forward(ids.to(device), rows, positions.to(device))
        return hidden[torch.arange(len(news), device=device), last]

    def _forward(self, ids: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """(B, Q, D) hidden states of `ids` written at `positions` of slots `rows`."""
        width = -(-(int(positions.max()) + 1) // READ_STEP) * READ_STEP
        mask = self._cache.aim(rows, positions, width)
        backbone, _ = split_head(self.model)
        return backbone(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state

    def _decode(
        self, jobs: list[_Job], hidden: Tensor, uniforms: Tensor, device: torch.device
    ) -> tuple[list[list[int]], list[list[float]], list[bool]]:
        _, head = split_head(self.model)
        eos = self.eos.to(device)
        rows = torch.tensor([episode.slot for _, episode in jobs], device=device)
        lengths = torch.tensor([len(r.prompt_ids) for r, _ in jobs], device=device)
        room = torch.tensor([r.max_new_tokens for r, _ in jobs], device=device)
        ids: list[list[int]] = [[] for _ in jobs]
        logps: list[list[float]] = [[] for _ in jobs]
        ended = [False] * len(jobs)
        live = torch.arange(len(jobs), device=device)
        for step in range(int(room.max())):
            tokens, logp = self._draw(head(hidden), uniforms[live, step])
            stop = torch.isin(tokens, eos)
            going = ~stop & (step + 1 < room[live])
            for b, token, value, end in zip(live.tolist(), tokens.tolist(), logp.tolist(), stop.tolist()):
                ids[b].append(token)
                logps[b].append(value)
                ended[b] = end
            self.decoded_tokens += len(tokens)
            if not bool(going.any()):
                break
            live, tokens = live[going], tokens[going]
            hidden = self._forward(tokens[:, None], rows[live], (lengths[live] + step)[:, None])[:, 0]
            for b, token in zip(live.tolist(), tokens.tolist()):
                jobs[b][1].cached.append(token)
        return ids, logps, ended

    def _draw(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One token a row by inverting the cumulative distribution at `uniform`; its log-prob in nats."""
        if self.temperature == 0:
            logp = torch.log_softmax(logits.float(), dim=-1)
            tokens = logp.argmax(-1)
        else:
            logp = torch.log_softmax(logits.float() / self.temperature, dim=-1)
            cumulative = logp.double().exp().cumsum(-1)
            point = uniform.double()[:, None] * cumulative[:, -1:]
            tokens = torch.searchsorted(cumulative, point, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)
        return tokens, logp.gather(-1, tokens[:, None]).squeeze(-1)


def _common_prefix(held: list[int], wanted: list[int], *, limit: int) -> int:
    """Number of leading ids both share, at most `limit`."""
    limit = min(limit, len(held))
    if held[:limit] == wanted[:limit]:
        return limit
    low = 0
    while low < limit and held[low] == wanted[low]:
        low += 1
    return low


@torch.no_grad()
def copy_weights(source: Any, target: Any) -> None:
    """Give `target` the weights of `source`, a model of the same shape."""
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        mine.copy_(theirs)
