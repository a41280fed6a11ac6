"""One vLLM server over HTTP: token ids in, token ids and log-probs out. No vLLM version is asked for by number.

What a server can do is read from its own `/openapi.json`; what is missing is named together with the flag or variable
that brings it. Calls that steer the server block; `complete` is awaited.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httpx

from rlsd.agents.types import FinishReason, SampleResult
from rlsd.envs.errors import RlsdError


class SamplerError(RlsdError):
    """A sampling server that cannot be used; says which one, what it did and how to mend it."""


class ServerUnreachable(SamplerError):
    """Nobody answers at the address, or only with errors."""


class ServerMismatch(SamplerError):
    """The server holds another model or tokenizer, or lacks a route that is needed."""


class ServerReply(SamplerError):
    """The server answered, but not with what was asked for."""


class StalePolicy(SamplerError):
    """The server answers with weights other than those it was sent."""


COMPLETIONS = "/v1/completions"
NEEDS = {
    COMPLETIONS: "is it a vLLM server?",
    "/collective_rpc": "start it with VLLM_SERVER_DEV_MODE=1",
    "/reset_prefix_cache": "start it with VLLM_SERVER_DEV_MODE=1",
    "/init_weight_transfer_engine": "start it with VLLM_SERVER_DEV_MODE=1 (`rlsd serve policy --transfer`)",
    "/v1/unload_lora_adapter": "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
    "/v1/load_lora_adapter": "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
}
"""How to get a route that a server lacks."""


CONNECTIONS: dict[str, Any] = {
    "limits": httpx.Limits(max_connections=None, max_keepalive_connections=0),
    "trust_env": False,
}
"""A connection for each request: none is left open, and none can be one to a server that has died since. Proxies named
in the environment do not stand between a learner and its servers."""


class VLLMServer:
    """The routes of one server.

    Args:
        url: "http://host:port".
        api_key: sent as a bearer token.
        timeout_s: seconds one answer may take.
        quick_s: seconds a question about the server itself may take.
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
        """Read the server's routes again when they are next needed."""
        self._routes = None

    # ------------------------------------------------------------------ steering

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None, **params: Any) -> Any:
        """The decoded JSON answer, or its text where it is no JSON.

        Raises:
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: status 400 to 499; quotes the server's reason.
        """
        try:
            answer = self._client.request(
                method, path, json=body, params=params or None, timeout=timeout_s or self.timeout_s
            )
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"{self.url}{path}: {_reason(error)}") from error
        return self.decode(answer, path)

    def decode(self, answer: httpx.Response, path: str) -> Any:
        """The body of a good answer.

        Raises:
            ServerUnreachable, ServerReply: as in `call`.
        """
        if answer.status_code >= 400:
            told = " ".join(answer.text.split())[:300]
            kind = ServerUnreachable if answer.status_code >= 500 else ServerReply
            raise kind(f"{self.url}{path} answered {answer.status_code}: {told}")
        try:
            return answer.json()
        except ValueError:
            return answer.text

    def healthy(self) -> bool:
        """The server answers."""
        try:
            self.call("GET", "/health", timeout_s=self._quick_s)
        except SamplerError:
            return False
        return True

    def models(self) -> list[dict[str, Any]]:
        """What `/v1/models` lists: the base model first, adapters after it."""
        found = self.call("GET", "/v1/models", timeout_s=self._quick_s)
        data = found.get("data") if isinstance(found, dict) else None
        if not isinstance(data, list) or not data or not all(isinstance(m, dict) and "id" in m for m in data):
            raise ServerReply(f"{self.url}/v1/models names no model: is it a vLLM server?")
        return data

    def offers(self, path: str, field: str | None = None) -> bool:
        """The server has this route, and its request knows this field."""
        if self._routes is None:
            try:
                found = self.call("GET", "/openapi.json", timeout_s=self._quick_s)
            except ServerReply:
                found = {}
            self._routes = found if isinstance(found, dict) else {}
        if not self._routes.get("paths"):
            return True  # it does not tell; what is missing shows when it is used
        if path not in self._routes["paths"]:
            return False
        if field is None:
            return True
        return f'"{field}"' in _schema_text(self._routes, path)

    def require(self, path: str, field: str | None = None) -> None:
        """
        Raises:
            ServerMismatch: the server lacks the route or the field; says how to get it.
        """
        if not self.offers(path):
            raise ServerMismatch(f"{self.url} has no route {path}: {NEEDS.get(path, 'take a newer vLLM')}")
        if field is not None and not self.offers(path, field):
            raise ServerMismatch(f"{self.url}{path} does not know {field!r}: take a newer vLLM")

    def tokenize(self, model: str, text: str) -> list[int] | None:
        """Ids the server gives `text`, None where it has no such route."""
        if not self.offers("/tokenize"):
            return None
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        found = self.call("POST", "/tokenize", body, timeout_s=self._quick_s)
        return list(found["tokens"]) if isinstance(found, dict) and "tokens" in found else None

    def prompt_logps(self, model: str, ids: Sequence[int]) -> list[float]:
        """Nats of ids[1:] given what stands before each, under the server's present weights at temperature 1.

        Raises:
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: an answer without them.
        """
        return self._read_scores(self.call("POST", COMPLETIONS, scoring_body(ids, model=model)), model, ids)

    def _read_scores(self, found: Any, model: str, ids: Sequence[int]) -> list[float]:
        try:
            return read_scores(found, ids, model=model)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ServerReply(
                f"{self.url}{COMPLETIONS} gave no prompt log-probs for {len(ids)} ids ({_reason(error)})"
            ) from error

    # ------------------------------------------------------------------ sampling

    async def complete(self, client: httpx.AsyncClient, body: dict[str, Any], *, version: int) -> SampleResult:
        """One response. `client` belongs to the running event loop; cancelling the call closes its connection, upon
        which the server stops decoding.

        Raises:
            ServerUnreachable: no answer, or status 500 and above.
            ServerReply: an answer that is not one response to `body`.
        """
        found = await self._post(client, body)
        try:
            return read_response(found, body, version=version)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ServerReply(f"{self.url}{COMPLETIONS}: unusable answer: {_reason(error)}") from error

    async def score(self, client: httpx.AsyncClient, model: str, ids: Sequence[int]) -> list[float]:
        """As `prompt_logps`, awaited."""
        return self._read_scores(await self._post(client, scoring_body(ids, model=model)), model, ids)

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Any:
        try:
            answer = await client.post(
                f"{self.url}{COMPLETIONS}", json=body, headers=self.headers, timeout=self.timeout_s
            )
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"{self.url}{COMPLETIONS}: {_reason(error)}") from error
        return self.decode(answer, COMPLETIONS)


