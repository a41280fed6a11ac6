"""A retrieval server that Search-R1's clients understand.

    POST /retrieve   {"queries": ["…"], "topk": 3, "return_scores": true}
    200              {"result": [[{"document": {"id": "…", "contents": "title\\ntext"}, "score": 9.3}, …]]}
    GET /health      {"status": "ok", "documents": 994}            no token needed
    GET /metrics     Prometheus text

Refusals are `{"error": "…"}`: 400 not JSON or not of this shape, 413, 503, 504 as the guard says, 500 a search that
failed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import RlsdError
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.local import LocalRetriever
from rlsd.harness.serve.batching import Batcher, Overloaded
from rlsd.harness.serve.guard import ServeError, no_json

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """What one request may ask, and what may wait."""

    topk: int = 3
    """Passages where a request does not say."""
    max_topk: int = 100
    max_queries: int = 512
    """Queries of one request."""
    max_query_chars: int = 4096
    max_batch: int = 256
    """Queries searched at once."""
    max_waiting: int = 8192

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ServeError(f"{name} must be above 0, got {getattr(self, name)!r}")


class BadRequest(RlsdError):
    """A request that is not what the protocol says."""


def search_app(retriever: LocalRetriever, limits: SearchLimits | None = None) -> Starlette:
    """The server's application; put it behind `rlsd.harness.serve.listener.Listener`.

    Raises:
        ServeError: the extra `serve` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, PlainTextResponse
        from starlette.routing import Route
    except ImportError as error:
        raise ServeError("serving needs uvicorn and starlette: pip install 'rlsd[serve]'") from error
    limits = limits or SearchLimits()
    metrics = _Metrics()
    batcher = Batcher(
        retriever.search_now,
        max_batch=limits.max_batch,
        max_waiting=limits.max_waiting,
        on_batch=metrics.batch_size.observe,
    )
    metrics.waiting.set_function(lambda: batcher.waiting)

    async def retrieve(request: Request) -> Response:
        began = perf_counter()
        if (why := no_json(request.headers.get("content-type"))) is not None:
            status, body = 403, _error(why)
        else:
            status, body = await _answered(await request.body(), batcher, limits, metrics)
        metrics.requests.labels(str(status)).inc()
        metrics.seconds.observe(perf_counter() - began)
        return PlainTextResponse(body, status, media_type="application/json")

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "documents": len(retriever.passages)})

    async def show_metrics(_: Request) -> Response:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await batcher.close()

    routes = [
        Route("/retrieve", retrieve, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", show_metrics),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _answered(body: bytes, batcher: Batcher, limits: SearchLimits, metrics: _Metrics) -> tuple[int, bytes]:
    """(status, JSON) of one request."""
    try:
        queries, topk, scores = read_request(body, limits)
        metrics.queries.inc(len(queries))
        results = await batcher.search(queries, topk) if queries else []
    except BadRequest as error:
        return 400, _error(str(error))
    except Overloaded as error:
        return 503, _error(str(error))
    except Exception as error:  # a search that fails must not end the server
        _log.exception("a search failed")
        return 500, _error(f"the search failed: {type(error).__name__}")
    result = [[_entry(passage, scores) for passage in passages] for passages in results]
    return 200, well_formed(json.dumps({"result": result}, ensure_ascii=False)).encode()


def read_request(body: bytes, limits: SearchLimits) -> tuple[list[str], int, bool]:
    """(queries, topk, with scores) of a request's body. `topk` 0 or null means the default, as upstream.

    Raises:
        BadRequest: says what is wrong.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(data, dict) or not isinstance(queries := data.get("queries"), list):
        raise BadRequest('expected {"queries": ["…"], "topk": 3, "return_scores": true}')
    if not all(isinstance(query, str) for query in queries):
        raise BadRequest("queries must be texts")
    if len(queries) > limits.max_queries:
        raise BadRequest(f"{len(queries)} queries, at most {limits.max_queries} are taken at once")
    if any(len(query) > limits.max_query_chars for query in queries):
        raise BadRequest(f"a query exceeds {limits.max_query_chars} characters")
    topk = data.get("topk") or limits.topk
    if not isinstance(topk, int) or not 1 <= topk <= limits.max_topk:
        raise BadRequest(f"topk must be a whole number from 1 to {limits.max_topk}")
    return queries, topk, bool(data.get("return_scores", False))


def _entry(passage: Passage, scores: bool) -> dict[str, Any]:
    document = {"id": passage.doc_id, "contents": passage.contents}
    return {"document": document, "score": passage.score} if scores else document


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


class _Metrics:
    """What the server counts, in a registry of its own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self.requests = Counter(
            "rlsd_search_requests", "Requests of /retrieve by status", ["status"], registry=self._registry
        )
        self.queries = Counter("rlsd_search_queries", "Queries asked", registry=self._registry)
        self.seconds = Histogram("rlsd_search_seconds", "Seconds a request took", registry=self._registry)
        sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
        self.batch_size = Histogram(
            "rlsd_search_batch_queries", "Queries searched at once", buckets=sizes, registry=self._registry
        )
        self.waiting = Gauge("rlsd_search_waiting_queries", "Queries waiting or at work", registry=self._registry)

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
