"""One vLLM server over HTTP: token ids in, token ids and log-probs out. It checks features, not version numbers.

Features are read from the server's `/openapi.json`; an error about a missing one names the flag or variable that
enables it. Control calls block; `complete` is awaited.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httpx

from rlsd.agents.types import FinishReason, SampleResult
from rlsd.envs.errors import RlsdError
from rlsd.envs.remote.answers import AnswerTooLarge, ask, ask_async


class SamplerError(RlsdError):
    """A sampling server that cannot be used; says which one, what it did and how to fix it."""


class ServerUnreachable(SamplerError):
    """No reply at the address, or only server errors."""


class ServerMismatch(SamplerError):
    """The server has another model or tokenizer, or lacks a required route."""


class ServerReply(SamplerError):
    """The server's reply is not what was requested."""


class StalePolicy(SamplerError):
    """The server uses other weights than it was sent."""


COMPLETIONS = "/v1/completions"
NEEDS = {
    COMPLETIONS: "is it a vLLM server?",
    "/collective_rpc": "start it with VLLM_SERVER_DEV_MODE=1",
    "/reset_prefix_cache": "start it with VLLM_SERVER_DEV_MODE=1",
    "/init_weight_transfer_engine": "start it with VLLM_SERVER_DEV_MODE=1 (`rlsd serve policy --transfer`)",
    "/v1/unload_lora_adapter": "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
    "/v1/load_lora_adapter": "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
}
"""Route → how to enable it."""


