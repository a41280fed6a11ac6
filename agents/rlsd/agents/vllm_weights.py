"""New weights for vLLM servers, and the proof that they use them.

After a push every server is asked for the log-probs of a fixed probe. They must have moved if the learner's have, and
they must lie near the learner's: a server that answers 200 and keeps its old weights stops the run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rlsd.agents.vllm_client import COMPLETIONS, SamplerError, ServerReply, VLLMServer
from rlsd.agents.vllm_proof import NOISE, PROBE, PROBE_TOKENS, Held, check, largest
from rlsd.agents.vllm_served import check_base
from rlsd.agents.vllm_source import Alone, Peers, WeightSource

ADAPTER = "rlsd-policy-v"
"""What the names of served LoRA adapters begin with; the policy version follows."""
ADAPTER_ROUTES = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
FOLDER_ROUTES = ("/collective_rpc", "/reset_prefix_cache")
CACHE_TRIES = 40
"""How often a prefix cache that is in use is asked to empty itself, a quarter of a second apart."""


class WeightSync:
    """Keeps servers at the learner's weights.

    Args:
        servers: all of them get every version.
        source: the learner's weights.
        tokenizer: the policy's; the servers' must agree.
        kind: "folder" writes a transformers folder and lets `reload_weights` read it; "lora" writes an adapter
            and loads it under a name of its own.
        folder: where versions are written, at a path the servers see under the same name; default: a temporary one.
        context: tokens a prompt and its response may take; the servers must allow as many.
        gap_stop: mean difference in nats of the probe's log-probs between server and learner that means "other model".
        peers: the learner's processes; all of them push together.
    """

    def __init__(
        self,
        servers: Sequence[VLLMServer],
        source: WeightSource,
        tokenizer: Any,
        *,
        kind: Literal["folder", "lora"],
        folder: Path | None = None,
        context: int = 2048,
        gap_stop: float = 0.2,
        peers: Peers | None = None,
    ) -> None:
        self.peers: Peers = peers or Alone()
        self.servers = tuple(servers)
        self.source = source
        self.kind = kind
        self.gap_stop = gap_stop
        self.context = context
        self.version = -1
        """The version that was pushed last."""
        self.push_s = 0.0
        """Seconds spent on writing, loading and checking weights since construction."""
        self._tokenizer = tokenizer
        self._probe = list(tokenizer.encode(PROBE, add_special_tokens=False))[: min(PROBE_TOKENS, context - 1)]
        self._temporary = folder is None
        self._folder = folder
        self._base: dict[str, str] = {}
        self._held = {server.url: Held() for server in self.servers}
        self._ours: list[float] | None = None

    def model(self, server: VLLMServer) -> str:
        """The model name that requests to `server` carry."""
        return f"{ADAPTER}{self.version}" if self.kind == "lora" else self._base[server.url]

    def held(self, server: VLLMServer) -> int | None:
        """The policy version `server` is known to hold; None: not known."""
        return self._held[server.url].version

    def connect(self, server: VLLMServer) -> None:
        """Check that a server can be used for this policy.

        Raises:
            ServerMismatch: a route, another tokenizer, too short a context; named.
            ServerUnreachable: no answer.
        """
        server.require(COMPLETIONS, "return_token_ids")
        server.require(COMPLETIONS, "prompt_logprobs")
        for path in ADAPTER_ROUTES if self.kind == "lora" else FOLDER_ROUTES:
            server.require(path)
        self._base[server.url] = check_base(server, self._tokenizer, self.context)

    def push(self, version: int) -> None:
        """Write the present weights, load them everywhere, and make sure that they are in use.

        Raises:
            StalePolicy: a server kept other weights.
            ServerMismatch: a server's log-probs are far from the learner's.
            SamplerError: a server that does not answer or refuses.
        """
        started = time.perf_counter()
        self._ours = self.source.logps(self._probe)
        self.version = version
        failed: SamplerError | None = None
        if self.peers.main:
            try:
                self._send()
            except SamplerError as error:
                failed = error
        told, folder = self.peers.gather((failed, str(self.folder) if self.peers.main else None))[0]
        if told is not None:
            raise told
        if not self.peers.main:
            self._temporary, self._folder = False, Path(folder)
            for server in self.servers:
                self._adopt(server)
        self.push_s += time.perf_counter() - started

    def _send(self) -> None:
        """Write the present weights and load them everywhere."""
        place = self._place(self.version)
        shutil.rmtree(place, ignore_errors=True)
        self.source.write(place, adapter=self.kind == "lora")
        for server in self.servers:
            self.load(server)
        for old in self.folder.glob("rlsd-v*"):
            if old != place:
                shutil.rmtree(old, ignore_errors=True)

    def _adopt(self, server: VLLMServer) -> None:
        """Take over what the main process has loaded into `server`."""
        if server.url not in self._base:
            self.connect(server)
        held = self._held[server.url]
        held.theirs = server.prompt_logps(self.model(server), self._probe)
        held.ours, held.version = self._ours, self.version

    def load(self, server: VLLMServer) -> None:
        """Bring one server to the version that was pushed last (after a restart too)."""
        held = self._held[server.url]
        held.version = None
        if server.url not in self._base:
            self.connect(server)
        if self.kind == "lora":
            self._load_adapter(server)
        else:
            place = str(self._place(self.version).resolve())
            server.call("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": place}})
            self._empty_cache(server)
        if server.offers("/update_weight_version"):
            server.call("POST", "/update_weight_version", {"new_version": self._tag()})
        theirs = server.prompt_logps(self.model(server), self._probe)
        assert self._ours is not None, "weights are loaded after a push"
        check(server.url, self.version, held, theirs=theirs, ours=self._ours, gap_stop=self.gap_stop)
        again = server.prompt_logps(self.model(server), self._probe)
        held.noise = max(NOISE, 4 * largest(theirs, again))
        held.version, held.theirs, held.ours = self.version, theirs, self._ours

    def forget(self, server: VLLMServer) -> None:
        """The server may be another one now: what is known about it is asked again."""
        self._base.pop(server.url, None)
        server.forget()

    def still_held(self, server: VLLMServer) -> bool:
        """The server answers, with the weights it got last; False after a restart."""
        held = self._held[server.url]
        if held.version != self.version or held.theirs is None:
            return False
        try:
            if server.offers("/weight_info"):
                found = server.call("GET", "/weight_info")
                if not isinstance(found, dict) or found.get("weight_version") != self._tag():
                    return False
            now = server.prompt_logps(self.model(server), self._probe)
        except ServerReply:
            return False  # e.g. 404: an adapter that a restarted server does not have
        return largest(now, held.theirs) <= held.noise

    def close(self) -> None:
        if self._temporary and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="rlsd-weights-"))
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        return self._folder

    # ------------------------------------------------------------------ parts

    def _place(self, version: int) -> Path:
        """A path of its own for each version: vLLM keeps cached prefixes of an adapter whose path stays the same."""
        return self.folder / f"rlsd-v{version:06d}"

    def _tag(self) -> str:
        return f"rlsd-{self.version}"

    def _load_adapter(self, server: VLLMServer) -> None:
        """Under a name of its own, so that no other version can answer a request. Not with vLLM's `load_inplace`: 0.32
        keeps that flag with the name, reads the folder again for every batch, and dies when it is gone."""
        for held in [str(m["id"]) for m in server.models()]:
            if held.startswith(ADAPTER):
                server.call("POST", "/v1/unload_lora_adapter", {"lora_name": held})
        place = str(self._place(self.version).resolve())
        server.call("POST", "/v1/load_lora_adapter", {"lora_name": self.model(server), "lora_path": place})
        if server.offers("/reset_prefix_cache"):
            self._empty_cache(server)

    def _empty_cache(self, server: VLLMServer) -> None:
        for attempt in range(CACHE_TRIES):
            late: dict[str, Any] = {"reset_running_requests": "true"} if 2 * attempt > CACHE_TRIES else {}
            found = server.call("POST", "/reset_prefix_cache", **late)
            if not isinstance(found, dict) or found.get("success", True):
                return
            time.sleep(0.25)
        raise SamplerError(f"{server.url} did not empty its prefix cache: is another client using it?")
