"""Dense search with FAISS or hnswlib, both optional; `DenseRanker` is exact search in NumPy.

An engine is named "exact" (NumPy), "hnsw" (hnswlib's graph), "faiss" (exact) or "faiss:FACTORY", where FACTORY is
an index factory string of FAISS, such as "IVF1024,Flat" or "HNSW32".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.errors import DataError, EnvError, closest
from rlsd.envs.searchqa.retrieval.local import DenseRanker, Encoder, Ranker, encoded

EXACT = "exact"
ENGINES = (EXACT, "faiss", "hnsw")
_PACKAGES = {"faiss": ("faiss", "faiss-cpu"), "hnsw": ("hnswlib", "hnswlib")}
"""Engine → module, package."""
_ADDED_AT_ONCE = 65_536
_TRAINED_ON = 262_144
"""Maximum number of vectors used to train a FAISS index."""


class FaissRanker:
    """FAISS over unit vectors: exact (`IndexFlatIP`), or your own index for inner products.

    Args:
        vectors: (N, D); None with `index`.
        index: a FAISS index, e.g. one read with `faiss.read_index` (wiki-18's `e5_Flat.index`).
        factory: FAISS index factory string.

    Raises:
        EnvError: faiss is not installed, or does not know the factory string.
    """

    def __init__(
        self, encoder: Encoder, *, vectors: NDArray[np.floating] | None = None, index: Any = None, factory: str = "Flat"
    ) -> None:
        faiss = _need("faiss")
        if index is None:
            if vectors is None:
                raise EnvError("FaissRanker needs vectors or an index")
            index = _made(faiss, vectors, factory)
        self.index, self.encoder = index, encoder

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        if not queries:
            return []
        scores, docs = self.index.search(encoded(self.encoder, queries, self.index.d), k)
        return [_listed(d, s) for d, s in zip(docs, scores, strict=True)]


class HnswRanker:
    """hnswlib's graph over unit vectors: approximate, built in memory.

    Args:
        vectors: (N, D); None with `index`.
        index: an `hnswlib.Index` for inner products.
        links, effort: M and ef_construction; `effort` is also the minimum ef of a search.

    Raises:
        EnvError: hnswlib is not installed.
    """

    def __init__(
        self,
        encoder: Encoder,
        vectors: NDArray[np.floating] | None = None,
        *,
        index: Any = None,
        links: int = 16,
        effort: int = 200,
        seed: int = 0,
    ) -> None:
        hnswlib = _need("hnsw")
        if index is None:
            if vectors is None:
                raise EnvError("HnswRanker needs vectors or an index")
            index = hnswlib.Index(space="ip", dim=vectors.shape[1])
            index.init_index(max_elements=len(vectors), M=links, ef_construction=effort, random_seed=seed)
            for start in range(0, len(vectors), _ADDED_AT_ONCE):
                index.add_items(np.asarray(vectors[start : start + _ADDED_AT_ONCE], np.float32))
        self.index, self.encoder, self.effort = index, encoder, effort

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        k = min(k, self.index.get_current_count())
        if not queries:
            return []
        self.index.set_ef(max(self.effort, k))
        docs, distances = self.index.knn_query(encoded(self.encoder, queries, self.index.dim), k=k)
        return [_listed(d, 1 - s) for d, s in zip(docs, distances, strict=True)]


def check_engine(engine: str) -> str:
    """The engine's name, if it is available.

    Raises:
        EnvError: an unknown one, or its library is not installed; names the package.
    """
    kind, _, factory = engine.partition(":")
    if kind not in ENGINES or (factory and kind != "faiss"):
        raise EnvError(f"unknown engine {engine!r}{closest(engine, (*ENGINES, 'faiss:HNSW32'))}")
    if kind != EXACT:
        _need(kind)
    return engine


def make_engine(engine: str, vectors: NDArray[np.floating], encoder: Encoder) -> Ranker:
    """Build a ranker over vectors.

    Raises:
        EnvError: see `check_engine`; or a factory string that FAISS does not know.
    """
    kind, _, factory = check_engine(engine).partition(":")
    if kind == "faiss":
        return FaissRanker(encoder, vectors=vectors, factory=factory or "Flat")
    return HnswRanker(encoder, vectors) if kind == "hnsw" else DenseRanker(vectors, encoder)


def save_engine(ranker: Ranker, path: Path) -> None:
    """Save the index of a ranker from `make_engine`."""
    if isinstance(ranker, FaissRanker):
        _need("faiss").write_index(ranker.index, str(path))
    elif isinstance(ranker, HnswRanker):
        ranker.index.save_index(str(path))


def load_engine(engine: str, path: Path, *, dim: int, encoder: Encoder) -> Ranker:
    """Load the index written by `save_engine`.

    Raises:
        EnvError: the library is not installed.
        DataError: the library cannot read the file.
    """
    kind = check_engine(engine).partition(":")[0]
    library = _need(kind)
    try:
        if kind == "faiss":
            return FaissRanker(encoder, index=library.read_index(str(path)))
        index = library.Index(space="ip", dim=dim)
        index.load_index(str(path))
        return HnswRanker(encoder, index=index)
    except RuntimeError as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())[:200]}); build the index again"
        ) from error


def _made(faiss: Any, vectors: NDArray[np.floating], factory: str) -> Any:
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            every = max(1, -(-len(vectors) // _TRAINED_ON))
            index.train(np.ascontiguousarray(vectors[::every], np.float32))
    except RuntimeError as error:
        raise EnvError(f"FAISS cannot build {factory!r} from {len(vectors):,} vectors: {str(error)[-200:]}") from error
    for start in range(0, len(vectors), _ADDED_AT_ONCE):
        index.add(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE], np.float32))
    return index


def _listed(docs: NDArray[Any], scores: NDArray[Any]) -> list[tuple[int, float]]:
    """Best first, equal scores by position; FAISS pads with −1."""
    hits = [(int(d), float(s)) for d, s in zip(docs, scores, strict=True) if d >= 0]
    return sorted(hits, key=lambda entry: (-entry[1], entry[0]))


def _need(engine: str) -> Any:
    import importlib

    module, package = _PACKAGES[engine]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EnvError(f"engine {engine!r} needs {module}: pip install {package}") from error
