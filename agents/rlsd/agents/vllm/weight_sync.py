"""Sends new weights to vLLM servers and verifies that they use them.

After a push every server computes the log-probs of a fixed probe. They must have changed if the learner's have, and
must be close to the learner's: a server that answers 200 but keeps its old weights stops the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rlsd.agents.vllm.checks import NOISE, PROBE, PROBE_TOKENS, ServerState, check_base, check_weights, largest
from rlsd.agents.vllm.client import COMPLETIONS, NEEDS, VLLMServer
from rlsd.agents.vllm.errors import SamplerError, ServerMismatch, ServerReply, ServerUnreachable, StalePolicy
from rlsd.agents.vllm.files import Carrier
from rlsd.agents.vllm.interrupt import Interruption
from rlsd.agents.vllm.source import Alone, Peers, WeightSource

SLEEP = {"none": 0, "offload": 1, "discard": 2}
"""vLLM's levels of sleep; 0: stay awake."""
WATCH_S = 2.0
"""Interval in seconds at which the main process checks for restarted servers, if only it can send weights."""


class WeightSync:
    """Keeps servers at the learner's weights.

    Args:
        servers: each gets every version.
        source: the learner's weights.
        tokenizer: the policy's; the servers' must agree.
        carrier: transports the weights.
        context: maximum tokens of prompt plus response; the servers must allow as many.
        logprob_gap_stop: mean difference in nats of probe log-probs from which on a server has another model.
        peers: the learner's processes; all of them push together.
        sleep: a name of `SLEEP`: what `rest` does to the servers.
    """

    def __init__(
        self,
        servers: Sequence[VLLMServer],
        source: WeightSource,
        tokenizer: Any,
        *,
        carrier: Carrier,
        context: int = 2048,
        logprob_gap_stop: float = 0.2,
        peers: Peers | None = None,
        sleep: str = "none",
    ) -> None:
        self.level = SLEEP[sleep]
        self.peers: Peers = peers or Alone()
        self.servers = tuple(servers)
        self.source = source
        self.carrier = carrier
        self.logprob_gap_stop = logprob_gap_stop
        self.context = context
        self.version = -1
        """The last pushed version."""
        self.push_s = 0.0
        """Seconds spent on writing, loading and checking weights since construction."""
        self._tokenizer = tokenizer
        self._probe = list(tokenizer.encode(PROBE, add_special_tokens=False))[: min(PROBE_TOKENS, context - 1)]
        self._base: dict[str, str] = {}
        self._states = {server.url: ServerState() for server in self.servers}
        self._ours: list[float] | None = None
        self._resting = False
        self._lock = threading.RLock()
        """Locked while servers are loaded."""
        self._interruption = Interruption(self.servers)
        self._watch: threading.Thread | None = None
        self._ended = threading.Event()
        self._watch_error: SamplerError | None = None
        """Error of the watch thread, raised by the next push."""

    def model(self, server: VLLMServer) -> str:
        """The model name for requests to `server`."""
        return self.carrier.model(self._base[server.url], self.version)

    def loaded_version(self, server: VLLMServer) -> int | None:
        """The policy version loaded on `server`; None if unknown."""
        return self._states[server.url].version

    def connect(self, server: VLLMServer) -> None:
        """Check that a server can serve this policy.

        Raises:
            ServerMismatch: a missing route, another tokenizer, or too short a context.
            ServerUnreachable: no reply.
        """
        if self.peers.main:
            self.carrier.check()
        server.require(COMPLETIONS, "return_token_ids")
        server.require(COMPLETIONS, "prompt_logprobs")
        for path in (*self.carrier.routes, *(("/sleep", "/wake_up") if self.level else ())):
            server.require(path)
        self._base[server.url] = check_base(server, self._tokenizer, self.context)

    def push(self, version: int) -> None:
        """Load the current weights on all servers, and verify that they are in use.

        Raises:
            StalePolicy: a server kept other weights.
            ServerMismatch: a server's log-probs are far from the learner's.
            SamplerError: a server that does not respond or refuses.
        """
        started = time.perf_counter()
        with self._lock:
            self._ours = self.source.logps(self._probe)
            self.version = version
            failed, self._watch_error = self._watch_error, None
            if self.peers.main and failed is None:
                try:
                    self._send()
                except SamplerError as error:
                    failed = error
        everybody = self.peers.gather((failed, self.carrier.state() if self.peers.main else None))
        failed, state = everybody[0]
        if failed is not None:
            raise failed
        if not self.peers.main:
            try:
                self.carrier.set_state(state)
                for server in self.servers:
                    self._adopt(server)
            except SamplerError as error:
                failed = error
        elif len(everybody) > 1 and not self.carrier.shared and self._watch is None:
            self._watch = threading.Thread(target=self._keep_watch, daemon=True)
            self._watch.start()
        for error in self.peers.gather(failed):  # all fail or none, so that all retry together
            if error is not None:
                raise error
        self.push_s += time.perf_counter() - started

    def ensure(self, server: VLLMServer) -> None:
        """Return when `server` has the last pushed version; after a restart it is sent again.

        Raises:
            ServerUnreachable: no reply, or the main process has not sent it weights yet.
            SamplerError: as `push`.
        """
        self._interruption.settle(server)  # unlocked: it may hang
        with self._lock:
            if self._still_loaded(server):
                return
            if not (self.peers.main or self.carrier.shared):
                raise ServerUnreachable(f"{server} restarted and waits for weights from this run's main process")
            self._load_again(server)

    def abort(self) -> bool:
        """End the requests under way on all servers: each is answered with the tokens it has. False if no server can.

        All servers are asked at once. One that cannot, which is logged once, finishes them; so does one that does not
        answer.
        """
        with self._lock:  # not the requests of a check
            return self._interruption.ask()

    def rest(self) -> None:
        """Put the servers to sleep until the next push: their keys and values are dropped, their weights moved to CPU
        memory (level 1) or dropped (level 2). Nothing without `sleep`.

        Raises:
            ServerMismatch: a server that answers, and does not sleep.
        """
        if not (self.level and self.peers.main):
            return
        with self._lock:
            self._resting = True
            for server in self.servers:
                try:
                    server.call("POST", "/sleep", level=self.level)
                except ServerUnreachable as error:
                    if server.healthy():
                        raise ServerMismatch(
                            f"{error}: {NEEDS['/sleep']}, on a GPU (vLLM's CPU build stays awake)"
                        ) from error
                    # it is gone, and the next push waits for it

    def close(self) -> None:
        self._ended.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
        self.carrier.close()

    # ------------------------------------------------------------------ parts

    def _send(self) -> None:
        """Load the current weights into all servers, which are awake then."""
        self._resting = False
        self.carrier.prepare(self.version)
        if not self.carrier.together or len(self.servers) == 1:
            for server in self.servers:
                self._load(server)
            return
        with ThreadPoolExecutor(len(self.servers)) as pool:
            for done in [pool.submit(self._load, server) for server in self.servers]:
                done.result()

    def _adopt(self, server: VLLMServer) -> None:
        """Record the weights that the main process has loaded into `server`."""
        self._interruption.settle(server)
        if server.url not in self._base:
            self.connect(server)
        state = self._states[server.url]
        state.theirs = server.prompt_logps(self.model(server), self._probe)
        state.ours, state.version = self._ours, self.version

    def _load(self, server: VLLMServer) -> None:
        """Load the last pushed version into one server, and verify it."""
        state = self._states[server.url]
        state.version = None
        self._interruption.settle(server)
        if server.url not in self._base:
            self.connect(server)
        if self.level:  # weights first, so that old keys and values take no room while new weights come
            server.call("POST", "/wake_up", tags="weights")
        self.carrier.load(server, self.version)
        if self.level:
            server.call("POST", "/wake_up", tags="kv_cache")
        if server.offers("/update_weight_version"):
            server.call("POST", "/update_weight_version", {"new_version": self._tag()})
        theirs = server.prompt_logps(self.model(server), self._probe)
        assert self._ours is not None, "weights are loaded after a push"
        check_weights(
            server.url, self.version, state, theirs=theirs, ours=self._ours, logprob_gap_stop=self.logprob_gap_stop
        )
        again = server.prompt_logps(self.model(server), self._probe)
        state.noise = max(NOISE, 4 * largest(theirs, again))
        state.version, state.theirs, state.ours = self.version, theirs, self._ours

    def _load_again(self, server: VLLMServer) -> None:
        """Load a restarted server, after discarding what was known about it."""
        self._base.pop(server.url, None)
        server.forget()
        self.carrier.forget(server)
        self._load(server)

    def _still_loaded(self, server: VLLMServer) -> bool:
        """The server still uses the weights it was sent last; False after a restart."""
        state = self._states[server.url]
        if state.version != self.version or state.theirs is None:
            return False
        self._interruption.settle(server)
        try:
            if not self._tagged(server):
                return False
            now = server.prompt_logps(self.model(server), self._probe)
        except ServerReply:
            return False  # e.g. 404: an adapter that a restarted server does not have
        return largest(now, state.theirs) <= state.noise

    def _tagged(self, server: VLLMServer) -> bool:
        """The server reports the last pushed version, or cannot report any."""
        if not server.offers("/weight_info"):
            return True
        info = server.call("GET", "/weight_info")
        return isinstance(info, dict) and info.get("weight_version") == self._tag()

    def _tag(self) -> str:
        return f"rlsd-{self.version}"

    def _keep_watch(self) -> None:
        """Send weights to restarted servers while this process is busy and others wait for them."""
        while not self._ended.wait(WATCH_S):
            for server in self.servers:
                with self._lock:
                    if self._resting:
                        continue
                    try:
                        if not (self._tagged(server) if server.offers("/weight_info") else self._still_loaded(server)):
                            self._load_again(server)
                    except (StalePolicy, ServerMismatch) as error:
                        self._watch_error = error
                        return
                    except SamplerError:
                        continue  # not back yet
