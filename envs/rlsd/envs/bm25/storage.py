"""An index on disk: plain .npy files that are memory-mapped, and a manifest with their sizes and checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.bm25.analyzer import ANALYZERS, Analyzer
from rlsd.envs.bm25.vocabulary import Vocabulary
from rlsd.envs.errors import DataError, closest

MANIFEST = "manifest.json"
_FORMAT = "rlsd-bm25-1"
_CHECKED_BYTES = 256 * 1024**2
_KINDS = {
    "letters": np.uint8, "letter_starts": np.int64, "starts": np.int64, "docs": np.uint32, "counts": np.uint16,
    "lengths": np.uint8, "order": np.uint32,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """The arrays of an index; P postings, W terms, D documents."""

    vocabulary: Vocabulary
    starts: NDArray[np.int64]
    """(W + 1,) where each term's postings begin."""
    docs: NDArray[np.uint32]
    """(P,) document of a posting, ascending inside a term."""
    counts: NDArray[np.uint16]
    """(P,) how often the term occurs in the document."""
    lengths: NDArray[np.uint8]
    """(D,) Lucene's one-byte code of the document's length in terms."""
    order: NDArray[np.uint32] | None
    """(D,) rank among equal scores; None = by position."""
    tokens: int
    """Terms of all documents, with repeats."""

    def span(self, term: int) -> slice:
        """A term's postings."""
        return slice(int(self.starts[term]), int(self.starts[term + 1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Scoring settings stored in the manifest."""

    k1: float
    b: float
    analyzer: str


def analyzer_name(analyzer: Analyzer) -> str:
    """The name of a shipped analyser, for the manifest; "" for a user's own."""
    return next((name for name, known in ANALYZERS.items() if known is analyzer), "")


def find_analyzer(name: str, folder: Path) -> Analyzer:
    """Raises DataError for a name that this version does not know."""
    if name not in ANALYZERS:
        what = f"with the analyser {name!r}" if name else "with a custom analyser"
        raise DataError(f"{folder} was built {what}; pass it as load(..., analyzer=...){closest(name, ANALYZERS)}")
    return ANALYZERS[name]


def write_arrays(folder: Path, arrays: Arrays, *, k1: float, b: float, analyzer: str) -> None:
    """Files first, manifest last, each renamed into place: an interrupted save leaves no index that looks complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    parts = {
        "letters": arrays.vocabulary.letters, "letter_starts": arrays.vocabulary.starts, "starts": arrays.starts,
        "docs": arrays.docs, "counts": arrays.counts, "lengths": arrays.lengths,
    }  # fmt: skip
    if arrays.order is not None:
        parts["order"] = arrays.order
    files = {}
    for name, part in parts.items():
        path, part_path = folder / f"{name}.npy", folder / f"{name}.npy.part"
        if isinstance(part, np.memmap) and part.filename and Path(part.filename).resolve() == part_path.resolve():
            part.flush()  # the builder wrote it in place
        else:
            with part_path.open("wb") as file:
                np.save(file, part, allow_pickle=False)
        os.replace(part_path, path)
        files[name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
    manifest = {
        "format": _FORMAT, "k1": k1, "b": b, "analyzer": analyzer, "documents": len(arrays.lengths),
        "tokens": arrays.tokens, "files": files,
    }  # fmt: skip
    part_path = folder / f"{MANIFEST}.part"
    part_path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(part_path, folder / MANIFEST)


def read_arrays(folder: Path, *, verify: bool | None) -> tuple[Arrays, Settings]:
    """Memory-map a saved index; see `Bm25Index.load`.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    manifest = _manifest(folder)
    files: dict[str, Any] = manifest["files"]
    whole = sum(entry["bytes"] for entry in files.values())
    check = whole < _CHECKED_BYTES if verify is None else verify
    parts = {name: _open(folder / f"{name}.npy", entry, _KINDS[name], check) for name, entry in files.items()}
    arrays = Arrays(
        vocabulary=Vocabulary(parts["letters"], parts["letter_starts"]),
        starts=parts["starts"],
        docs=parts["docs"],
        counts=parts["counts"],
        lengths=parts["lengths"],
        order=parts.get("order"),
        tokens=manifest["tokens"],
    )
    fits = (
        len(arrays.lengths) == manifest["documents"]
        and len(arrays.docs) == len(arrays.counts)
        and len(arrays.starts) == len(arrays.vocabulary) + 1
        and (len(arrays.docs) == int(arrays.starts[-1]) if len(arrays.starts) else True)
        and (arrays.order is None or len(arrays.order) == len(arrays.lengths))
    )
    if not fits:
        raise DataError(f"{folder}: the files of this index do not belong together; build it again")
    return arrays, Settings(k1=manifest["k1"], b=manifest["b"], analyzer=manifest["analyzer"])


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} holds no index: {MANIFEST} is missing (an interrupted build leaves none)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise DataError(f"{path}: format {manifest['format']!r}, expected {_FORMAT!r}; build the index again")
        wanted: dict[str, Callable[[Any], bool]] = {
            "k1": lambda v: isinstance(v, (int, float)), "b": lambda v: isinstance(v, (int, float)),
            "analyzer": lambda v: isinstance(v, str), "documents": lambda v: isinstance(v, int),
            "tokens": lambda v: isinstance(v, int), "files": lambda v: set(_KINDS) - {"order"} <= set(v) <= set(_KINDS),
        }  # fmt: skip
        bad = [name for name, fits in wanted.items() if not fits(manifest[name])]
        bad += [n for n, e in manifest["files"].items() if not isinstance(e["bytes"], int) or not e["sha256"]]
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}); build the index again") from error
    if bad:
        raise DataError(f"{path} is damaged: {', '.join(bad)} have invalid values; build the index again")
    return manifest


def _open(path: Path, entry: dict[str, Any], kind: type, check: bool) -> NDArray:
    size = path.stat().st_size if path.is_file() else -1
    if size != entry["bytes"]:
        was = "is missing" if size < 0 else f"has {size} bytes, expected {entry['bytes']}"
        raise DataError(f"{path} {was}; copy it again or build the index again")
    if check and _digest(path) != entry["sha256"]:
        raise DataError(f"{path} is damaged: its checksum is not the manifest's; copy it again or build it again")
    try:
        try:
            array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))  # a plain view slices faster
        except ValueError:  # an empty array cannot be mapped
            array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no array file: {error}") from error
    if array.dtype != kind or array.ndim != 1:
        raise DataError(f"{path} holds {array.dtype} in {array.ndim} dimensions, expected {np.dtype(kind)} in one")
    return array


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
