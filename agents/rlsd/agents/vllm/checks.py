"""The interface between sampler and server weights, and servers whose weights are not changed."""

from __future__ import annotations

from typing import Any, Protocol

from rlsd.agents.vllm.client import SamplerError, ServerMismatch, VLLMServer
from rlsd.agents.vllm.proof import PROBE
from rlsd.agents.vllm.source import Alone, Peers


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
