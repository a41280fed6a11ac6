"""New weights for vLLM servers, and the proof that they use them.

After a push every server is asked for the log-probs of a fixed probe. They must have moved if the learner's have, and
they must lie near the learner's: a server that answers 200 and keeps its old weights stops the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rlsd.agents.vllm.checks import check_base
from rlsd.agents.vllm.client import (
    COMPLETIONS,
    SamplerError,
    ServerMismatch,
    ServerReply,
    ServerUnreachable,
    StalePolicy,
    VLLMServer,
)
from rlsd.agents.vllm.files import Carrier
from rlsd.agents.vllm.proof import NOISE, PROBE, PROBE_TOKENS, Held, check, largest
from rlsd.agents.vllm.source import Alone, Peers, WeightSource

WATCH_S = 2.0
"""How often the main process looks for servers that restarted, where it alone can send them weights."""


class WeightSync:
    """Keeps servers at the learner's weights.

    Args:
        servers: all of them get every version.
        source: the learner's weights.
        tokenizer: the policy's; the servers' must agree.
        carrier: how weights get there.
        context: tokens a prompt and its response may take; the servers must allow as many.
        logprob_gap_stop: mean difference in nats between server and learner on the probe that means
            "another model".
        peers: the learner's processes; all of them push together.
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
    ) -> None:
        self.peers: Peers = peers or Alone()
        self.servers = tuple(servers)
        self.source = source
        self.carrier = carrier
        self.logprob_gap_stop = logprob_gap_stop
        self.context = context
        self.version = -1
        """The version that was pushed last."""
        self.push_s = 0.0
        """Seconds spent on writing, loading and checking weights since construction."""
        self._tokenizer = tokenizer
        self._probe = list(tokenizer.encode(PROBE, add_special_tokens=False))[: min(PROBE_TOKENS, context - 1)]
        self._base: dict[str, str] = {}
        self._held = {server.url: Held() for server in self.servers}
        self._ours: list[float] | None = None
        self._lock = threading.RLock()
        """Held while servers are loaded."""
        self._watch: threading.Thread | None = None
        self._ended = threading.Event()
        self._found: SamplerError | None = None
        """What the watch found, to be raised by the next push."""

    def model(self, server: VLLMServer) -> str:
        """The model name that requests to `server` carry."""
        return self.carrier.model(self._base[server.url], self.version)

    def held(self, server: VLLMServer) -> int | None:
        """The policy version `server` is known to hold; None: not known."""
        return self._held[server.url].version

    def connect(self, server: VLLMServer) -> None:
        """Check that a server can be used for this policy.

        Raises:
            ServerMismatch: a route, another tokenizer, too short a context; named.
            ServerUnreachable: no answer.
        """
        if self.peers.main:
            self.carrier.check()
        server.require(COMPLETIONS, "return_token_ids")
        server.require(COMPLETIONS, "prompt_logprobs")
        for path in self.carrier.routes:
            server.require(path)
        self._base[server.url] = check_base(server, self._tokenizer, self.context)

    def push(self, version: int) -> None:
        """Load the present weights everywhere, and make sure that they are in use.

        Raises:
            StalePolicy: a server kept other weights.
            ServerMismatch: a server's log-probs are far from the learner's.
            SamplerError: a server that does not answer or refuses.
        """
        started = time.perf_counter()
        with self._lock:
            self._ours = self.source.logps(self._probe)
            self.version = version
            failed, self._found = self._found, None
            if self.peers.main and failed is None:
                try:
                    self._send()
                except SamplerError as error:
                    failed = error
        everybody = self.peers.gather((failed, self.carrier.told() if self.peers.main else None))
        failed, told = everybody[0]
        if failed is not None:
            raise failed
        if not self.peers.main:
            try:
                self.carrier.tell(told)
                for server in self.servers:
                    self._adopt(server)
            except SamplerError as error:
                failed = error
        elif len(everybody) > 1 and not self.carrier.shared and self._watch is None:
            self._watch = threading.Thread(target=self._keep_watch, daemon=True)
            self._watch.start()
        for error in self.peers.gather(failed):  # all or none, so that all try again together
            if error is not None:
                raise error
        self.push_s += time.perf_counter() - started

    def ensure(self, server: VLLMServer) -> None:
        """Return when `server` holds the version that was pushed last; after a restart it is sent anew.

        Raises:
            ServerUnreachable: it does not answer, or the main process has not sent it weights yet.
            SamplerError: as `push`.
        """
        with self._lock:
            if self._still_held(server):
                return
            if not (self.peers.main or self.carrier.shared):
                raise ServerUnreachable(f"{server} restarted and waits for weights from this run's main process")
            self._load_again(server)

    def close(self) -> None:
        self._ended.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
        self.carrier.close()

    # ------------------------------------------------------------------ parts

    def _send(self) -> None:
        """Load the present weights into all servers."""
        self.carrier.prepare(self.version)
        if not self.carrier.together or len(self.servers) == 1:
            for server in self.servers:
                self._load(server)
            return
        with ThreadPoolExecutor(len(self.servers)) as pool:
            for done in [pool.submit(self._load, server) for server in self.servers]:
                done.result()

    def _adopt(self, server: VLLMServer) -> None:
        """Take over what the main process has loaded into `server`."""
        if server.url not in self._base:
            self.connect(server)
        held = self._held[server.url]
        held.theirs = server.prompt_logps(self.model(server), self._probe)
        held.ours, held.version = self._ours, self.version

    def _load(self, server: VLLMServer) -> None:
        """Bring one server to the version that was pushed last, and prove it."""
        held = self._held[server.url]
        held.version = None
        if server.url not in self._base:
            self.connect(server)
        self.carrier.load(server, self.version)
        if server.offers("/update_weight_version"):
            server.call("POST", "/update_weight_version", {"new_version": self._tag()})
        theirs = server.prompt_logps(self.model(server), self._probe)
        assert self._ours is not None, "weights are loaded after a push"
        check(server.url, self.version, held, theirs=theirs, ours=self._ours, logprob_gap_stop=self.logprob_gap_stop)
        again = server.prompt_logps(self.model(server), self._probe)
        held.noise = max(NOISE, 4 * largest(theirs, again))
        held.version, held.theirs, held.ours = self.version, theirs, self._ours

    def _load_again(self, server: VLLMServer) -> None:
        """The server may be another one now: what is known about it is asked again."""
        self._base.pop(server.url, None)
        server.forget()
        self.carrier.forget(server)
        self._load(server)

    def _still_held(self, server: VLLMServer) -> bool:
        """The server answers, with the weights it got last; False after a restart."""
        held = self._held[server.url]
        if held.version != self.version or held.theirs is None:
            return False
        try:
            if not self._tagged(server):
                return False
            now = server.prompt_logps(self.model(server), self._probe)
        except ServerReply:
            return False  # e.g. 404: an adapter that a restarted server does not have
        return largest(now, held.theirs) <= held.noise

    def _tagged(self, server: VLLMServer) -> bool:
        """The server says that it holds the version pushed last, or cannot say."""
        if not server.offers("/weight_info"):
            return True
        found = server.call("GET", "/weight_info")
        return isinstance(found, dict) and found.get("weight_version") == self._tag()

    def _tag(self) -> str:
        return f"rlsd-{self.version}"

    def _keep_watch(self) -> None:
        """Send weights to servers that restarted while this process is busy and others wait for them."""
        while not self._ended.wait(WATCH_S):
            for server in self.servers:
                with self._lock:
                    try:
                        if not (self._tagged(server) if server.offers("/weight_info") else self._still_held(server)):
                            self._load_again(server)
                    except (StalePolicy, ServerMismatch) as error:
                        self._found = error
                        return
                    except SamplerError:
                        continue  # not back yet
