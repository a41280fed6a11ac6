"""Dense search with FAISS or hnswlib, where they are installed. Neither is needed: `DenseRanker` is exact NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.errors import EnvError
from rlsd.envs.searchqa.local import Encoder

_ADDED_AT_ONCE = 65_536


class FaissRanker:
    """FAISS over unit vectors: exact (`IndexFlatIP`), or any index of yours that was made for inner products.

    Args:
        vectors: (N, D); None when `index` is given.
        index: a FAISS index, say one read with `faiss.read_index` (wiki-18's `e5_Flat.index`).

    Raises:
        EnvError: faiss is not installed.
    """

    def __init__(self, encoder: Encoder, *, vectors: NDArray[np.floating] | None = None, index: Any = None) -> None:
        faiss = _need("faiss", "faiss-cpu")
        if index is None:
            if vectors is None:
                raise EnvError("FaissRanker needs vectors or an index")
            index = faiss.IndexFlatIP(vectors.shape[1])
            for start in range(0, len(vectors), _ADDED_AT_ONCE):
                index.add(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE], np.float32))
        self.index, self.encoder = index, encoder

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        scores, docs = self.index.search(self.encoder.encode(queries, query=True), k)
        return [_listed(d, s) for d, s in zip(docs, scores, strict=True)]


class HnswRanker:
    """hnswlib's graph over unit vectors: approximate, built in memory.

    Args:
        links, effort: M and ef_construction; `effort` is also the least ef of a search.

    Raises:
        EnvError: hnswlib is not installed.
    """

    def __init__(
        self, encoder: Encoder, vectors: NDArray[np.floating], *, links: int = 16, effort: int = 200, seed: int = 0
    ) -> None:
        hnswlib = _need("hnswlib", "hnswlib")
        self.index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(vectors), M=links, ef_construction=effort, random_seed=seed)
        for start in range(0, len(vectors), _ADDED_AT_ONCE):
            self.index.add_items(np.asarray(vectors[start : start + _ADDED_AT_ONCE], np.float32))
        self.encoder, self.effort, self.size = encoder, effort, len(vectors)

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        k = min(k, self.size)
        self.index.set_ef(max(self.effort, k))
        docs, distances = self.index.knn_query(self.encoder.encode(queries, query=True), k=k)
        return [_listed(d, 1 - s) for d, s in zip(docs, distances, strict=True)]


def _listed(docs: NDArray[Any], scores: NDArray[Any]) -> list[tuple[int, float]]:
    """Best first, equal scores by position; FAISS fills up with −1."""
    found = [(int(d), float(s)) for d, s in zip(docs, scores, strict=True) if d >= 0]
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))


def _need(module: str, package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EnvError(f"this ranker needs {module}: pip install {package}") from error
