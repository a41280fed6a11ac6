"""Dense and fused search, FAISS and hnswlib beside it, and index folders that a stop cannot spoil."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rlsd.envs import DataError, EnvError
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.ann import FaissRanker, HnswRanker, check_engine, load_engine, make_engine
from rlsd.envs.searchqa.retrieval.index import GRAPH, build_index, open_index, read_manifest
from rlsd.envs.searchqa.retrieval.local import Bm25Ranker, DenseRanker, Fused, fuse
from rlsd.envs.searchqa.retrieval.store import Store

PASSAGES = [Passage(title=f"T{i}", text=f"text number {i} é", doc_id=f"d{i}") for i in range(3000)]


class Hashed:
    """Unit vectors drawn from a text's hash: no model, and no two alike.

    Args:
        stop_after: raises after so many texts (a killed build).
    """

    def __init__(self, stop_after: int | None = None, dim: int = 16) -> None:
        self.encoded, self.stop_after, self.dim = 0, stop_after, dim

    def encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        if self.stop_after is not None and self.encoded >= self.stop_after:
            raise KeyboardInterrupt
        self.encoded += len(texts)
        seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "big") for t in texts]
        vectors = np.stack([np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return Hashed().encode([p.contents for p in PASSAGES], query=False)


def test_exact_search_in_blocks_is_exact(vectors: NDArray[np.float32]) -> None:
    queries = ["one", "two", PASSAGES[7].contents]
    scores = Hashed().encode(queries, query=True) @ vectors.T
    for block in (1, 7, 1000, 10_000):
        ranked = DenseRanker(vectors, Hashed(), block=block).rank(queries, 5)
        for i, row in enumerate(ranked):
            assert [doc for doc, _ in row] == list(np.argsort(-scores[i], kind="stable")[:5])
            assert [score for _, score in row] == pytest.approx(sorted(scores[i], reverse=True)[:5], abs=1e-6)
    assert ranked[2][0] == (7, pytest.approx(1.0, abs=1e-6))


def test_edges() -> None:
    few = Hashed().encode(["a", "b"], query=False)
    assert len(DenseRanker(few, Hashed()).rank(["a"], 5)[0]) == 2
    assert DenseRanker(np.empty((0, 16), np.float32), Hashed()).rank(["a"], 5) == [[]]
    assert DenseRanker(few, Hashed()).rank([], 5) == []
    with pytest.raises(EnvError, match="vectors of length 8, the index has 16"):
        DenseRanker(few, Hashed(dim=8)).rank(["a"], 5)
    with pytest.raises(EnvError, match="must have shape"):
        DenseRanker(np.zeros(3, np.float32), Hashed())
    with pytest.raises(EnvError, match="fusion needs"):
        Fused([])


def test_fusion_by_hand() -> None:
    fused = fuse([[(1, 9.0), (2, 8.0), (3, 7.0)], [(3, 0.9), (1, 0.8), (4, 0.7)]], 4)
    assert [doc for doc, _ in fused] == [1, 3, 2, 4]
    assert [score for _, score in fused] == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62, 1 / 63])
    assert fuse([[(5, 1.0)], [(2, 1.0)]], 1)[0][0] == 2, "equal scores by position"


QUERIES = [f"query {i}" for i in range(50)]


def shared(found: list[list[tuple[int, float]]], exact: list[list[tuple[int, float]]]) -> float:
    """Share of the exact hits that were found."""
    pairs = zip(found, exact, strict=True)
    return sum(len({d for d, _ in a} & {d for d, _ in b}) for a, b in pairs) / sum(map(len, exact))


@pytest.mark.parametrize(
    "engine, library, least",
    [
        ("exact", "numpy", 1.0),
        ("faiss", "faiss", 1.0),
        ("faiss:IVF16,Flat", "faiss", 0.1),
        ("faiss:HNSW32", "faiss", 0.8),
        ("hnsw", "hnswlib", 0.9),
    ],
)
def test_an_engine_finds_what_exact_search_finds_and_is_kept(
    vectors: NDArray[np.float32], tmp_path: Path, engine: str, library: str, least: float
) -> None:
    pytest.importorskip(library)
    exact = DenseRanker(vectors.astype(np.float16), Hashed()).rank(QUERIES, 5)
    made = make_engine(engine, vectors, Hashed()).rank(QUERIES, 5)
    assert shared(made, exact) >= least
    assert make_engine(engine, vectors, Hashed()).rank([], 5) == []
    folder = tmp_path / "i"
    build_index(lambda: PASSAGES, folder, kind="dense", encoder=Hashed(), encoder_settings={"m": 1}, engine=engine)
    assert (folder / GRAPH).is_file() == (engine != "exact")
    assert read_manifest(folder).engine == engine
    kept = open_index(folder, encoder=Hashed()).ranker
    assert shared(kept.rank(QUERIES, 5), exact) >= least
    with pytest.raises(EnvError, match="vectors of length 8, the index has 16"):
        open_index(folder, encoder=Hashed(dim=8)).ranker.rank(["a"], 5)
    numpy = open_index(folder, encoder=Hashed(), engine="exact").ranker
    assert isinstance(numpy, DenseRanker)
    if engine != "exact":
        graph = folder / GRAPH
        graph.write_bytes(graph.read_bytes()[:-9])
        with pytest.raises(DataError, match=GRAPH):
            open_index(folder, encoder=Hashed())
        with pytest.raises(DataError, match="cannot be read"):
            load_engine(engine, graph, dim=16, encoder=Hashed())


def test_faiss_does_not_know_every_factory(vectors: NDArray[np.float32]) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(EnvError, match="cannot build 'Nonsense'"):
        make_engine("faiss:Nonsense", vectors, Hashed())


@pytest.mark.parametrize("engine, module, package", [("faiss", "faiss", "faiss-cpu"), ("hnsw", "hnswlib", "hnswlib")])
def test_without_its_library_an_engine_is_refused_before_anything_is_made(
    tmp_path: Path, vectors: NDArray[np.float32], engine: str, module: str, package: str
) -> None:
    if importlib.util.find_spec(module) is not None:
        ranker = {"faiss": FaissRanker, "hnsw": HnswRanker}[engine]
        with pytest.raises(EnvError, match="needs vectors or an index"):
            ranker(Hashed())
        return
    with pytest.raises(EnvError, match=f"pip install {package}"):
        build_index(lambda: PASSAGES, tmp_path / "i", kind="dense", encoder=Hashed(), engine=engine)
    assert not (tmp_path / "i").exists()
    build_index(lambda: PASSAGES[:9], tmp_path / "i", kind="dense", encoder=Hashed(), encoder_settings={"m": 1})
    with pytest.raises(EnvError, match=f"pip install {package}"):
        open_index(tmp_path / "i", encoder=Hashed(), engine=engine)


def test_engines_are_named_and_need_vectors(tmp_path: Path) -> None:
    for wrong in ("faist", "hnsw:32", "exact:x", ""):
        with pytest.raises(EnvError, match="unknown engine"):
            check_engine(wrong)
    build_index(lambda: PASSAGES[:3], tmp_path / "i")
    assert open_index(tmp_path / "i", engine="exact").search_now(["text"], 1)[0]
    if importlib.util.find_spec("faiss") is not None:
        with pytest.raises(EnvError, match="has no vectors"):
            open_index(tmp_path / "i", engine="faiss")
        with pytest.raises(EnvError, match="kind 'bm25' has none"):
            build_index(lambda: PASSAGES[:3], tmp_path / "j", engine="faiss")


def test_the_store_gives_back_what_went_in(tmp_path: Path) -> None:
    odd = [
        *PASSAGES[:5],
        Passage(title="", text=""),
        Passage(title="a\\b", text='two\nlines "q" \u2028 🙂', doc_id="x"),
    ]
    build_index(lambda: odd, tmp_path / "i")
    store = Store(tmp_path / "i")
    assert list(store) == [Passage(title=p.title, text=p.text, doc_id=p.doc_id or "5") for p in odd]
    assert len(store) == 7


@pytest.mark.parametrize("kind", ["dense", "hybrid"])
def test_a_stopped_build_goes_on(tmp_path: Path, kind: str) -> None:
    settings = {"folder": "m"}
    stopping = Hashed(stop_after=2048)

    def build(encoder: Hashed, folder: Path, **changed: object) -> None:
        arguments: dict[str, object] = {"kind": kind, "source": "s", "encoder_settings": settings, **changed}
        build_index(lambda: PASSAGES, folder, encoder=encoder, **arguments)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        build(stopping, tmp_path / "cut")
    with pytest.raises(DataError, match="an unfinished index"):
        read_manifest(tmp_path / "cut")
    with pytest.raises(EnvError, match="another unfinished build"):
        build(Hashed(), tmp_path / "cut", source="other")
    rest = Hashed()
    build(rest, tmp_path / "cut")
    assert (stopping.encoded, rest.encoded) == (2048, len(PASSAGES) - 2048)
    build(Hashed(), tmp_path / "whole")
    assert read_manifest(tmp_path / "cut") == read_manifest(tmp_path / "whole")
    with pytest.raises(EnvError, match="needs its encoder: serve it"):
        open_index(tmp_path / "cut")
    found = open_index(tmp_path / "cut", encoder=Hashed()).search_now([PASSAGES[42].contents], 3)
    assert found[0][0].doc_id == "d42"


def test_a_build_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(EnvError, match="is not empty"):
        build_index(lambda: PASSAGES, tmp_path / "full")
    with pytest.raises(EnvError, match="name an encoder"):
        build_index(lambda: PASSAGES, tmp_path / "x", kind="dense")
    with pytest.raises(EnvError, match="Did you mean 'bm25'"):
        build_index(lambda: PASSAGES, tmp_path / "x", kind="bm52")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="holds no paragraphs"):
        build_index(list, tmp_path / "empty")
    with pytest.raises(DataError, match="holds no index"):
        open_index(tmp_path)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    build_index(lambda: PASSAGES, tmp_path / "i", progress=lambda *report: told.append(report))
    assert told == [("paragraphs", 3000, 3000), ("bm25", 3000, 3000)]


def test_bm25_in_memory_and_on_disk_agree(tmp_path: Path) -> None:
    build_index(lambda: PASSAGES, tmp_path / "i")
    queries = ["text number 17", "T40", "nothing here"]
    memory, disk = Bm25Ranker.of(PASSAGES).rank(queries, 5), open_index(tmp_path / "i").ranker.rank(queries, 5)
    assert memory == disk
    assert [len(row) for row in memory] == [5, 1, 0]
