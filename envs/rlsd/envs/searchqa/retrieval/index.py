"""A searchable corpus in a folder: built once by `rlsd index build`, opened by any number of processes.

    index.json         the manifest; written last, so a folder without it is unfinished
    passages.jsonl     the paragraphs, one JSON object per line        offsets.npy   byte offset of each
    bm25/              Lucene's BM25 (kinds bm25, hybrid)
    vectors.npy        (N, D) unit vectors, float16 (kinds dense, hybrid)
    vectors.engine     the index of FAISS or hnswlib, if that is the engine

An interrupted build resumes: finished parts are kept, and vectors in steps of 1,024.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.bm25 import Bm25Index
from rlsd.envs.errors import DataError, EnvError, closest
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.ann import EXACT, check_engine, load_engine, make_engine, save_engine
from rlsd.envs.searchqa.retrieval.local import Bm25Ranker, Encoder, Fused, LocalRetriever, Ranker
from rlsd.envs.searchqa.retrieval.store import LINES, OFFSETS, Progress, Store, silent, write_store

Kind = Literal["bm25", "dense", "hybrid"]
KINDS: tuple[Kind, ...] = ("bm25", "dense", "hybrid")
MANIFEST, VECTORS, GRAPH, BM25 = "index.json", "vectors.npy", "vectors.engine", "bm25"
_STATE = "build.json"
_FORMAT = "rlsd-search-index-1"
_VERIFIED_BYTES = 256 << 20
"""For larger files, opening an index compares only sizes; `verify=True` compares all checksums."""
_ENCODED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest of an index folder."""

    kind: Kind
    documents: int
    encoder: dict[str, Any] = field(default_factory=dict)
    """Settings for `rlsd.agents.hf.encoder` to encode queries the same way; empty without vectors."""
    engine: str = EXACT
    """The search engine for the vectors; see `ann`."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name → {"bytes": …, "sha256": …}; the BM25 folder has its own list."""


def build_index(
    passages: Callable[[], Iterable[Passage]],
    folder: str | Path,
    *,
    kind: Kind = "bm25",
    source: str = "",
    encoder: Encoder | None = None,
    encoder_settings: dict[str, Any] | None = None,
    engine: str = EXACT,
    progress: Progress = silent,
) -> Manifest:
    """Build or resume the index in `folder`.

    Args:
        passages: opens the corpus; not called if the paragraphs are already stored.
        source: names the corpus; an unfinished build from another one is refused.
        encoder, encoder_settings: for vectors.
        engine: searches the vectors: "exact", "hnsw", "faiss" or "faiss:FACTORY"; its index is stored.

    Raises:
        EnvError: an unknown kind or engine, a library that is not installed, vectors without an encoder, an engine
            without vectors, or a folder with other content.
        DataError: a corpus that is unreadable or empty.
    """
    if kind not in KINDS:
        raise EnvError(f"unknown kind of index {kind!r}{closest(str(kind), KINDS)}")
    if (kind != "bm25") and encoder is None:
        raise EnvError(f"an index of kind {kind!r} contains vectors: name an encoder")
    if check_engine(engine) != EXACT and kind == "bm25":
        raise EnvError(
            f"engine {engine!r} searches vectors, and an index of kind 'bm25' has none: use kind dense or hybrid"
        )
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {} if engine == EXACT else {"engine": engine}
    _begin(folder, {"source": source, "kind": kind, "encoder": encoder_settings or {}, **chosen})
    if not (folder / OFFSETS).is_file() and not write_store(passages(), folder, progress=progress):
        raise DataError(f"{source or 'the corpus'} holds no paragraphs")
    store = Store(folder)
    if kind != "dense" and not _finished(folder / BM25):
        texts = _counted((p.contents for p in store), len(store), "bm25", progress)
        Bm25Index.build(texts, folder=folder / BM25)
    if encoder is not None and kind != "bm25":
        _vectors(store, folder, encoder, progress)
        if chosen and not (folder / GRAPH).is_file():
            save_engine(make_engine(engine, _mapped(folder), encoder), folder / f"{GRAPH}.part")
            (folder / f"{GRAPH}.part").rename(folder / GRAPH)
    names = [LINES, OFFSETS] + ([VECTORS] if kind != "bm25" else []) + ([GRAPH] if chosen else [])
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)} for name in names}
    manifest = Manifest(
        kind=kind,
        documents=len(store),
        encoder=encoder_settings if kind != "bm25" and encoder_settings else {},
        engine=engine,
        files=files,
    )
    _write_json(folder / MANIFEST, {"format": _FORMAT, **asdict(manifest)})
    (folder / _STATE).unlink(missing_ok=True)
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """Raises DataError for a folder that holds no finished index, or a damaged manifest."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        unfinished = (Path(folder) / _STATE).is_file()
        what = "an unfinished index: run the same `rlsd index build` again" if unfinished else "no index"
        raise DataError(f"{folder} holds {what} ({MANIFEST} is missing)")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != _FORMAT:
            raise ValueError("another format")
        manifest = Manifest(**data)
        sound = manifest.kind in KINDS and isinstance(manifest.documents, int) and isinstance(manifest.engine, str)
        sound = sound and all(isinstance(f["bytes"], int) and f["sha256"] for f in manifest.files.values())
        if not sound or not {LINES, OFFSETS} <= set(manifest.files) <= {LINES, OFFSETS, VECTORS, GRAPH}:
            raise ValueError("invalid fields")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); build the index again") from error
    return manifest


def open_index(
    folder: str | Path, *, encoder: Encoder | None = None, verify: bool | None = None, engine: str | None = None
) -> LocalRetriever:
    """A retriever over the folder's files, memory-mapped.

    Args:
        encoder: for vectors; see `rlsd.agents.hf.encoder.open_encoder`.
        verify: True compares every checksum, False none; None those of files below 256 MiB (sizes always).
        engine: other than the one the index was built with; built now from the vectors, in memory.

    Raises:
        DataError: files that are missing or damaged.
        EnvError: vectors without an encoder, an engine that is unknown, not installed, or has no vectors to search.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if engine is not None and check_engine(engine) != EXACT and manifest.kind == "bm25":
        raise EnvError(f"{folder} is a bm25 index and has no vectors for engine {engine!r}; build it with --kind dense")
    for name, entry in manifest.files.items():
        _check(folder / name, entry, verify)
    store = Store(folder)
    if len(store) != manifest.documents:
        raise DataError(
            f"{folder} holds {len(store)} paragraphs, its manifest says {manifest.documents}; build it again"
        )
    rankers: list[Ranker] = []
    if manifest.kind != "dense":
        index = Bm25Index.load(folder / BM25, verify=verify)
        if len(index) != len(store):
            raise DataError(f"{folder / BM25} indexes {len(index)} of {len(store)} paragraphs; build the index again")
        rankers.append(Bm25Ranker(index))
    if manifest.kind != "bm25":
        if encoder is None:
            raise EnvError(
                f"{folder} is a {manifest.kind} index and needs its encoder: serve it with `rlsd serve search {folder}`"
                " and give the address as corpus, or pass corpus=rlsd.agents.hf.encoder.open_dense(folder)"
            )
        rankers.append(_dense(folder, manifest, engine or manifest.engine, encoder))
    ranker = rankers[0] if len(rankers) == 1 else Fused(rankers)
    return LocalRetriever(ranker, store, blocking=manifest.kind != "bm25")


