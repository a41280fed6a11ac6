"""One vLLM server over HTTP: token ids in, token ids and log-probs out. It checks features, not version numbers.

Features are read from the server's `/openapi.json`; an error about a missing one names the flag or variable that
enables it. Control calls block; `complete` is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from rlsd.agents.types import SampleResult
from rlsd.agents.vllm.completions import (
    decode,
    decode_response,
    encode,
    read_response,
    read_scores,
    reason,
    scoring_body,
    was_aborted,
)
from rlsd.agents.vllm.errors import SamplerError, ServerMismatch, ServerReply, ServerUnreachable
from rlsd.envs.remote.http_client import HttpClient, HttpFailure
from rlsd.envs.remote.loop import REQUESTS

COMPLETIONS = "/v1/completions"
ABORT = "/abort_requests"
"""vLLM's route that ends all requests, which are answered with the tokens they have."""
NEEDS = {
    COMPLETIONS: "is it a vLLM server?",
    "/collective_rpc": "start it with VLLM_SERVER_DEV_MODE=1",
    "/reset_prefix_cache": "start it with VLLM_SERVER_DEV_MODE=1",
    ABORT: "start vLLM 0.32 or newer with VLLM_SERVER_DEV_MODE=1",
    "/init_weight_transfer_engine": "start it with VLLM_SERVER_DEV_MODE=1 (`rlsd serve policy --transfer`)",
    "/sleep": "start it with `rlsd serve policy --sleep` (VLLM_SERVER_DEV_MODE=1, --enable-sleep-mode)",
    "/v1/unload_lora_adapter": "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
    "/v1/load_lora_adapter": "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
}
"""Route → how to enable it."""


