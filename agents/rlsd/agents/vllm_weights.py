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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors.torch import save_file

from rlsd.agents.models import Policy
from rlsd.agents.vllm_client import SamplerError, ServerMismatch, ServerReply, StalePolicy, VLLMServer

ADAPTER = "rlsd-policy"
"""Name under which the LoRA adapter is served."""
PROBE = (
    "You are in the middle of a room. Looking quickly around you, you see a drawer 1, a shelf 2 and a fridge 1. "
    "Your task is to: put some mug in shelf. go to drawer 1. open drawer 1. take mug 1 from drawer 1. look."
)
"""Text whose log-probs tell one set of weights from another."""
PROBE_TOKENS = 128
NOISE = 1e-5
"""Nats that log-probs may differ by though the weights are the same."""
CACHE_TRIES = 40
"""How often a prefix cache that is in use is asked to empty itself, a quarter of a second apart."""


class WeightSource(Protocol):
    """Where the present weights come from: a policy in this process, or a sharded one that is gathered first."""

    def write(self, folder: Path, *, adapter: bool) -> None:
        """Write a transformers folder (with `adapter`: a PEFT adapter's) of the weights as they are now."""
        ...

    def logps(self, ids: Sequence[int]) -> list[float]:
        """Nats of ids[1:] under the weights as they are now, at temperature 1."""
        ...


class Peers(Protocol):
    """The learner's processes: the main one sends weights, the others wait for it."""

    @property
    def main(self) -> bool: ...

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, the main process's first, on every process."""
        ...


class Alone:
    """One process."""

    main = True

    def gather(self, value: Any) -> list[Any]:
        return [value]


class PolicyWeights:
    """The weights of a policy in this process."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def write(self, folder: Path, *, adapter: bool) -> None:
        if adapter:
            self.policy.model.save_pretrained(folder)
        else:
            write_full(self.policy.model, folder)

    @torch.inference_mode()
    def logps(self, ids: Sequence[int]) -> list[float]:
        model = self.policy.model
        model.eval()
        given = torch.tensor([list(ids)], device=next(model.parameters()).device)
        logp = torch.log_softmax(model(input_ids=given).logits[0, :-1].float(), dim=-1)
        return logp.gather(-1, given[0, 1:, None]).squeeze(-1).tolist()


def write_full(model: Any, folder: Path) -> None:
    """Every weight under its own name, the output embedding too where it is tied to the input's: vLLM's CPU build keeps
    a packed copy of it, which a reload renews only if it finds the name."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[int] = set()
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        weights[name] = tensor.detach().clone() if shared else tensor.detach().contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)


@dataclass(slots=True)
class _Held:
    """What a server is known to hold."""

    version: int | None = None
    """Policy version; None: unknown."""
    theirs: list[float] | None = None
    """Its probe log-probs after the last push."""
    ours: list[float] | None = None
    """The learner's, for the same weights."""
    noise: float = NOISE
    """Nats by which the probe asked twice differs (engines whose sums depend on the batch)."""


class Weights(Protocol):
    """What a `VLLMSampler` must know of its servers' weights."""

    servers: tuple[VLLMServer, ...]
    version: int
    peers: Peers

    def model(self, server: VLLMServer) -> str: ...

    def held(self, server: VLLMServer) -> int | None: ...

    def connect(self, server: VLLMServer) -> None: ...

    def push(self, version: int) -> None: ...

    def load(self, server: VLLMServer) -> None: ...

    def forget(self, server: VLLMServer) -> None: ...

    def still_held(self, server: VLLMServer) -> bool: ...

    def close(self) -> None: ...


class AsItIs:
    """A server whose weights are left alone: evaluation of whatever it serves."""

    def __init__(self, server: VLLMServer, tokenizer: Any, *, context: int) -> None:
        self.servers = (server,)
        self.version = 0
        self.peers: Peers = Alone()
        self._tokenizer = tokenizer
        self._context = context
        self._base: str | None = None

    def model(self, server: VLLMServer) -> str:
        if self._base is None:
            self.connect(server)
        assert self._base is not None
        return self._base

    def held(self, server: VLLMServer) -> int:
        return 0

    def connect(self, server: VLLMServer) -> None:
        """Check model, tokenizer and context.

        Raises:
            SamplerError: as `WeightSync.connect` does.
        """
        server.require("/v1/completions", "return_token_ids")
        self._base = check_base(server, self._tokenizer, self._context)

    def push(self, version: int) -> None:
        raise SamplerError("this server's weights are not ours to change")

    def load(self, server: VLLMServer) -> None:
        self.connect(server)

    def forget(self, server: VLLMServer) -> None:
        server.forget()

    def still_held(self, server: VLLMServer) -> bool:
        return self._base is not None

    def close(self) -> None:
        pass


