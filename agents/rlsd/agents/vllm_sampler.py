"""Sampling from vLLM servers: least loaded first, an episode stays where its prefix is cached, failures are retried.

A server that fails is left alone until it answers again with the present weights: after a restart it is sent them
anew, and requests wait (or go to the other servers) meanwhile, so no episode is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from rlsd.agents.core import ContextFull, EpisodeKey, SampleRequest, SampleResult
from rlsd.agents.seeding import derive
from rlsd.agents.vllm_client import (
    CONNECTIONS,
    SamplerError,
    ServerMismatch,
    ServerReply,
    ServerUnreachable,
    StalePolicy,
    VLLMServer,
    request_body,
)
from rlsd.agents.vllm_weights import Weights

BACK_OFF_S = 0.1
"""Pause before the first repetition; doubled each time."""
LONGEST_PAUSE_S = 5.0


@dataclass(slots=True)
class _Session:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: httpx.AsyncClient
    ready: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By server: done when the server may be asked; failed when it is beyond hope."""
    closing: asyncio.Task[None] | None = None
    """Closes the client when the loop ends and cancels what is left."""
    away: set[str] = field(default_factory=set)
    """Servers that failed and have not shown themselves again."""


class VLLMSampler:
    """Samples from servers that a `WeightSync` keeps at the learner's weights.

    Args:
        weights: the servers and what they hold.
        eos_ids: ids that end a response.
        temperature: > 0 samples; 0 takes the most likely token (evaluation only).
        seed: base of the per-turn seeds.
        context: longest prompt + response in tokens.
        retries: how often a request is sent again.
        patience_s: seconds a server that went away is waited for.
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
        patience_s: float = 600.0,
    ) -> None:
        self.live = False
        self.weights = weights
        self.eos_ids = sorted(eos_ids)
        self.temperature = temperature
        self.seed = seed
        self.context = context
        self.retries = retries
        self.patience_s = patience_s
        self.decoded_tokens = 0
        """Tokens received since construction."""
        self.repeated = 0
        """Requests sent again since construction."""
        self.busy_s = 0.0
        """Seconds with at least one request under way since construction."""
        self._under_way = 0
        self._since = 0.0
        self._home: dict[EpisodeKey, VLLMServer] = {}
        self._session: _Session | None = None

    @property
    def version(self) -> int:
        """The policy version that was pushed last."""
        return self.weights.version

    def view(self, *, temperature: float, seed: int) -> VLLMSampler:
        """The same servers with another temperature (evaluation)."""
        return VLLMSampler(
            self.weights,
            eos_ids=frozenset(self.eos_ids),
            temperature=temperature,
            seed=seed,
            context=self.context,
            retries=self.retries,
            patience_s=self.patience_s,
        )

    def connect(self) -> None:
        """Check every server.

        Raises:
            SamplerError: one that cannot be used, and why.
        """
        for server in self.weights.servers:
            try:
                self.weights.connect(server)
            except ServerUnreachable as error:
                raise ServerUnreachable(
                    f"no sampling server answers at {server} ({error}); start one, e.g. `rlsd serve policy FOLDER`, "
                    "or mend sampler.urls"
                ) from error

    def refresh(self, version: int) -> None:
        """Send the learner's present weights to all servers, as policy `version`; waits for a server that is away.

        Raises:
            SamplerError: a server that cannot be brought to the new weights.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                return self.weights.push(version)
            except ServerUnreachable as error:
                if self.weights.peers.gather(time.monotonic() > deadline)[0]:  # the main process decides for all
                    raise self._gone(error) from error
                time.sleep(min(LONGEST_PAUSE_S, 10 * BACK_OFF_S))

    def close(self) -> None:
        self.weights.close()
        for server in self.weights.servers:
            server.close()

    # ------------------------------------------------------------------ sampling

    def join(self, key: EpisodeKey) -> None:
        if key in self._home:
            raise ValueError(f"episode {key} has joined already")
        self._home[key] = self._least_loaded({server.url: server for server in self.weights.servers})

    def leave(self, key: EpisodeKey) -> None:
        self._home.pop(key, None)

    async def sample(self, request: SampleRequest) -> SampleResult:
        """
        Raises:
            ContextFull: prompt and response would not fit.
            SamplerError: no server gave a usable answer, or one holds other weights than it was sent.
        """
        if len(request.prompt_ids) + request.max_new_tokens > self.context:
            raise ContextFull(
                f"prompt of {len(request.prompt_ids)} tokens + {request.max_new_tokens} new ones > {self.context}"
            )
        session = self._begin()
        failures = 0
        while True:
            server = await self._pick(session, request.key)
            try:
                result = await self._ask(session, server, request)
            except (ServerUnreachable, ServerReply) as error:
                failures += 1
                self._suspect(session, server)
                if failures > self.retries:
                    raise type(error)(f"{error} (tried {failures} times)") from error
                self.repeated += 1
                await asyncio.sleep(min(LONGEST_PAUSE_S, BACK_OFF_S * 2 ** (failures - 1)))
                continue
            self.decoded_tokens += len(result.token_ids)
            return result

    async def _ask(self, session: _Session, server: VLLMServer, request: SampleRequest) -> SampleResult:
        version = self.weights.held(server)
        assert version is not None, f"{server} was asked before it had weights"
        body = request_body(
            request.prompt_ids,
            model=self.weights.model(server),
            max_new_tokens=request.max_new_tokens,
            temperature=self.temperature,
            seed=derive(self.seed, *request.key, "turn", request.turn),
            eos_ids=self.eos_ids,
        )
        if self._under_way == 0:
            self._since = time.perf_counter()
        self._under_way += 1
        try:
            return await server.complete(session.client, body, version=version)
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self.busy_s += time.perf_counter() - self._since

    # ------------------------------------------------------------------ servers

    def _begin(self) -> _Session:
        """This event loop's session; with a new one every server must show that it still holds its weights."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            client = httpx.AsyncClient(**CONNECTIONS)
            self._session = _Session(loop=loop, client=client, closing=loop.create_task(_close_at_end(client)))
            for server in self.weights.servers:
                self._session.ready[server.url] = loop.create_task(self._make_ready(self._session, server))
        return self._session

    async def _pick(self, session: _Session, key: EpisodeKey) -> VLLMServer:
        """The episode's own server if it is ready, else the ready one with the fewest episodes."""
        while True:
            for task in session.ready.values():
                if task.done() and isinstance(task.exception(), StalePolicy | ServerMismatch):
                    raise task.exception()  # type: ignore[misc]  # wrong weights stop the run, even one server's
            ready = {s.url: s for s in self.weights.servers if _is_up(session.ready[s.url])}
            home = self._home.get(key)
            if home is not None and home.url in ready:
                return home
            if home is not None and home.url not in session.away and not session.ready[home.url].done():
                await asyncio.wait({session.ready[home.url]}, timeout=0.05)  # it is only being looked at
                continue
            if ready:
                self._home[key] = self._least_loaded(ready)
                return self._home[key]
            coming = [task for task in session.ready.values() if not task.done()]
            if not coming:
                raise next(iter(session.ready.values())).exception() or SamplerError("no sampling server is left")
            await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)

    def _least_loaded(self, servers: Mapping[str, VLLMServer]) -> VLLMServer:
        load = dict.fromkeys(servers, 0)
        for server in self._home.values():
            if server.url in load:
                load[server.url] += 1
        return servers[min(load, key=lambda url: load[url])]

    def _suspect(self, session: _Session, server: VLLMServer) -> None:
        """A request failed: nobody asks this server until it has shown itself ready again."""
        session.away.add(server.url)
        if session.ready[server.url].done():
            session.ready[server.url] = session.loop.create_task(self._make_ready(session, server))

    async def _make_ready(self, session: _Session, server: VLLMServer) -> None:
        """Return when `server` answers and holds the present weights, which a restarted one is sent again."""
        deadline = time.monotonic() + self.patience_s
        pause = BACK_OFF_S
        while True:
            try:
                if await asyncio.to_thread(server.healthy):
                    await asyncio.to_thread(self._ensure, server)
                    session.away.discard(server.url)
                    return
                last: SamplerError = ServerUnreachable(f"{server} does not answer")
            except ServerUnreachable as error:
                last = error
            session.away.add(server.url)
            if time.monotonic() > deadline:
                raise self._gone(last)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    def _ensure(self, server: VLLMServer) -> None:
        if not self.weights.still_held(server):
            self.weights.forget(server)
            self.weights.load(server)

    def _gone(self, error: SamplerError) -> ServerUnreachable:
        return ServerUnreachable(
            f"{error} (waited {self.patience_s:g} s). Start the server again or take it out of sampler.urls"
        )


def _is_up(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _close_at_end(client: httpx.AsyncClient) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await client.aclose()
