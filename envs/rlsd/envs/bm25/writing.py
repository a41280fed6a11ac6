"""Texts to postings in one pass: buffered, spilled to sorted runs, merged at the end."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.bm25.analyzer import Analyzer
from rlsd.envs.bm25.lengths import encode_length
from rlsd.envs.bm25.storage import Arrays
from rlsd.envs.bm25.vocabulary import Vocabulary
from rlsd.envs.errors import DataError

_MISSING = object()
_MOST = 65_535
"""A term's count in one document is stored in 16 bits."""


def write_postings(
    texts: Iterable[str], *, analyzer: Analyzer, keys: Iterable[str] | None, folder: Path | None, buffer: int
) -> Arrays:
    """Index the texts; with a folder, runs and the result are files (memory-mapped), else all is in memory.

    Raises:
        DataError: fewer or more keys than texts.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
        build = _Build(Path(scratch) if folder is not None else None, max(1, buffer))
        names: list[bytes] = []
        for text, key in _paired(texts, keys):
            build.add(analyzer(text))
            if key is not None:
                names.append(key.encode("utf-8", "surrogatepass"))
        order = _order(names) if keys is not None else None
        return build.finish(order, folder)


def _paired(texts: Iterable[str], keys: Iterable[str] | None) -> Iterator[tuple[str, str | None]]:
    if keys is None:
        yield from ((text, None) for text in texts)
        return
    for i, (text, key) in enumerate(zip_longest(texts, keys, fillvalue=_MISSING)):
        if text is _MISSING or key is _MISSING:
            raise DataError(f"as many keys as texts are expected; {'texts' if text is _MISSING else 'keys'} end at {i}")
        yield text, key  # type: ignore[misc]


def _order(names: list[bytes]) -> NDArray[np.uint32]:
    """Rank of each document's key, equal keys by position."""
    order = np.empty(len(names), np.uint32)
    order[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names), dtype=np.uint32)
    return order


class _Build:
    """Postings under construction: (term, document, count) triples, one run at a time."""

    def __init__(self, scratch: Path | None, buffer: int) -> None:
        self._scratch, self._buffer = scratch, buffer
        self._numbers: dict[str, int] = {}
        self._codes = bytearray()
        self._tokens = 0
        self._terms: list[int] = []
        self._counts: list[int] = []
        self._widths: list[int] = []
        self._run_start = 0
        self._runs: list[tuple[NDArray, NDArray, NDArray]] = []

    def add(self, terms: list[str]) -> None:
        """One document."""
        self._tokens += len(terms)
        self._codes.append(encode_length(len(terms)))
        counts = Counter(terms)
        numbers = self._numbers
        self._terms.extend([numbers.setdefault(term, len(numbers)) for term in counts])
        self._counts.extend(counts.values())
        self._widths.append(len(counts))
        if len(self._terms) >= self._buffer:
            self._spill()

    def _spill(self) -> None:
        """Sort the buffer by term (documents stay in order within a term) and spill it."""
        terms = np.array(self._terms, np.uint32)
        first = self._run_start
        docs = np.repeat(np.arange(first, first + len(self._widths), dtype=np.uint32), self._widths)
        counts = np.minimum(np.array(self._counts, np.int64), _MOST).astype(np.uint16)
        by_term = np.argsort(terms, kind="stable")
        run = (terms[by_term], docs[by_term], counts[by_term])
        if self._scratch is not None:
            run = tuple(self._park(f"{len(self._runs)}-{i}", part) for i, part in enumerate(run))
        self._runs.append(run)  # type: ignore[arg-type]
        self._run_start += len(self._widths)
        self._terms, self._counts, self._widths = [], [], []

    def _park(self, name: str, part: NDArray) -> NDArray:
        assert self._scratch is not None
        path = self._scratch / f"{name}.npy"
        np.save(path, part)
        return np.load(path, mmap_mode="r")

    def finish(self, order: NDArray[np.uint32] | None, folder: Path | None) -> Arrays:
        """Merge the runs, terms in UTF-8 order."""
        if self._widths:
            self._spill()
        words = sorted((term.encode("utf-8", "surrogatepass"), number) for term, number in self._numbers.items())
        rank = np.empty(len(words), np.int64)
        rank[[number for _, number in words]] = np.arange(len(words))
        sizes = np.zeros(len(words), np.int64)
        for terms, _, _ in self._runs:
            sizes += np.bincount(rank[terms], minlength=len(words))
        starts = np.zeros(len(words) + 1, np.int64)
        np.cumsum(sizes, out=starts[1:])
        docs = self._room("docs", int(starts[-1]), np.uint32, folder)
        counts = self._room("counts", int(starts[-1]), np.uint16, folder)
        filled = starts[:-1].copy()
        for terms, run_docs, run_counts in self._runs:
            places = rank[terms]
            heads = np.flatnonzero(np.r_[True, places[1:] != places[:-1]]) if len(places) else np.empty(0, np.int64)
            lengths = np.diff(np.r_[heads, len(places)])
            inside = np.arange(len(places)) - np.repeat(heads, lengths)
            at = filled[places] + inside
            docs[at], counts[at] = run_docs, run_counts
            filled[places[heads]] += lengths
        self._runs = []
        return Arrays(
            vocabulary=Vocabulary.of([word for word, _ in words]),
            starts=starts,
            docs=docs,
            counts=counts,
            lengths=np.frombuffer(bytes(self._codes), np.uint8),
            order=order,
            tokens=self._tokens,
        )

    def _room(self, name: str, size: int, kind: type, folder: Path | None) -> NDArray:
        if folder is None or size == 0:
            return np.empty(size, kind)
        path = folder / f"{name}.npy.part"
        return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(size,))
