"""Sampling from vLLM servers, and log-probs of whole sequences from them (optionally for the teacher view)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from rlsd.agents import event_loop
from rlsd.agents.seeding import derive
from rlsd.agents.types import EpisodeKey, FinishReason, SampleRequest, SampleResult, check_room
from rlsd.agents.vllm.checks import Weights
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.completions import request_body
from rlsd.agents.vllm.errors import SamplerError, ServerUnreachable, StalePolicy
from rlsd.agents.vllm.pieces import cut_at_stop, joined
from rlsd.agents.vllm.pool import BACK_OFF_S, LONGEST_PAUSE_S, ServerPool
from rlsd.envs.remote.http_client import HttpClient

SCORED_AT_ONCE = 64
"""Concurrent scoring requests per server; one if it serves adapters."""


class VLLMSampler:
    """Samples from servers that a `WeightSync` keeps at the learner's weights.

    Args:
        weights: the servers and their policy versions.
        eos_ids: ids that end a response.
        temperature: > 0 samples; 0 takes the most likely token (evaluation only).
        seed: base of the per-turn seeds.
        context: longest prompt + response in tokens.
        retries: maximum retries per request.
        reconnect_s: maximum wait for a failed server, in seconds.
        top_p: below 1 the distribution is cut (evaluation only).
        stop: strings that end a response, and belong to it.
        interrupt: `refresh` ends the responses under way, and `sample` asks for their rest with the new weights.
        stopped: whether a response's ids come to a stop string with their last token; `interrupt` needs it with `stop`.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        eos_ids: frozenset[int],
        temperature: float = 1.0,
        seed: int = 0,
        context: int = 2048,
        retries: int = 4,
        reconnect_s: float = 600.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        interrupt: bool = False,
        stopped: Callable[[Sequence[int]], bool] | None = None,
    ) -> None:
        self.live = False
        self.weights = weights
        self.eos_ids = sorted(eos_ids)
        self.temperature = temperature
        self.seed = seed
        self.context = context
        self.retries = retries
        self.reconnect_s = reconnect_s
        self.top_p = top_p
        self.stop = tuple(stop)
        self.interrupt = interrupt
        self.stopped = stopped
        self.decoded_tokens = 0
        """Tokens received since construction."""
        self._pool = ServerPool(weights, retries=retries, reconnect_s=reconnect_s)

    @property
    def repeated(self) -> int:
        """Number of retries since construction."""
        return self._pool.repeated

    @property
    def busy_s(self) -> float:
        """Seconds with at least one open request since construction."""
        return self._pool.busy_s

    @property
    def version(self) -> int:
        """The last pushed policy version."""
        return self.weights.version

    def view(self, *, temperature: float, seed: int, top_p: float = 1.0) -> VLLMSampler:
        """The same servers with other sampling (evaluation)."""
        return VLLMSampler(
            self.weights,
            eos_ids=frozenset(self.eos_ids),
            temperature=temperature,
            seed=seed,
            context=self.context,
            retries=self.retries,
            reconnect_s=self.reconnect_s,
            top_p=top_p,
            stop=self.stop,
            interrupt=self.interrupt,
            stopped=self.stopped,
        )

    def connect(self) -> None:
        """Check every server.

        Raises:
            SamplerError: a server that cannot be used, and why.
        """
        for server in self.weights.servers:
            try:
                self.weights.connect(server)
            except ServerUnreachable as error:
                raise ServerUnreachable(
                    f"no sampling server answers at {server} ({error}); start one, e.g. `rlsd serve policy FOLDER`, "
                    "or fix sampler.urls"
                ) from error

    def refresh(self, version: int) -> None:
        """Send the learner's current weights to all servers, as policy `version`; waits for a failed server.

        Episodes may be under way in another thread: requests that have begun end first, with the old weights, and the
        next ones get the new weights. With `interrupt` they end at once, and what they have is kept.

        Raises:
            SamplerError: a server that cannot load the new weights.
        """
        with self._pool.gate.closed(self.weights.abort if self.interrupt else None):
            self.weights.peers.gather(None)  # the requests of all processes have ended
            self._push(version)

    def _push(self, version: int) -> None:
        deadline = time.monotonic() + self.reconnect_s
        while True:
            try:
                return self.weights.push(version)
            except ServerUnreachable as error:
                if self.weights.peers.gather(time.monotonic() > deadline)[0]:  # the main process decides for all
                    raise self._pool.gone(error) from error
                time.sleep(min(LONGEST_PAUSE_S, 10 * BACK_OFF_S))

    def rest(self) -> None:
        """Put the servers to sleep until the next `refresh`, if they are set to.

        Raises:
            ServerMismatch: a server that cannot sleep.
        """
        self.weights.rest()

    def close(self) -> None:
        self.weights.close()

    # ------------------------------------------------------------------ sampling

    def join(self, key: EpisodeKey) -> None:
        self._pool.join(key)

    def leave(self, key: EpisodeKey) -> None:
        self._pool.leave(key)

    async def sample(self, request: SampleRequest) -> SampleResult:
        """A response, in pieces if new weights came before its end.

        Raises:
            ContextFull: prompt and response would not fit.
            SamplerError: no server returned a usable reply, or one uses other weights than it was sent.
        """
        check_room(request, self.context)
        kept: SampleResult | None = None
        pieces, empty, version = 0, 0, self.version
        while True:
            piece = await self._piece(request, kept, pieces)
            self.decoded_tokens += len(piece.token_ids)
            if piece.token_ids:
                whole = piece if kept is None else joined(kept, piece)
                kept = whole if kept is None else cut_at_stop(whole, len(kept.token_ids), self.stop, self.stopped)
                pieces, empty = pieces + 1, 0
            else:
                empty, version = 1 + (empty if version == self.version else 0), self.version
                await self._pause(empty)
            if kept is not None and kept.finish is not FinishReason.ABORT:
                return kept

    async def _pause(self, empty: int) -> None:
        """Before a request is sent again after so many in a row that were ended before their first token, while the
        weights stayed the same: one may have met an update, or several another process's."""
        if empty > self.retries + 1:
            raise SamplerError(
                f"{empty} times in a row a sampling server ended a response before its first token (finish_reason "
                "'abort'), and no new weights came: does another program send /abort_requests to it?"
            )
        if empty > 1:
            await asyncio.sleep(min(LONGEST_PAUSE_S, BACK_OFF_S * 2 ** (empty - 2)))

    async def _piece(self, request: SampleRequest, kept: SampleResult | None, number: int) -> SampleResult:
        """The response to `request` from behind what is kept of it, to its end or to the next interruption."""
        ids = () if kept is None else kept.token_ids
        seed = derive(self.seed, *request.key, "turn", request.turn, *(("piece", number) if number else ()))

        async def call(server: VLLMServer, client: HttpClient, version: int) -> SampleResult:
            body = request_body(
                [*request.prompt_ids, *ids],
                model=self.weights.model(server),
                max_new_tokens=request.max_new_tokens - len(ids),
                temperature=self.temperature,
                seed=seed,
                eos_ids=self.eos_ids,
                top_p=self.top_p,
                stop=self.stop,
            )
            return await server.complete(client, body, version=version, partial=self.interrupt)

        return await self._pool.ask(request.key, call)

    # ------------------------------------------------------------------ scoring

    def score(self, sequences: Sequence[Sequence[int]], *, version: int) -> list[list[float]]:
        """Log-probs in nats of ids[1:] of every sequence under policy `version`, from the servers' prompt log-probs.

        Blocks; not for use inside an event loop. Only servers known to have `version` are used.

        Raises:
            StalePolicy: the servers have another version.
            SamplerError: as for `sample`; or the temperature is not 1, the only one for prompt log-probs.
        """
        if self.temperature != 1.0:
            raise SamplerError(
                f"servers score prompts at temperature 1, this sampler draws at {self.temperature:g}: set "
                "sampler.temperature to 1 or sampler.score_teacher to false"
            )
        if version != self.version:
            raise StalePolicy(
                f"policy {version} is to be scored, the servers were sent version {self.version}: refresh them first"
            )
        return event_loop.run(self._score(sequences))

    async def _score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        gates: dict[str, asyncio.Semaphore] = {}

        async def one(number: int, ids: Sequence[int]) -> list[float]:
            async def call(server: VLLMServer, client: HttpClient, _: int) -> list[float]:
                # vLLM 0.32's CPU build with --enable-lora crashes on scoring two prompts in one batch
                alone = server.offers("/v1/load_lora_adapter")
                async with gates.setdefault(server.url, asyncio.Semaphore(1 if alone else SCORED_AT_ONCE)):
                    return await server.score(client, self.weights.model(server), ids)

            self._pool.join(("scored", number))
            try:
                return await self._pool.ask(("scored", number), call)
            finally:
                self._pool.leave(("scored", number))

        return await asyncio.gather(*(one(i, ids) for i, ids in enumerate(sequences)))