CONNECTIONS: dict[str, Any] = {
    "limits": httpx.Limits(max_connections=None, max_keepalive_connections=0),
    "trust_env": False,
}
"""A new connection per request: none stays open, so none can lead to a dead server. Proxies from environment variables
are ignored."""


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
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.timeout_s = timeout_s
        self._quick_s = quick_s
        self._client = httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout_s, **CONNECTIONS)
        self._routes: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return self.url

    def close(self) -> None:
        self._client.close()

    def forget(self) -> None:
        """Forget the server's routes; they are read again on demand."""
        self._routes = None

    # ------------------------------------------------------------------ control

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None, **params: Any) -> Any:
        """The decoded JSON reply, or its text if it is not JSON.

        Raises:
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: status 400 to 499, which quotes the server's message; an answer too large.
        """
        try:
            answer = ask(
                self._client, method, path, json=body, params=params or None, timeout=timeout_s or self.timeout_s
            )
        except AnswerTooLarge as error:
            raise ServerReply(str(error)) from error
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"{self.url}{path}: {_reason(error)}") from error
        return self.decode(answer, path)

    def decode(self, answer: httpx.Response, path: str) -> Any:
        """The body of a successful reply.

        Raises:
            ServerUnreachable, ServerReply: as in `call`.
        """
        if answer.status_code >= 400:
            message = " ".join(answer.text.split())[:300]
            kind = ServerUnreachable if answer.status_code >= 500 else ServerReply
            raise kind(f"{self.url}{path} answered {answer.status_code}: {message}")
        try:
            return answer.json()
        except (ValueError, RecursionError):
            return answer.text

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
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: a reply without log-probs.
        """
        return self._read_scores(self.call("POST", COMPLETIONS, scoring_body(ids, model=model)), model, ids)

    def _read_scores(self, reply: Any, model: str, ids: Sequence[int]) -> list[float]:
        try:
            return read_scores(reply, ids, model=model)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ServerReply(
                f"{self.url}{COMPLETIONS} gave no prompt log-probs for {len(ids)} ids ({_reason(error)})"
            ) from error

    # ------------------------------------------------------------------ sampling

    async def complete(self, client: httpx.AsyncClient, body: dict[str, Any], *, version: int) -> SampleResult:
        """One response. `client` belongs to the running event loop; cancelling the call closes its connection, and
        the server stops decoding.

        Raises:
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: a reply that is not one response to `body`.
        """
        reply = await self._post(client, body)
        try:
            return read_response(reply, body, version=version)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ServerReply(f"{self.url}{COMPLETIONS}: unusable reply: {_reason(error)}") from error

    async def score(self, client: httpx.AsyncClient, model: str, ids: Sequence[int]) -> list[float]:
        """As `prompt_logps`, awaited."""
        return self._read_scores(await self._post(client, scoring_body(ids, model=model)), model, ids)

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Any:
        try:
            url = f"{self.url}{COMPLETIONS}"
            answer = await ask_async(client, "POST", url, json=body, headers=self.headers, timeout=self.timeout_s)
        except AnswerTooLarge as error:
            raise ServerReply(str(error)) from error
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"{self.url}{COMPLETIONS}: {_reason(error)}") from error
        return self.decode(answer, COMPLETIONS)


def request_body(
    prompt_ids: Sequence[int], *, model: str, max_new_tokens: int, temperature: float, seed: int, eos_ids: Sequence[int]
) -> dict[str, Any]:
    """A request for one response from the untruncated distribution: it sets every parameter that a model's generation
    config could change silently."""
    return {
        "model": model,
        "prompt": list(prompt_ids),
        "max_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": seed,
        "logprobs": 1,
        "return_token_ids": True,
        "stop_token_ids": list(eos_ids),
        "skip_special_tokens": False,
    }


def read_response(reply: Any, body: dict[str, Any], *, version: int) -> SampleResult:
    """Validate a reply to `request_body` and extract the response.

    Raises:
        KeyError, IndexError, TypeError, ValueError: an invalid reply.
    """
    if reply["model"] != body["model"]:
        raise ValueError(f"it is from model {reply['model']!r}, {body['model']!r} was requested")
    choice = reply["choices"][0]
    ids, logps, reason = choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"]
    if not ids or not all(type(i) is int and i >= 0 for i in ids):
        raise ValueError(f"token_ids is {str(ids)[:80]}, expected a list of ids")
    if len(logps) != len(ids):
        raise ValueError(f"{len(ids)} token ids with {len(logps)} log-probs")
    if len(ids) > body["max_tokens"]:
        raise ValueError(f"{len(ids)} tokens, at most {body['max_tokens']} were requested")
    if not all(isinstance(x, int | float) and math.isfinite(x) and x <= 1e-3 for x in logps):
        raise ValueError(f"log-probs are {str(logps)[:80]}, expected finite numbers up to 0")
    if reason not in ("stop", "length"):
        raise ValueError(f"finish_reason is {reason!r}, expected 'stop' or 'length'")
    ended = ids[-1] in body["stop_token_ids"]
    if reason == "stop" and not ended:
        raise ValueError(f"it stopped after id {ids[-1]}, which is not one of the end ids {body['stop_token_ids']}")
    return SampleResult(
        token_ids=tuple(ids),
        logps=tuple(min(0.0, float(x)) for x in logps),
        finish=FinishReason.EOS if ended else FinishReason.LENGTH,
        policy_version=version,
    )


def scoring_body(ids: Sequence[int], *, model: str) -> dict[str, Any]:
    """A request for the log-probs of `ids` themselves. vLLM also samples one token, which is ignored."""
    return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def read_scores(reply: Any, ids: Sequence[int], *, model: str) -> list[float]:
    """Log-probs in nats of ids[1:] from a reply to `scoring_body`.

    Raises:
        KeyError, IndexError, TypeError, ValueError: an invalid reply.
    """
    if reply["model"] != model:
        raise ValueError(f"it is from model {reply['model']!r}, {model!r} was requested")
    places = reply["choices"][0]["prompt_logprobs"][1:]
    return [float(place[str(i)]["logprob"]) for i, place in zip(ids[1:], places, strict=True)]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _schema_text(document: dict[str, Any], path: str) -> str:
    """The request schema of `path` as JSON text, one reference followed."""
    import json

    text = json.dumps(document["paths"][path])
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        if f'"#/components/schemas/{name}"' in text:
            text += json.dumps(schema)
    return text