def request_body(
    prompt_ids: Sequence[int], *, model: str, max_new_tokens: int, temperature: float, seed: int, eos_ids: Sequence[int]
) -> dict[str, Any]:
    """A request for one response from the untruncated distribution: every knob that a model's own generation config
    could turn is named, so that none is turned silently."""
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


def read_response(found: Any, body: dict[str, Any], *, version: int) -> SampleResult:
    """Check an answer to `request_body` and take what is needed.

    Raises:
        KeyError, IndexError, TypeError, ValueError: it is not such an answer.
    """
    if found["model"] != body["model"]:
        raise ValueError(f"it comes from model {found['model']!r}, {body['model']!r} was asked")
    choice = found["choices"][0]
    ids, logps, reason = choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"]
    if not ids or not all(type(i) is int and i >= 0 for i in ids):
        raise ValueError(f"token_ids is {str(ids)[:80]}, expected a list of ids")
    if len(logps) != len(ids):
        raise ValueError(f"{len(ids)} token ids with {len(logps)} log-probs")
    if len(ids) > body["max_tokens"]:
        raise ValueError(f"{len(ids)} tokens, at most {body['max_tokens']} were asked")
    if not all(isinstance(x, int | float) and math.isfinite(x) and x <= 1e-3 for x in logps):
        raise ValueError(f"log-probs are {str(logps)[:80]}, expected finite numbers up to 0")
    if reason not in ("stop", "length"):
        raise ValueError(f"finish_reason is {reason!r}, expected 'stop' or 'length'")
    ended = ids[-1] in body["stop_token_ids"]
    if reason == "stop" and not ended:
        raise ValueError(f"it stopped after id {ids[-1]}, which is none of the end ids {body['stop_token_ids']}")
    return SampleResult(
        token_ids=tuple(ids),
        logps=tuple(min(0.0, float(x)) for x in logps),
        finish=FinishReason.EOS if ended else FinishReason.LENGTH,
        policy_version=version,
    )


def scoring_body(ids: Sequence[int], *, model: str) -> dict[str, Any]:
    """A request for the log-probs of `ids` themselves. One token must be drawn too; nobody looks at it."""
    return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def read_scores(found: Any, ids: Sequence[int], *, model: str) -> list[float]:
    """Nats of ids[1:] from an answer to `scoring_body`.

    Raises:
        KeyError, IndexError, TypeError, ValueError: it is not such an answer.
    """
    if found["model"] != model:
        raise ValueError(f"it comes from model {found['model']!r}, {model!r} was asked")
    places = found["choices"][0]["prompt_logprobs"][1:]
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
