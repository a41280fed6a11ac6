"""A catalogue on disk: compressed products, their ids and the search index, memory-mapped; a million products open
immediately and are read on demand."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.bm25 import Bm25Index
from rlsd.envs.errors import DataError
from rlsd.envs.webshop.catalogue.products import Product

MANIFEST = "catalogue.json"
_FORMAT = "rlsd-webshop-1"
_KEPT = 8192
"""Number of decoded products cached."""
_ID = "S40"
"""Maximum bytes of an id: ten characters in UTF-8."""


def is_stored(path: Path) -> bool:
    """Whether `build_catalogue` made this folder."""
    return (path / MANIFEST).is_file()


def build_catalogue(name: str, products: Iterable[Product], folder: Path) -> int:
    """Store products and their index in one pass; memory is bounded by the index's buffer and the ids.

    Args:
        name: of the catalogue, for task ids.
        products: ids must be unique.
        folder: created if absent; an existing catalogue is replaced.

    Returns:
        How many products were stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    ids: list[str] = []
    ends: list[int] = [0]
    asked: list[int] = []
    digest = hashlib.sha256()

    with (folder / "products.bin.part").open("wb") as file:

        def texts() -> Iterator[str]:
            for i, product in enumerate(products):
                data = zlib.compress(json.dumps(product.to_json(), separators=(",", ":")).encode(), 6)
                file.write(data)
                digest.update(data)
                ids.append(product.asin)
                ends.append(ends[-1] + len(data))
                if product.instructions:
                    asked.append(i)
                yield product.search_text

        def keys() -> Iterator[str]:
            """The id of each document, yielded after its text."""
            done = 0
            while done < len(ids):
                yield ids[done]
                done += 1

        Bm25Index.build(texts(), keys=keys(), folder=folder / "index")
    os.replace(folder / "products.bin.part", folder / "products.bin")
    names = np.array([asin.encode(errors="surrogatepass") for asin in ids], _ID)
    order = np.argsort(names, kind="stable").astype(np.uint32)
    for part, array in (
        ("ids", names), ("order", order), ("ends", np.array(ends, np.int64)), ("asked", np.array(asked, np.uint32)),
    ):  # fmt: skip
        np.save(folder / f"{part}.npy", array, allow_pickle=False)
    manifest = {
        "format": _FORMAT, "name": name, "products": len(ids), "bytes": ends[-1], "digest": digest.hexdigest()[:16],
    }  # fmt: skip
    part = folder / f"{MANIFEST}.part"
    part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(part, folder / MANIFEST)
    return len(ids)


def load_catalogue(folder: Path) -> StoredCatalogue:
    """Open a stored catalogue; only its manifest is read.

    Raises:
        DataError: a file that is missing or does not match the manifest.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        fits = manifest["format"] == _FORMAT and isinstance(manifest["name"], str)
        count, size = int(manifest["products"]), int(manifest["bytes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / MANIFEST} is damaged ({error}); build the catalogue again") from error
    if not fits:
        raise DataError(f"{folder / MANIFEST}: expected format {_FORMAT!r}; build the catalogue again")
    arrays = {name: _open(folder / f"{name}.npy") for name in ("ids", "order", "ends", "asked")}
    blob = folder / "products.bin"
    actual_size = blob.stat().st_size if blob.is_file() else -1
    lengths = [len(arrays["ids"]), len(arrays["order"]), len(arrays["ends"]) - 1]
    if actual_size != size or set(lengths) != {count}:
        raise DataError(f"{folder}: its files do not match {MANIFEST}; copy it again or build it again")
    return StoredCatalogue(folder, manifest, arrays)


def _open(path: Path) -> NDArray[Any]:
    try:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # an empty array cannot be mapped
            return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}); build the catalogue again") from error


class StoredCatalogue:
    """See `Catalogue`; made by `load_catalogue`."""

    def __init__(self, folder: Path, manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self.name: str = manifest["name"]
        self._digest: str = manifest["digest"]
        self._folder, self._arrays = folder, arrays
        empty = manifest["bytes"] == 0
        self._blob = np.empty(0, np.uint8) if empty else np.memmap(folder / "products.bin", np.uint8, mode="r")
        self._kept = lru_cache(maxsize=_KEPT)(self._product)

    def __len__(self) -> int:
        return len(self._arrays["ids"])

    @property
    def digest(self) -> str:
        return self._digest

    def product(self, position: int) -> Product:
        return self._kept(position)

    def _product(self, position: int) -> Product:
        start, end = self._arrays["ends"][position : position + 2]
        try:
            return Product.from_json(json.loads(zlib.decompress(self._blob[start:end].tobytes())))
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self._folder}: product {position} is damaged ({error}); build it again") from error

    def find(self, asin: str) -> int | None:
        wanted = asin.encode(errors="surrogatepass")
        ids, order = self._arrays["ids"], self._arrays["order"]
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if ids[order[middle]] < wanted:
                low = middle + 1
            else:
                high = middle
        return int(order[low]) if low < len(order) and ids[order[low]] == wanted else None

    def instructed(self) -> Iterator[int]:
        return (int(position) for position in self._arrays["asked"])

    @property
    def index(self) -> Bm25Index:
        return self._index

    @cached_property
    def _index(self) -> Bm25Index:
        return Bm25Index.load(self._folder / "index")
