"""Retrievers that compute in this process: BM25, dense vectors, both fused, and none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.bm25 import Bm25Index
from rlsd.envs.errors import EnvError
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.base import RetrievalError, Retriever

RRF = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""


class Passages(Protocol):
    """Random access to paragraphs by position: a list, or a memory-mapped store."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Passage: ...


class Ranker(Protocol):
    """Positions and scores of the best passages of each query; the part of a retriever that fusion needs."""

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]: ...


class Bm25Ranker:
    """Lucene's BM25 over titles and texts."""

    def __init__(self, index: Bm25Index) -> None:
        self.index = index

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> Bm25Ranker:
        """Index passages in memory."""
        return cls(Bm25Index.build(passage.contents for passage in passages))

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        return [[(hit.doc, hit.score) for hit in self.index.search(query, k)] for query in queries]


class Fused:
    """Several rankers, fused by reciprocal rank: score(d) = Σ 1 / (60 + rank of d), over the first `depth` of each."""

    def __init__(self, rankers: Sequence[Ranker], *, depth: int = 100) -> None:
        if not rankers or depth < 1:
            raise EnvError(f"fusion needs a ranker and a depth of at least 1, got {len(rankers)} and {depth}")
        self.rankers, self.depth = tuple(rankers), depth

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        lists = [ranker.rank(queries, max(k, self.depth)) for ranker in self.rankers]
        return [fuse([ranked[i] for ranked in lists], k) for i in range(len(queries))]


def fuse(rankings: Sequence[Sequence[tuple[int, float]]], k: int) -> list[tuple[int, float]]:
    """The best k by reciprocal rank; ties by position.

    >>> fuse([[(7, 9.0), (3, 8.0)], [(3, 0.9)]], 2)[0][0]
    3
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (position, _) in enumerate(ranking, start=1):
            scores[position] = scores.get(position, 0.0) + 1 / (RRF + rank)
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]


class LocalRetriever:
    """A ranker and its passages.

    Args:
        blocking: set it if ranking is slow (an encoder), so that it does not block an event loop.

    Example:
        >>> passages = [Passage(title="Tavo", text="Tavo was a pupil of Bela.")]
        >>> ask(LocalRetriever(Bm25Ranker.of(passages), passages), ["Tavo teacher"], 3)
    """

    def __init__(self, ranker: Ranker, passages: Passages, *, blocking: bool = False) -> None:
        self.ranker, self.passages, self.blocking = ranker, passages, blocking

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return self.search_now(queries, k)

    def search_now(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """Synchronous `search`, for threads of a server."""
        out = []
        for ranking in self.ranker.rank(queries, k):
            ranked = [(self.passages[position], score) for position, score in ranking]
            out.append([Passage(title=p.title, text=p.text, doc_id=p.doc_id, score=s) for p, s in ranked])
        return out


class NoRetriever:
    """Returns nothing: the closed-book baseline."""

    blocking = False

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [[] for _ in queries]


class FlakyRetriever:
    """Fails on chosen calls, for tests of failures.

    Args:
        inner: answers the other calls.
        failures: error by call number, counted from 0.
    """

    blocking = False

    def __init__(self, inner: Retriever, failures: dict[int, RetrievalError]) -> None:
        self.inner, self.failures, self.calls = inner, dict(failures), 0
        self.blocking = inner.blocking

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        call, self.calls = self.calls, self.calls + 1
        if call in self.failures:
            raise self.failures[call]
        return await self.inner.search(queries, k)


class Encoder(Protocol):
    """Texts to vectors. Implementations need torch and live in `rlsd.agents.hf.encoder`."""

    def encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """(len(texts), D) unit vectors."""
        ...


def encoded(encoder: Encoder, queries: Sequence[str], dim: int) -> NDArray[np.float32]:
    """(Q, D) vectors of queries.

    Raises:
        EnvError: the encoder's vectors have another length than the index's.
    """
    vectors = encoder.encode(queries, query=True)
    if vectors.shape[1] != dim:
        raise EnvError(
            f"the encoder returns vectors of length {vectors.shape[1]}, the index has {dim}: "
            "it was built with another encoder; use that one"
        )
    return vectors


class DenseRanker:
    """Exact search by inner product, in NumPy, one block of vectors at a time.

    Args:
        vectors: (N, D) unit vectors, float32 or float16; may be memory-mapped.
        encoder: turns queries into vectors.
        block: vectors per block: bounds memory to `queries · block` scores.
    """

    def __init__(self, vectors: NDArray[np.floating], encoder: Encoder, *, block: int = 65_536) -> None:
        if vectors.ndim != 2:
            raise EnvError(f"dense vectors must have shape (N, D), got {vectors.shape}")
        self.vectors, self.encoder, self.block = vectors, encoder, block

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        if not len(self.vectors) or not queries:
            return [[] for _ in queries]
        wanted = encoded(self.encoder, queries, self.vectors.shape[1])
        best: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = [
            (np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries
        ]
        for start in range(0, len(self.vectors), self.block):
            part = np.asarray(self.vectors[start : start + self.block], np.float32)
            scores = wanted @ part.T
            for i, row in enumerate(scores):
                most = min(k, len(row))
                at = np.argpartition(-row, most - 1)[:most] if most < len(row) else np.arange(len(row))
                docs = np.concatenate([best[i][0], at + start])
                values = np.concatenate([best[i][1], row[at]])
                order = np.lexsort((docs, -values))[:k]
                best[i] = docs[order], values[order]
        return [[(int(d), float(s)) for d, s in zip(docs, values, strict=True)] for docs, values in best]