def check_base(server: VLLMServer, tokenizer: Any, context: int) -> str:
    """The name of a server's base model, which must share the tokenizer and allow `context` tokens.

    Raises:
        ServerMismatch: it does not.
    """
    base = server.models()[0]
    allowed = base.get("max_model_len")
    if isinstance(allowed, int) and allowed < context:
        raise ServerMismatch(
            f"{server.url} takes {allowed} tokens, the run needs {context}: start it with --max-model-len "
            f"{context} or lower agent.context"
        )
    theirs = server.tokenize(str(base["id"]), PROBE)
    ours = list(tokenizer.encode(PROBE, add_special_tokens=False))
    if theirs is not None and theirs != ours:
        raise ServerMismatch(
            f"{server.url} serves {base['id']!r} with another tokenizer ({len(theirs)} tokens for the probe text, "
            f"{len(ours)} here): start it with the model that model.path names"
        )
    return str(base["id"])


class WeightSync:
    """Keeps servers at the learner's weights.

    Args:
        servers: all of them get every version.
        source: the learner's weights.
        tokenizer: the policy's; the servers' must agree.
        kind: "folder" writes a transformers folder and lets `reload_weights` read it; "lora" writes an adapter and
            loads it in place.
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
        self._held = {server.url: _Held() for server in self.servers}
        self._ours: list[float] | None = None

    def model(self, server: VLLMServer) -> str:
        """The model name that requests to `server` carry."""
        return ADAPTER if self.kind == "lora" else self._base[server.url]

    def held(self, server: VLLMServer) -> int | None:
        """The policy version `server` is known to hold; None: not known."""
        return self._held[server.url].version

    def connect(self, server: VLLMServer) -> None:
        """Check that a server can be used for this policy.

        Raises:
            ServerMismatch: a route, another tokenizer, too short a context; named.
            ServerUnreachable: no answer.
        """
        server.require("/v1/completions", "return_token_ids")
        for path in ("/v1/load_lora_adapter",) if self.kind == "lora" else ("/collective_rpc", "/reset_prefix_cache"):
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
        self._check(server, held, theirs)
        again = server.prompt_logps(self.model(server), self._probe)
        held.noise = max(NOISE, 4 * _largest(theirs, again))
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
        return _largest(now, held.theirs) <= held.noise

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
        place = str(self._place(self.version).resolve())
        body = {"lora_name": ADAPTER, "lora_path": place}
        if server.offers("/v1/load_lora_adapter", "load_inplace"):
            server.call("POST", "/v1/load_lora_adapter", {**body, "load_inplace": True})
        else:
            if any(m["id"] == ADAPTER for m in server.models()):
                server.call("POST", "/v1/unload_lora_adapter", {"lora_name": ADAPTER})
            server.call("POST", "/v1/load_lora_adapter", body)
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

    def _check(self, server: VLLMServer, held: _Held, theirs: list[float]) -> None:
        ours = self._ours
        assert ours is not None
        gap = _mean(theirs, ours)
        if held.theirs is not None and held.ours is not None:
            moved, expected = _largest(theirs, held.theirs), _largest(ours, held.ours)
            if moved == 0.0 and expected > NOISE:
                raise StalePolicy(
                    f"{server.url} took version {self.version} and kept its old weights: the learner's log-probs moved "
                    f"by up to {expected:.2g} nats, the server's not at all"
                )
            if gap > _mean(theirs, held.ours) and _mean(ours, held.ours) > 4 * _mean(held.theirs, held.ours) + NOISE:
                raise StalePolicy(
                    f"{server.url} took version {self.version}, but its log-probs are nearer to the version before "
                    f"({_mean(theirs, held.ours):.2g} nats away) than to this one ({gap:.2g})"
                )
            if gap > 0.1 * _mean(ours, held.ours) + 4 * _mean(held.theirs, held.ours) + NOISE:
                raise StalePolicy(
                    f"{server.url} took version {self.version} in part: its log-probs are {gap:.2g} nats from the "
                    f"learner's, with the version before it was {_mean(held.theirs, held.ours):.2g}"
                )
        if not gap <= self.gap_stop:
            raise ServerMismatch(
                f"{server.url} differs from the learner by {gap:.2g} nats a token on the probe after it was sent "
                f"version {self.version} (allowed: {self.gap_stop:g}): another model, or weights that did not load"
            )


def _mean(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / max(1, len(a))


def _largest(a: Sequence[float], b: Sequence[float]) -> float:
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0)
