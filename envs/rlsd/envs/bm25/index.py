"""An inverted index with the scores of Lucene's BM25, over memory-mapped NumPy arrays.

Scores are Lucene's to the bit: idf and average length in single precision, document lengths rounded to its one-byte
code, term scores added in double precision and rounded once, ties broken by the document's key (Anserini) or by its
position. Sources: Robertson and Zaragoza 2009; Lucene 9 `BM25Similarity`, `SmallFloat` (behaviour, not code).

Search prunes: terms are taken from the strongest to the weakest, and as soon as the weaker ones together cannot lift
a new document into the first k, only the documents seen so far are scored further (MaxScore; Turtle and Flood 1995).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.bm25.analyzer import Analyzer, lucene_english
from rlsd.envs.bm25.lengths import LENGTHS
from rlsd.envs.bm25.storage import Arrays, analyzer_name, find_analyzer, read_arrays, write_arrays
from rlsd.envs.bm25.writing import write_postings
from rlsd.envs.errors import DataError

_SLACK = 1e-4
"""Pruning keeps what is this close to the k-th score; double precision is off by far less."""
_CACHED_QUERIES = 4096
_FEW = 65_536
"""Up to this many postings and documents, scoring all of them is faster than pruning."""


class Hit(NamedTuple):
    """A document's position in the built order, and its score (Lucene's single precision)."""

    doc: int
    score: float


class Bm25Index:
    """Built once, read by any number of threads.

    Example:
        >>> index = Bm25Index.build(["red shoes", "blue shoes with laces"])
        >>> [hit.doc for hit in index.search("red shoe laces", k=2)]
        [0, 1]
    """

    def __init__(self, arrays: Arrays, *, analyzer: Analyzer, k1: float, b: float) -> None:
        """Use `build` or `load`."""
        self._arrays = arrays
        self._analyzer, self._k1, self._b = analyzer, k1, b
        filled = int(np.count_nonzero(arrays.lengths)) if len(arrays.lengths) else 0
        average = np.float32(arrays.tokens / filled) if filled else np.float32(1)
        self._filled = filled
        one, k, share = np.float32(1), np.float32(k1), np.float32(b)
        self._inverse: NDArray[np.float32] = one / (k * ((one - share) + share * LENGTHS / average))
        self._local = threading.local()
        self._cached_search = lru_cache(maxsize=_CACHED_QUERIES)(self._search)

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        analyzer: Analyzer = lucene_english,
        k1: float = 0.9,
        b: float = 0.4,
        keys: Iterable[str] | None = None,
        folder: str | Path | None = None,
        buffer_postings: int = 8_000_000,
    ) -> Bm25Index:
        """Index texts in one pass.

        Args:
            texts: documents; document i of the index is the i-th.
            analyzer: text → terms, for documents and queries.
            k1, b: BM25's saturation (above 0) and length share (0 to 1).
            keys: one name a document; equal scores are ordered by it. Without: by position.
            folder: write the index there while building (bounded memory: `buffer_postings` · 16 bytes and the
                vocabulary; temporary files about as large as the index) and return it memory-mapped.
            buffer_postings: postings buffered in memory at a time.

        Raises:
            DataError: k1 or b out of range, or fewer or more keys than texts.
        """
        if k1 <= 0 or not 0 <= b <= 1:
            raise DataError(f"k1={k1}, b={b}: expected k1 above 0 and b from 0 to 1")
        arrays = write_postings(
            texts, analyzer=analyzer, keys=keys, folder=None if folder is None else Path(folder), buffer=buffer_postings
        )
        index = cls(arrays, analyzer=analyzer, k1=k1, b=b)
        if folder is None:
            return index
        index.save(folder)
        return cls.load(folder, analyzer=analyzer)

    @classmethod
    def load(cls, folder: str | Path, *, analyzer: Analyzer | None = None, verify: bool | None = None) -> Bm25Index:
        """Open a saved index; files are memory-mapped and read on demand.

        Args:
            folder: the argument of `save`.
            analyzer: required if the index was built with a custom analyser.
            verify: compare every file with its checksum; None does so for indices under 256 MiB and compares
                sizes alone above.

        Raises:
            DataError: a file that is missing, damaged or of another version, or an unknown analyser.
        """
        arrays, settings = read_arrays(Path(folder), verify=verify)
        return cls(
            arrays,
            analyzer=analyzer or find_analyzer(settings.analyzer, Path(folder)),
            k1=settings.k1,
            b=settings.b,
        )

    def save(self, folder: str | Path) -> None:
        """Write arrays and a manifest with their checksums; an existing index is replaced."""
        write_arrays(Path(folder), self._arrays, k1=self._k1, b=self._b, analyzer=analyzer_name(self._analyzer))

    def __len__(self) -> int:
        """Documents, empty ones too."""
        return len(self._arrays.lengths)

    @property
    def terms(self) -> int:
        """Distinct terms."""
        return len(self._arrays.vocabulary)

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The best k documents that share a term with the query, best first; fewer where fewer match."""
        if k < 1:
            return []
        return list(self._cached_search(query, k))

    def _search(self, query: str, k: int) -> tuple[Hit, ...]:
        terms = self._weighted(query)
        if not terms:
            return ()
        if len(self) <= _FEW and sum(span.stop - span.start for _, _, span in terms) <= _FEW:
            return self._score_all(terms, k)
        scores, seen = self._scratch()
        bounds = np.cumsum([bound for bound, _, _ in reversed(terms)])[::-1]
        docs: NDArray[np.int64] = np.empty(0, np.int64)
        floor = -np.inf
        walked = []
        for i, (_, weight, span) in enumerate(terms):
            if i and len(docs) >= k and bounds[i] < floor - _SLACK:
                docs = docs[scores[docs] + bounds[i] >= floor - _SLACK]  # dropped documents keep a stale score
                self._score_candidates(docs, weight, span, scores)
            else:
                walked.append(span)
                matches = self._arrays.docs[span].astype(np.int64)
                scores[matches] += self._term_scores(matches, weight, span)
                fresh = matches[~seen[matches]]
                seen[fresh] = True
                docs = np.concatenate([docs, fresh])
            if len(docs) >= k:
                floor = float(np.partition(scores[docs], len(docs) - k)[len(docs) - k])
        hits = self._best(docs, scores, k)
        for span in walked:
            touched = self._arrays.docs[span]
            scores[touched], seen[touched] = 0, False
        return hits

    def _score_all(self, terms: list[tuple[float, np.float32, slice]], k: int) -> tuple[Hit, ...]:
        """Without pruning: all postings of all terms in one pass."""
        arrays = self._arrays
        matches = np.concatenate([arrays.docs[span] for _, _, span in terms])
        counts = np.concatenate([arrays.counts[span] for _, _, span in terms]).astype(np.float32)
        weights = np.repeat(
            np.array([weight for _, weight, _ in terms], np.float32), [span.stop - span.start for _, _, span in terms]
        )
        each = weights - weights / (np.float32(1) + counts * self._inverse[arrays.lengths[matches]])
        scores = np.bincount(matches, weights=each, minlength=len(self)).astype(np.float64, copy=False)
        return self._best(np.flatnonzero(scores), scores, k)

    def _weighted(self, query: str) -> list[tuple[float, np.float32, slice]]:
        """(highest score it can give, weight, postings) of every term in the index, strongest first."""
        out = []
        for term, count in Counter(self._analyzer(query)).items():
            number = self._arrays.vocabulary.find(term)
            if number < 0:
                continue
            span = self._arrays.span(number)
            frequency = span.stop - span.start
            idf = np.float32(np.log(1 + (self._filled - frequency + 0.5) / (frequency + 0.5)))
            weight = np.float32(count) * idf
            out.append((float(weight), weight, span))
        return sorted(out, key=lambda entry: (-entry[0], entry[2].start))

    def _term_scores(self, docs: NDArray[np.int64], weight: np.float32, span: slice) -> NDArray[np.float32]:
        counts = self._arrays.counts[span].astype(np.float32)
        factor = self._inverse[self._arrays.lengths[docs]]
        return np.asarray(weight - weight / (np.float32(1) + counts * factor), np.float32)

    def _score_candidates(
        self, docs: NDArray[np.int64], weight: np.float32, span: slice, scores: NDArray[np.float64]
    ) -> None:
        """Add a term's scores to those of `docs` that hold it, without walking all its postings."""
        postings = self._arrays.docs[span]
        at = np.searchsorted(postings, docs.astype(postings.dtype))
        at[at == len(postings)] = 0
        has_term = postings[at] == docs
        places, owners = at[has_term], docs[has_term]
        counts = self._arrays.counts[span][places].astype(np.float32)
        factor = self._inverse[self._arrays.lengths[owners]]
        scores[owners] += weight - weight / (np.float32(1) + counts * factor)

    def _best(self, docs: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> tuple[Hit, ...]:
        values = scores[docs].astype(np.float32)
        if len(docs) > k:
            floor = np.partition(values, len(values) - k)[len(values) - k]
            docs, values = docs[values >= floor], values[values >= floor]
        ties = docs if self._arrays.order is None else self._arrays.order[docs]
        best = np.lexsort((ties, -values))[:k]
        return tuple(Hit(int(docs[i]), float(values[i])) for i in best)

    def _scratch(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """This thread's accumulators, all zero between searches."""
        if not hasattr(self._local, "scores"):
            self._local.scores = np.zeros(len(self), np.float64)
            self._local.seen = np.zeros(len(self), np.bool_)
        return self._local.scores, self._local.seen
