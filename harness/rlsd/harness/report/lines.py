"""Lines of a gzip file by number, without unpacking the file again for each."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

APART = 4 << 20
"""Unpacked bytes between two places from which unpacking can go on; each takes some 40 KiB of memory."""
_READ = 1 << 16


class GzipLines:
    """A gzip file of lines. `scan` goes through it once; then `line` reads any of them.

    Raises (both):
        OSError, EOFError, ValueError, zlib.error: the file is gone, cut, empty, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts: list[int] = []
        """Unpacked place of each line, and of the end."""
        self._points: list[tuple[int, int, Any]] = [(0, 0, None)]
        """Unpacked place, packed place, and the unpacker's state there."""
        self._last = (-1, b"")

    def scan(self) -> Iterator[bytes]:
        """Every line in order, without its line break."""
        starts, points, rest = [0], [(0, 0, None)], b""
        with self.path.open("rb") as file:
            for part in _unpacked(file, None, 0, points):
                *lines, rest = (rest + part).split(b"\n") if b"\n" in part else (rest + part,)
                for line in lines:
                    starts.append(starts[-1] + len(line) + 1)
                    yield line
        if rest:
            starts.append(starts[-1] + len(rest) + 1)
            yield rest
        if len(starts) == 1:
            raise ValueError("the file is empty")
        self._starts, self._points, self._last = starts, points, (-1, b"")

    def __len__(self) -> int:
        return max(0, len(self._starts) - 1)

    def line(self, number: int) -> bytes:
        """Line `number`, counted from 0, of a file that `scan` has been through.

        Raises:
            IndexError: there is no such line.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"line {number} of {len(self)}")
        start, end = self._starts[number], self._starts[number + 1] - 1
        i = bisect_right(self._points, start, key=lambda point: point[0]) - 1
        parts: list[bytes] = []
        while True:
            at, part = self._points[i][0], self._part(i)
            parts.append(part[max(0, start - at) : max(0, end - at)])
            i += 1
            if i == len(self._points) or self._points[i][0] >= end:
                return b"".join(parts)

    def _part(self, i: int) -> bytes:
        """What lies between place `i` and the next; the last one that was unpacked is kept."""
        if self._last[0] != i:
            at, packed, state = self._points[i]
            end = self._points[i + 1][0] if i + 1 < len(self._points) else None
            parts: list[bytes] = []
            with self.path.open("rb") as file:
                file.seek(packed)
                for part in _unpacked(file, None if state is None else state.copy(), at, None):
                    parts.append(part)
                    at += len(part)
                    if end is not None and at >= end:
                        break
            self._last = (i, b"".join(parts))
        return self._last[1]


def _unpacked(file: BinaryIO, state: Any, at: int, points: list[tuple[int, int, Any]] | None) -> Iterator[bytes]:
    """The rest of the file, unpacked; notes places to go on from in `points`."""
    while packed := file.read(_READ):
        while packed:
            state = zlib.decompressobj(zlib.MAX_WBITS | 16) if state is None else state
            part = state.decompress(packed)
            packed = state.unused_data
            state = None if state.eof else state
            at += len(part)
            yield part
        if points is not None and at - points[-1][0] >= APART:
            points.append((at, file.tell(), None if state is None else state.copy()))
    if state is not None:
        raise EOFError("the file ends before its end mark")
