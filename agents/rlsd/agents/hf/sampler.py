"""In-process sampling with a transformers model: batched over episodes, with a key-value cache kept between turns.

Requests wait until every joined episode is waiting ("all": bit-for-bit repeatable on CPU, independent of the order in
which environments respond), or are served as they arrive ("eager"). Log-probs are those of the
temperature-scaled, untruncated distribution, in float32.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from rlsd.agents.hf.generator import CachedEpisode, Generator, Job
from rlsd.agents.hf.out_of_memory import MemoryFull, out_of_memory
from rlsd.agents.types import EpisodeKey, SampleRequest, SampleResult, check_room

_Waiting = tuple[SampleRequest, CachedEpisode, asyncio.Future[SampleResult]]


class HFSampler:
    """Samples from the current weights of `model`; call `refresh` after each update.

    Args:
        model: any causal LM of transformers (with or without PEFT adapters).
        eos_ids: ids that end a response.
        temperature: > 0 samples; 0 takes the most likely token (evaluation only).
        seed: base of the per-turn generators.
        context: longest prompt + response in tokens.
        dispatch: "all" (deterministic) or "eager" (overlaps slow environments with generation).
        top_p, stopped: see `Generator`.
        source: model from which `refresh` copies the weights, if `model` is a copy; None if `model` is the live one.
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
        top_p: float = 1.0,
        stopped: Callable[[Sequence[int]], bool] | None = None,
        source: Any = None,
    ) -> None:
        self.model = model
        self.live = source is None
        self._source = source
        self._generator = Generator(
            model, eos_ids=eos_ids, temperature=temperature, seed=seed, top_p=top_p, stopped=stopped
        )
        self.context = context
        self.dispatch = dispatch
        self.version = 0
        self._episodes: dict[EpisodeKey, CachedEpisode] = {}
        self._free: list[int] = []
        self._slots = 0
        self._waiting: list[_Waiting] = []
        self._serving = False
        self._weights = threading.Lock()
        """Locked while a copy's weights are read or changed."""
        self._changing = threading.Lock()
        """Locked by a change of weights that waits for a batch: no further one begins before it."""
        self._released: list[int] = []
        """Slots released during a batch; free when it is done."""

    @property
    def decoded_tokens(self) -> int:
        """Tokens decoded since construction."""
        return self._generator.decoded_tokens

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens fed since construction; cached ones are not fed again."""
        return self._generator.prefilled_tokens

    @property
    def passes(self) -> int:
        """Forward passes since construction."""
        return self._generator.passes

    @property
    def busy_s(self) -> float:
        """Seconds spent generating since construction."""
        return self._generator.busy_s

    def join(self, key: EpisodeKey) -> None:
        if key in self._episodes:
            raise ValueError(f"episode {key} has joined already")
        if not self._free:
            slots = max(8, 2 * self._slots)
            self._free += range(self._slots, slots)
            self._slots = slots
        self._episodes[key] = CachedEpisode(slot=self._free.pop(0))

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
        """Invalidate the cache after a change of weights. A copy takes them between two batches: episodes may be under
        way in another thread, and their next turns get the new ones.

        Raises:
            RuntimeError: the live model's changed during generation.
        """
        if self._serving and self.live:
            raise RuntimeError("the weights changed while responses were generated; refresh between rollouts")
        with self._changing, self._weights:
            if self._source is not None:
                copy_weights(self._source, self.model)
            self.version = version
            for episode in list(self._episodes.values()):
                episode.cached = []

    async def sample(self, request: SampleRequest) -> SampleResult:
        episode = self._episodes[request.key]
        check_room(request, self.context)
        future: asyncio.Future[SampleResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, episode, future))
        self._wake()
        return await future

    def connect(self) -> None:
        """Nothing to do."""

    def rest(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def _wake(self) -> None:
        """Schedule `_maybe_serve` for the next turn of the event loop."""
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
        self._pack()
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

    def _pack(self) -> None:
        """Move episodes from the highest slots into free ones, so that active slots are contiguous."""
        active = sorted(self._episodes.values(), key=lambda episode: episode.slot)
        taken = {episode.slot for episode in active}
        for hole, episode in zip([s for s in range(len(active)) if s not in taken], reversed(active)):
            self._generator.move(episode, hole)
        self._free = list(range(len(active), self._slots))

    def _generate(self, jobs: list[Job]) -> list[SampleResult]:
        """
        Raises:
            MemoryFull: the keys and values of all episodes do not fit.
        """
        try:
            with self._changing:
                pass
            with self._weights:
                return self._generator.generate(jobs, slots=self._slots, version=self.version)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            longest = max(len(request.prompt_ids) + request.max_new_tokens for request, _ in jobs)
            raise MemoryFull(
                f"sampling: {self._slots} slots with {len(jobs)} requests of at most {longest} tokens do not fit into "
                f"memory ({' '.join(str(error).split())[:120]}); lower rollout.max_concurrent or agent.context"
            ) from error

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


@torch.no_grad()
def copy_weights(source: Any, target: Any) -> None:
    """Copy the weights of `source` into `target`, a model of the same shape."""
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        mine.copy_(theirs)