def _dense(folder: Path, manifest: Manifest, engine: str, encoder: Encoder) -> Ranker:
    vectors = _mapped(folder)
    if engine == manifest.engine and GRAPH in manifest.files:
        return load_engine(engine, folder / GRAPH, dim=vectors.shape[1], encoder=encoder)
    return make_engine(engine, vectors, encoder)


def _mapped(folder: Path) -> NDArray[np.float16]:
    return np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)


def _begin(folder: Path, state: dict[str, Any]) -> None:
    """Claim the folder for this build, or recognise this build as already started."""
    path = folder / _STATE
    if (folder / MANIFEST).is_file():
        raise EnvError(f"{folder} holds a finished index; give another folder, or delete it first")
    if path.is_file():
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            other = None
        if other != state:
            raise EnvError(f"{folder} contains another unfinished build ({other}); give another folder, or delete it")
        return
    if any(folder.iterdir()):
        raise EnvError(f"{folder} is not empty and holds no index; give another folder")
    _write_json(path, state)


def _finished(folder: Path) -> bool:
    try:
        Bm25Index.load(folder, verify=False)
    except DataError:
        return False
    return True


def _vectors(store: Store, folder: Path, encoder: Encoder, progress: Progress) -> None:
    """Encode every paragraph; vectors are written to disk before they count as done."""
    final, part, mark = folder / VECTORS, folder / "vectors.part", folder / "vectors.done"
    if final.is_file():
        return
    done = int(mark.read_text()) if mark.is_file() and part.is_file() else 0
    table = np.load(part, mmap_mode="r+") if done else None
    texts = (store[i].contents for i in range(done, len(store)))
    while batch := list(islice(texts, _ENCODED_AT_ONCE)):
        vectors = encoder.encode(batch, query=False)
        if table is None:
            table = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=(len(store), vectors.shape[1]))
        table[done : done + len(batch)] = vectors
        table.flush()
        done += len(batch)
        mark.write_text(str(done))
        progress("vectors", done, len(store))
    del table
    part.rename(final)
    mark.unlink()


def _counted(texts: Iterable[str], total: int, stage: str, progress: Progress) -> Iterator[str]:
    for number, text in enumerate(texts, start=1):
        yield text
        if number % 10_000 == 0 or number == total:
            progress(stage, number, total)


def _check(path: Path, entry: dict[str, Any], verify: bool | None) -> None:
    size = path.stat().st_size if path.is_file() else -1
    if size != entry["bytes"]:
        was = "is missing" if size < 0 else f"has {size} bytes, expected {entry['bytes']}"
        raise DataError(f"{path} {was}; copy it again or build the index again")
    if (verify or (verify is None and size <= _VERIFIED_BYTES)) and _digest(path) != entry["sha256"]:
        raise DataError(f"{path} is damaged: its checksum is not the manifest's; copy it again or build it again")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, data: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.rename(path)
