"""In-process sampling with a transformers model: batched over episodes, key-value cache kept over turns.

Requests wait until every episode that has joined is waiting too ("all": bit-for-bit repeatable on CPU, whatever the
order in which environments answer), or are served as they come ("eager"). A finished row leaves the decode batch at
once. Log-probs are those of the temperature-scaled, untruncated distribution, in float32.
"""

from __future__ import annotations

import asyncio
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


class HFSampler:
    """Samples from `model` as it is now: weight updates are seen at once; call `refresh` after each.

    Args:
        model: any causal LM of transformers (with or without PEFT adapters).
        eos_ids: ids that end a response.
        temperature: > 0 samples; 0 takes the most likely token (evaluation only).
        seed: base of the per-turn generators.
        context: longest prompt + response in tokens.
        dispatch: "all" (deterministic) or "eager" (overlaps slow environments with generation).
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
    ) -> None:
        self.model = model
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
        self._episodes: dict[EpisodeKey, _Episode] = {}
        self._free: list[int] = []
        self._slots = 0
        self._cache = SlotCache(0)
        self._waiting: list[tuple[SampleRequest, asyncio.Future[SampleResult]]] = []
        self._serving = False

    def join(self, key: EpisodeKey) -> None:
        if key in self._episodes:
            raise ValueError(f"episode {key} has joined already")
        if not self._free:
            self._grow()
        self._episodes[key] = _Episode(slot=self._free.pop(0))

    def leave(self, key: EpisodeKey) -> None:
        episode = self._episodes.pop(key, None)
        if episode is not None:
            self._free.append(episode.slot)
            self._free.sort()
            self._wake()

    def refresh(self, version: int) -> None:
        """The weights have changed: what is cached is void."""
        self.version = version
        for episode in self._episodes.values():
            episode.cached = []

    async def sample(self, request: SampleRequest) -> SampleResult:
        if len(request.prompt_ids) + request.max_new_tokens > self.context:
            raise ContextFull(
                f"prompt of {len(request.prompt_ids)} tokens + {request.max_new_tokens} new ones > {self.context}"
            )
        future: asyncio.Future[SampleResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._wake()
        return await future

    def _wake(self) -> None:
        """Serve at the end of the present turn of the event loop, if it is time."""
        if self._waiting and not self._serving:
            asyncio.get_running_loop().call_soon(self._maybe_serve)

    def _maybe_serve(self) -> None:
        if self._serving or not self._waiting:
            return
        if self.dispatch == "all" and len(self._waiting) < len(self._episodes):
            return
        batch = sorted(self._waiting, key=lambda item: item[0].key)
        self._waiting = []
        self._serving = True
        if self.dispatch == "all":
            try:
                results: list[SampleResult] | BaseException = self._generate([r for r, _ in batch])
            except Exception as error:
                results = error
            self._deliver(batch, results)
        else:
            task = asyncio.get_running_loop().run_in_executor(None, self._generate, [r for r, _ in batch])
            task.add_done_callback(lambda done: self._deliver(batch, done.exception() or done.result()))

    def _deliver(self, batch: list[tuple[SampleRequest, asyncio.Future[SampleResult]]], results: Any) -> None:
        self._serving = False
        for i, (_, future) in enumerate(batch):
            if future.done():
                continue
            if isinstance(results, BaseException):
                future.set_exception(results)
            else:
                future.set_result(results[i])
        self._wake()

    def _grow(self) -> None:
        """Double the number of slots; what is cached stays."""
        slots = max(8, 2 * self._slots)
        cache = SlotCache(slots)
        for name in ("_keys", "_values"):
            for old in getattr(self._cache, name):
                new = old.new_zeros(slots, *old.shape[1:])
                new[: self._slots] = old
                getattr(cache, name).append(new)
        self._free += range(self._slots, slots)
        self._cache, self._slots = cache, slots

    @torch.inference_mode()
    def _generate(self, requests: list[SampleRequest]) -> list[SampleResult]:
        """Responses to all `requests`, each drawn with the generator of its own (episode, turn)."""
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        order = sorted(range(len(requests)), key=lambda i: self._episodes[requests[i].key].slot)
        ordered = [requests[i] for i in order]
        most = max(r.max_new_tokens for r in ordered)
        uniforms = torch.tensor([self._uniforms(r, most) for r in ordered], device=device)
        hidden = self._prefill(ordered, device)
        ids, logps, ended = self._decode(ordered, hidden, uniforms, device)
        self.model.train(was_training)
        results: list[SampleResult | None] = [None] * len(requests)
        for row, i in enumerate(order):
            results[i] = SampleResult(
                token_ids=tuple(ids[row]),
                logps=tuple(logps[row]),
                finish=FinishReason.EOS if ended[row] else FinishReason.LENGTH,
                policy_version=self.version,
            )
        return [r for r in results if r is not None]

    def _uniforms(self, request: SampleRequest, count: int) -> list[float]:
        rng = generator(self.seed, *request.key, "turn", request.turn)
        return rng.random(count).tolist()

    def _prefill(self, requests: list[SampleRequest], device: torch.device) -> Tensor:
        """Feed what the cache lacks; (B, D) hidden state of each prompt's last token."""
        news: list[tuple[int, list[int]]] = []
        for request in requests:
            episode = self._episodes[request.key]
            prompt = list(request.prompt_ids)
            keep = _common_prefix(episode.cached, prompt, limit=len(prompt) - 1)
            episode.cached = prompt
            news.append((keep, prompt[keep:]))
        out: list[Tensor] = []
        start = 0
        while start < len(requests):
            longest, stop = 0, start
            while stop < len(requests):
                grown = max(longest, len(news[stop][1]))
                if stop > start and grown * (stop + 1 - start) > PREFILL_TOKENS:
                    break
                longest, stop = grown, stop + 1
            out.append(self._feed(requests[start:stop], news[start:stop], longest, device))
            start = stop
        return torch.cat(out)

    def _feed(
        self,
        requests: list[SampleRequest],
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
        rows = torch.tensor([self._episodes[r.key].slot for r in requests], device=device)
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
        self, requests: list[SampleRequest], hidden: Tensor, uniforms: Tensor, device: torch.device
    ) -> tuple[list[list[int]], list[list[float]], list[bool]]:
        _, head = split_head(self.model)
        eos = self.eos.to(device)
        rows = torch.tensor([self._episodes[r.key].slot for r in requests], device=device)
        lengths = torch.tensor([len(r.prompt_ids) for r in requests], device=device)
        room = torch.tensor([r.max_new_tokens for r in requests], device=device)
        ids: list[list[int]] = [[] for _ in requests]
        logps: list[list[float]] = [[] for _ in requests]
        ended = [False] * len(requests)
        live = torch.arange(len(requests), device=device)
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
                self._episodes[requests[b].key].cached.append(token)
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
