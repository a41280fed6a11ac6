"""A retriever behind HTTP: Search-R1's `/retrieve`, also spoken by `rlsd serve search` and others.

    POST /retrieve   {"queries": ["…"], "topk": 3, "return_scores": true}
    200              {"result": [[{"document": {"id": "…", "contents": "title\\ntext"}, "score": 9.3}, …]]}

Without scores each entry is the document itself. Failures are typed and, where useful, retried with growing
pauses; a failure is never an empty result.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from rlsd.envs.errors import EnvError
from rlsd.envs.remote.http_client import HttpClient, HttpFailure
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.base import (
    RetrievalError,
    RetrieverDown,
    RetrieverFault,
    RetrieverGarbled,
    RetrieverRefused,
    RetrieverSlow,
    RetrieverTooLarge,
)

_AGAIN = (RetrieverDown, RetrieverSlow, RetrieverFault, RetrieverGarbled)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_CONNECTIONS = 256


class HttpRetriever:
    """Client of a retrieval server, shared by all environments of a process; each event loop has its own connections.

    Args:
        url: of the server ("http://127.0.0.1:8000") or of its endpoint ("…/retrieve").
        token: sent as `Authorization: Bearer`.
        timeout_s: for one attempt, from connecting to the last byte.
        retries: further attempts after a transient failure.
        max_bytes: maximum size of a reply.
        pause: sleeps the given seconds between attempts; for tests.

    Raises:
        EnvError: not the URL of a server.
    """

    blocking = True

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 3,
        max_bytes: int = 8 << 20,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EnvError(
                f"{url!r} is not the address of a retriever; expected http://host:port or http://host:port/retrieve"
            )
        if timeout_s <= 0 or retries < 0 or max_bytes < 1:
            raise EnvError(f"timeout_s={timeout_s}, retries={retries}, max_bytes={max_bytes}: out of range")
        self.url = url if parts.path.rstrip("/") else url.rstrip("/") + "/retrieve"
        self._timeout_s, self._retries, self._pause = timeout_s, retries, pause
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.strip()}"
        self._client = HttpClient(headers=headers, most=_CONNECTIONS, proxies=True, max_bytes=max_bytes)
        self._jitter = random.Random()  # not the global state: episodes must be reproducible

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        import tenacity

        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._retries + 1),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(_AGAIN),
            sleep=self._pause,
            reraise=True,
        )
        readable = [
            query.encode("utf-8", "replace").decode() for query in queries
        ]  # JSON cannot encode lone surrogates
        return await tries(self._once, readable, k)

    async def close(self) -> None:
        """Close this loop's connections; a later search opens new ones. The loop's end closes them too."""
        await self._client.close()

    def _wait(self, state: Any) -> float:
        """Seconds to wait: doubling, with jitter so that clients do not retry at the same time."""
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (state.attempt_number - 1))
        return longest * (0.5 + 0.5 * self._jitter.random())

    async def _once(self, queries: list[str], k: int) -> list[list[Passage]]:
        payload = json.dumps({"queries": queries, "topk": k, "return_scores": True})
        try:
            reply = await self._client.post(self.url, payload, timeout_s=self._timeout_s)
        except HttpFailure as error:
            raise self._error(error) from error
        if reply.status >= 500 or reply.status in (408, 429):
            raise RetrieverFault(f"{self.url}: status {reply.status}: {_glimpse(reply.body)}")
        if reply.status != 200:
            raise RetrieverRefused(f"{self.url}: status {reply.status}: {_glimpse(reply.body)}")
        if "content-encoding" in reply.headers:
            raise RetrieverGarbled(f"{self.url}: a compressed answer, which was not requested")
        return read_answer(reply.body, queries=len(queries), k=k, source=self.url)

    def _error(self, failure: HttpFailure) -> RetrievalError:
        if failure.kind == "slow":
            return RetrieverSlow(f"{self.url}: no complete answer within {self._timeout_s:g} s")
        kinds = {"too_large": RetrieverTooLarge, "encoding": RetrieverGarbled}
        return kinds.get(failure.kind, RetrieverDown)(f"{self.url}: {failure}")


def read_answer(body: bytes, *, queries: int, k: int, source: str) -> list[list[Passage]]:
    """The passages in a reply of `/retrieve`.

    Raises:
        RetrieverGarbled: not JSON, or not of the protocol's shape.
    """
    try:
        lists = json.loads(body)["result"]
        if not isinstance(lists, list) or len(lists) != queries:
            raise ValueError(f"{queries} lists expected in 'result'")
        return [[_passage(entry) for entry in one[:k]] for one in lists]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RetrieverGarbled(f"{source}: not an answer of /retrieve ({reason[:200]}): {_glimpse(body)}") from error


def _passage(entry: dict[str, Any]) -> Passage:
    scored = "document" in entry
    document, score = (entry["document"], float(entry["score"])) if scored else (entry, 0.0)
    contents = document.get("contents")
    if contents is None:
        title, text = document["title"], document["text"]
    else:
        title, _, text = contents.partition("\n")
    if not isinstance(title, str) or not isinstance(text, str):
        raise TypeError("a document's contents must be text")
    return Passage(title=title, text=text, doc_id=str(document.get("id", "")), score=score)


def _glimpse(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))
