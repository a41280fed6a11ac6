"""What is checked of a server: model, tokenizer and context, and that it uses the weights it was sent (log-probs of a
fixed text before and after, on server and learner). Also the interface between sampler and server weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import SamplerError, ServerMismatch, StalePolicy
from rlsd.agents.vllm.source import Alone, Peers

PROBE = (
    "You are in the middle of a room. Looking quickly around you, you see a drawer 1, a shelf 2 and a fridge 1. "
    "Your task is to: put some mug in shelf. go to drawer 1. open drawer 1. take mug 1 from drawer 1. look."
)
"""Text whose log-probs distinguish sets of weights."""
PROBE_TOKENS = 128
NOISE = 1e-5
"""Tolerance in nats for log-probs under equal weights."""


class Weights(Protocol):
    """What a `VLLMSampler` needs to know about its servers' weights."""

    servers: tuple[VLLMServer, ...]
    version: int
    peers: Peers

    def model(self, server: VLLMServer) -> str: ...

    def loaded_version(self, server: VLLMServer) -> int | None: ...

    def connect(self, server: VLLMServer) -> None: ...

    def push(self, version: int) -> None: ...

    def ensure(self, server: VLLMServer) -> None: ...

    def abort(self) -> bool: ...

    def rest(self) -> None: ...

    def close(self) -> None: ...


class AsItIs:
    """A server whose weights are not changed: evaluates whatever it serves."""

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

    def loaded_version(self, server: VLLMServer) -> int:
        return 0

    def connect(self, server: VLLMServer) -> None:
        """Check model, tokenizer and context.

        Raises:
            SamplerError: as `WeightSync.connect` does.
        """
        server.require("/v1/completions", "return_token_ids")
        self._base = check_base(server, self._tokenizer, self._context)

    def push(self, version: int) -> None:
        raise SamplerError("this server's weights are fixed and cannot be updated")

    def ensure(self, server: VLLMServer) -> None:
        if self._base is None:
            server.forget()
            self.connect(server)

    def abort(self) -> bool:
        """False: its requests end by themselves."""
        return False

    def rest(self) -> None:
        """Nothing to do: nobody learns beside it."""

    def close(self) -> None:
        pass


def check_base(server: VLLMServer, tokenizer: Any, context: int) -> str:
    """The name of a server's base model, which must use the same tokenizer and allow `context` tokens.

    Raises:
        ServerMismatch: another tokenizer, or too short a context.
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


@dataclass(slots=True)
class ServerState:
    """The known state of a server's weights."""

    version: int | None = None
    """Policy version, or None if unknown."""
    theirs: list[float] | None = None
    """The server's probe log-probs after the last push."""
    ours: list[float] | None = None
    """The learner's probe log-probs for the same weights."""
    noise: float = NOISE
    """Difference in nats between two runs of the probe (engines whose sums depend on the batch)."""


def check_weights(
    url: str,
    version: int,
    before: ServerState,
    *,
    theirs: Sequence[float],
    ours: Sequence[float],
    logprob_gap_stop: float,
) -> None:
    """Verify that the server at `url` uses the weights of `version`, which it was just sent.

    Args:
        before: its state before the push.
        theirs: its current log-probs of the probe.
        ours: the learner's.
        logprob_gap_stop: mean difference in nats above which the server has another model.

    Raises:
        StalePolicy: it kept its old weights, or loaded the new ones partially.
        ServerMismatch: its log-probs are far from the learner's.
    """
    gap = mean(theirs, ours)
    if before.theirs is not None and before.ours is not None:
        moved, expected = largest(theirs, before.theirs), largest(ours, before.ours)
        if moved == 0.0 and expected > NOISE:
            raise StalePolicy(
                f"{url} accepted version {version} but kept its old weights: the learner's log-probs changed by up "
                f"to {expected:.2g} nats, the server's not at all; restart the server"
            )
        step, usual = mean(ours, before.ours), mean(before.theirs, before.ours)
        behind = mean(theirs, before.ours)
        if gap > behind and step > 4 * usual + NOISE:
            raise StalePolicy(
                f"{url} accepted version {version}, but its log-probs are closer to the previous version ({behind:.2g} "
                f"nats) than to this one ({gap:.2g}); restart the server"
            )
        if gap > 0.1 * step + 4 * usual + NOISE:
            raise StalePolicy(
                f"{url} loaded version {version} partially: its log-probs are {gap:.2g} nats from the learner's, with "
                f"the previous version {usual:.2g}; restart the server"
            )
    if not gap <= logprob_gap_stop:
        raise ServerMismatch(
            f"{url} differs from the learner by {gap:.2g} nats per token on the probe after it was sent version "
            f"{version} (allowed: {logprob_gap_stop:g}): it has another model, or the weights did not load"
        )


def mean(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / max(1, len(a))


def largest(a: Sequence[float], b: Sequence[float]) -> float:
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0)
