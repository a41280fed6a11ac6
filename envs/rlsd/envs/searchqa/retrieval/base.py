"""Retrievers: queries in, passages out. One async method; the synchronous environment calls it through `ask`.

A retriever that computes in this process never waits, so its coroutine runs to completion in the caller. One that waits
(a server) runs on an event loop in its own thread, shared by all environments of the process: connections are pooled,
and each environment's step waits in its rollout thread.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import RlsdError
from rlsd.envs.remote.http_client import HttpFailure
from rlsd.envs.remote.loop import REQUESTS
from rlsd.envs.searchqa.questions.types import Passage

T = TypeVar("T")


class RetrievalError(RlsdError):
    """A failed search. The episode failed; it is not a wrong answer."""

    kind = "failed"


class RetrieverDown(RetrievalError):
    """No server responds at the address."""

    kind = "down"


class RetrieverSlow(RetrievalError):
    """No complete reply within the time limit."""

    kind = "slow"


class RetrieverFault(RetrievalError):
    """The server replied with an internal error (5xx) or too many requests (429)."""

    kind = "fault"


class RetrieverRefused(RetrievalError):
    """The server refused the request (4xx): retrying will not help."""

    kind = "refused"


class RetrieverGarbled(RetrievalError):
    """The reply violates the protocol."""

    kind = "garbled"


class RetrieverTooLarge(RetrievalError):
    """The reply exceeds the size limit."""

    kind = "too_large"


@runtime_checkable
class Retriever(Protocol):
    """Finds passages."""

    blocking: bool
    """True when `search` waits for another process."""

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most `k` passages for each query, best first.

        Raises:
            RetrievalError: typed by what went wrong.
        """
        ...


def ask(retriever: Retriever, queries: Sequence[str], k: int) -> list[list[Passage]]:
    """`search` from synchronous code; checks the shape of the result, and replaces lone surrogates in it by U+FFFD.

    Raises:
        RetrievalError: from the retriever, or `RetrieverGarbled` for a result of the wrong shape.
    """
    search = retriever.search(queries, k)
    results = _waited(search) if retriever.blocking else _straight(search, type(retriever).__name__)
    if len(results) != len(queries) or any(len(passages) > k for passages in results):
        sizes = [len(passages) for passages in results]
        raise RetrieverGarbled(f"{len(queries)} queries for {k} passages each got lists of {sizes}")
    return [[_well_formed(passage) for passage in passages] for passages in results]


def _well_formed(passage: Passage) -> Passage:
    title, text = well_formed(passage.title), well_formed(passage.text)
    same = title == passage.title and text == passage.text
    return passage if same else replace(passage, title=title, text=text)


def _waited(search: Coroutine[Any, Any, T]) -> T:
    try:
        return REQUESTS.run(search)
    except HttpFailure as error:  # the process ends
        raise RetrieverSlow("the search was cancelled") from error


def _straight(search: Coroutine[Any, Any, T], name: str) -> T:
    """Run a coroutine that does not wait."""
    try:
        search.send(None)
    except StopIteration as done:
        return done.value
    search.close()
    raise RetrievalError(f"{name} waits although it says blocking = False; set blocking = True")