class VLLMServer:
    """The routes of one server.

    Args:
        url: "http://host:port".
        api_key: sent as a bearer token.
        timeout_s: time limit of a request in seconds.
        quick_s: time limit of a request for server information, in seconds.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 600.0, quick_s: float = 120.0
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key.strip()}"
        self.timeout_s = timeout_s
        self._quick_s = quick_s
        self._routes: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return self.url

    def forget(self) -> None:
        """Forget the server's routes; they are read again on demand."""
        self._routes = None

    # ------------------------------------------------------------------ control

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None, **params: Any) -> Any:
        """The decoded JSON reply, or its text if it is not JSON.

        Raises:
            ServerUnreachable: no answer, or status 500 and above; its `kind` is "timeout", "connection" or
                "server_error".
            ServerReply: status 400 to 499, which quotes the server's message; an answer too large.
        """
        target = f"{path}?{urlencode(params)}" if params else path
        content, limit_s = None if body is None else encode(body), timeout_s or self.timeout_s
        try:
            answer = REQUESTS.run(
                _CONTROL.request(method, f"{self.url}{target}", content, timeout_s=limit_s, **self._headers)
            )
        except HttpFailure as error:
            raise self._no_answer(path, error) from error
        return self._read(answer.status, answer.body, path)

    def _no_answer(self, path: str, failure: HttpFailure) -> SamplerError:
        told = f"{self.url}{path}: {failure}"
        if failure.kind in ("too_large", "encoding"):
            return ServerReply(told)
        return ServerUnreachable(told, kind="timeout" if failure.kind == "slow" else "connection")

    def _read(self, status: int, body: bytes, path: str, read: Callable[[bytes], Any] = decode) -> Any:
        """The body of a successful reply.

        Raises:
            ServerUnreachable, ServerReply: as in `call`.
        """
        if status >= 400:
            message = " ".join(body.decode("utf-8", "replace").split())[:300]
            told = f"{self.url}{path} answered {status}: {message}"
            raise ServerUnreachable(told, kind="server_error") if status >= 500 else ServerReply(told, status=status)
        return read(body)

    def healthy(self) -> bool:
        """Whether the server responds."""
        try:
            self.call("GET", "/health", timeout_s=self._quick_s)
        except SamplerError:
            return False
        return True

    def models(self) -> list[dict[str, Any]]:
        """The models listed by `/v1/models`: the base model first, then adapters."""
        reply = self.call("GET", "/v1/models", timeout_s=self._quick_s)
        data = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(data, list) or not data or not all(isinstance(m, dict) and "id" in m for m in data):
            raise ServerReply(f"{self.url}/v1/models lists no model: is it a vLLM server?")
        return data

    def offers(self, path: str, field: str | None = None) -> bool:
        """Whether the server has this route, and its request this field."""
        if self._routes is None:
            try:
                document = self.call("GET", "/openapi.json", timeout_s=self._quick_s)
            except ServerReply:
                document = {}
            self._routes = document if isinstance(document, dict) else {}
        if not self._routes.get("paths"):
            return True  # unknown; a missing feature shows on use
        if path not in self._routes["paths"]:
            return False
        if field is None:
            return True
        return f'"{field}"' in _schema_text(self._routes, path)

    def require(self, path: str, field: str | None = None) -> None:
        """
        Raises:
            ServerMismatch: the server lacks the route or the field; says how to enable it.
        """
        if not self.offers(path):
            raise ServerMismatch(f"{self.url} has no route {path}: {NEEDS.get(path, 'use a newer vLLM')}")
        if field is not None and not self.offers(path, field):
            raise ServerMismatch(f"{self.url}{path} does not know {field!r}: use a newer vLLM")

    def abort(self) -> bool:
        """End all requests under way: each is answered with the tokens it has. False if the server has no such route.

        Raises:
            ServerUnreachable, ServerReply: as in `call`.
        """
        if not self.offers(ABORT):
            return False
        try:
            self.call("POST", ABORT, {}, timeout_s=self._quick_s)
        except ServerReply as error:
            if error.status == 404:
                return False
            raise
        return True

    def tokenize(self, model: str, text: str) -> list[int] | None:
        """The server's token ids for `text`, None if it has no such route."""
        if not self.offers("/tokenize"):
            return None
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        reply = self.call("POST", "/tokenize", body, timeout_s=self._quick_s)
        return list(reply["tokens"]) if isinstance(reply, dict) and "tokens" in reply else None

    def prompt_logps(self, model: str, ids: Sequence[int]) -> list[float]:
        """Log-probs in nats of ids[1:], each given the ids before it, under the server's current weights at temperature
        1.

        Raises:
            ServerUnreachable: no answer, or status 500 and above, or another process ended the request (`abort`).
            ServerReply: a reply without log-probs.
        """
        return self._read_scores(self.call("POST", COMPLETIONS, scoring_body(ids, model=model)), model, ids)

    def _read_scores(self, reply: Any, model: str, ids: Sequence[int]) -> list[float]:
        try:
            return read_scores(reply, ids, model=model)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if was_aborted(reply):
                raise ServerUnreachable(f"{self.url}{COMPLETIONS}: the request was ended by {ABORT}") from error
            raise ServerReply(
                f"{self.url}{COMPLETIONS} gave no prompt log-probs for {len(ids)} ids ({reason(error)})"
            ) from error

    # ------------------------------------------------------------------ sampling

    async def complete(
        self, client: HttpClient, body: dict[str, Any], *, version: int, partial: bool = False
    ) -> SampleResult:
        """One response. Cancelling the call closes its connection, and the server stops decoding.

        Args:
            partial: see `read_response`.

        Raises:
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: a reply that is not one response to `body`.
        """
        reply = await self._post(client, body, decode_response)
        try:
            return read_response(reply, body, version=version, partial=partial)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ServerReply(f"{self.url}{COMPLETIONS}: unusable reply: {reason(error)}") from error

    async def score(self, client: HttpClient, model: str, ids: Sequence[int]) -> list[float]:
        """As `prompt_logps`, awaited."""
        return self._read_scores(await self._post(client, scoring_body(ids, model=model)), model, ids)

    async def _post(self, client: HttpClient, body: dict[str, Any], read: Callable[[bytes], Any] = decode) -> Any:
        try:
            answer = await client.post(
                f"{self.url}{COMPLETIONS}", encode(body), timeout_s=self.timeout_s, **self._headers
            )
        except HttpFailure as error:
            raise self._no_answer(COMPLETIONS, error) from error
        return self._read(answer.status, answer.body, COMPLETIONS, read)


def _schema_text(document: dict[str, Any], path: str) -> str:
    """The request schema of `path` as JSON text, one reference followed."""
    import json

    text = json.dumps(document["paths"][path])
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        if f'"#/components/schemas/{name}"' in text:
            text += json.dumps(schema)
    return text


_CONTROL = HttpClient(kept=False)
"""For control calls: a new connection each, so that none is sent twice and none stays open to a dead server."""
