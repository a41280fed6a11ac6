"""Paragraphs on disk: a file of JSON lines and one of offsets, both memory-mapped and shared between processes."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import DataError
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.corpora import passage_of

LINES, OFFSETS = "passages.jsonl", "offsets.npy"
_PROGRESS_EVERY = 10_000
Progress = Callable[[str, int, int | None], None]
"""Called with the stage, the number done and the total (None: unknown)."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Shows no progress."""


def write_store(passages: Iterable[Passage], folder: Path, *, progress: Progress = silent) -> int:
    """Stream paragraphs into a folder; returns how many. Both files are written atomically."""
    offsets = [0]
    lines, table = folder / LINES, folder / OFFSETS
    with lines.with_suffix(".part").open("wb") as file:
        for passage in passages:
            record = {"id": passage.doc_id or str(len(offsets) - 1), "contents": passage.contents}
            written = file.write(well_formed(json.dumps(record, ensure_ascii=False)).encode() + b"\n")
            offsets.append(offsets[-1] + written)
            if len(offsets) % _PROGRESS_EVERY == 0:
                progress("paragraphs", len(offsets) - 1, None)
    with table.with_suffix(".part").open("wb") as file:
        np.save(file, np.array(offsets, np.int64))
    lines.with_suffix(".part").rename(lines)
    table.with_suffix(".part").rename(table)
    progress("paragraphs", len(offsets) - 1, len(offsets) - 1)
    return len(offsets) - 1


class Store:
    """Random access to the paragraphs of a folder; thread-safe.

    Raises:
        DataError: files that are missing or inconsistent.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        lines, table = self.folder / LINES, self.folder / OFFSETS
        try:
            self._offsets: NDArray[np.int64] = np.load(table, mmap_mode="r", allow_pickle=False)
            with lines.open("rb") as file:
                size = lines.stat().st_size
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.folder} has no readable paragraphs: {error}; build the index again") from error
        whole = self._offsets.ndim == 1 and self._offsets.dtype == np.int64 and len(self._offsets) > 0
        if not whole or int(self._offsets[-1]) != size:
            raise DataError(f"{table} and {lines} are inconsistent; build the index again")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, position: int) -> Passage:
        line = self._bytes[int(self._offsets[position]) : int(self._offsets[position + 1])]
        try:
            return passage_of(json.loads(line), str(position))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.folder / LINES}: paragraph {position} is damaged; build the index again") from error

    def __iter__(self) -> Iterator[Passage]:
        return (self[i] for i in range(len(self)))
