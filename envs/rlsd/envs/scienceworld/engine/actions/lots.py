"""Names for things that have none of their own: the original draws them at random, in up to twenty attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlsd.envs.scienceworld.engine.world.scala import BITS, JavaRandom

_STEPPED, _ATTEMPTS = 10, 20
"""Attempts at distinct names: the first ones take the next name, the others any name at random."""
_Names = Sequence[tuple[str, ...]]


class FewLots:
    """For few things.

    Args:
        names: all names of each.
    """

    def __init__(self, names: _Names) -> None:
        self._names = names
        self._groups = _groups(names)
        self._at = [0] * len(names)
        self._active = list(range(len(names)))
        for _ in range(_STEPPED):
            taken = self._taken(self._at)
            for i in taken:
                self._at[i] = (self._at[i] + 1) % len(self._names[i])
            self._active = self._unsettled(taken, self._active)

    def draw(self, draw: JavaRandom) -> list[int]:
        """Which of its names each gets."""
        at, active, names = list(self._at), self._active, self._names
        for _ in range(_STEPPED, _ATTEMPTS):
            chosen = [names[i][at[i]] for i in active]
            count = Counter(chosen)
            taken = [i for i, name in zip(active, chosen) if count[name] > 1]
            if not taken:
                break
            for i, drawn in zip(taken, draw.below_each([len(names[i]) for i in taken])):
                at[i] = drawn
            active = self._unsettled(taken, active)
        return at

    def _taken(self, at: list[int]) -> list[int]:
        """Those whose present name is that of another, too."""
        chosen = [self._names[i][at[i]] for i in self._active]
        count = Counter(chosen)
        return [i for i, name in zip(self._active, chosen) if count[name] > 1]

    def _unsettled(self, taken: list[int], active: list[int]) -> list[int]:
        """Without the groups whose names are distinct: nothing changes in those any more."""
        if len(taken) == len(active):
            return active
        open_groups = {self._groups[i] for i in taken}
        return [i for i in active if self._groups[i] in open_groups]


def _groups(names: _Names) -> list[int]:
    """A number for each, equal for those that share a name, directly or through others."""
    different = {some: i for i, some in enumerate(dict.fromkeys(names))}
    parent = list(range(len(different)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for some, i in different.items():
        for name in some:
            other = first.setdefault(name, i)
            if other != i:
                parent[root(i)] = root(other)
    return [root(different[some]) for some in names]


_Ints = NDArray[np.int64]


class Book:
    """All different names as numbers, those of one thing in a row."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, tuple[int, tuple[str, ...]]] = {}
        """By the identity of a tuple of names, which is kept so that no other takes its place."""
        self.pages: _Ints = np.zeros(0, np.int64)
        self.starts: _Ints = np.zeros(0, np.int64)
        self.lengths: _Ints = np.zeros(0, np.int64)
        self._used = 0
        self._steps: dict[bytes, _Ints] = {}

    def rows(self, names: _Names) -> _Ints:
        """The number of the row of each."""
        rows = self._rows
        return np.array([rows[id(some)][0] if id(some) in rows else self._enter(some) for some in names], np.int64)

    def _enter(self, names: tuple[str, ...]) -> int:
        row, start = len(self._rows), self._used
        self._rows[id(names)] = row, names
        self._used += len(names)
        self.pages = _at_least(self._used, self.pages)
        self.starts, self.lengths = _at_least(row + 1, self.starts), _at_least(row + 1, self.lengths)
        known = self._numbers
        self.pages[start : self._used] = [known.setdefault(name, len(known)) for name in names]
        self.starts[row], self.lengths[row] = start, len(names)
        return row

    def stepped(self, rows: _Ints) -> _Ints:
        """Which names these have after the first attempts; equal rows have equal names, in whatever order they come."""
        ordered = np.sort(rows)
        key = ordered.tobytes()
        if key not in self._steps:
            if len(self._steps) > _MOST_STEPS:
                self._steps.clear()
            starts, lengths = self.starts[ordered], self.lengths[ordered]
            at = np.zeros_like(ordered)
            for _ in range(_STEPPED):
                names = self.pages[starts + at]
                taken = np.bincount(names)[names] > 1
                at[taken] = (at[taken] + 1) % lengths[taken]
            self._steps[key] = of_row = np.zeros(len(self.starts), np.int64)
            of_row[ordered] = at
        return self._steps[key][rows]


def _at_least(size: int, numbers: _Ints) -> _Ints:
    """The same numbers with room for more."""
    if size <= len(numbers):
        return numbers
    return np.concatenate((numbers, np.zeros(max(size, _LEAST), np.int64)))


_LEAST = 64
_MOST_STEPS = 16


class ManyLots:
    """For many things, and each attempt for all at once: the same as `FewLots`."""

    def __init__(self, names: _Names, book: Book) -> None:
        rows = book.rows(names)
        self._pages = book.pages
        self._starts, self._lengths = book.starts[rows], book.lengths[rows]
        self._at = book.stepped(rows)
        powers = np.log2(self._lengths).astype(np.int64)
        self._shifts = np.where(1 << powers == self._lengths, BITS - powers, 0)
        self._safe = (1 << BITS) - int(self._lengths.max())
        """Bits below give a number at the first try."""

    def draw(self, draw: JavaRandom) -> list[int]:
        """Which of its names each gets."""
        at, pages, starts = self._at.copy(), self._pages, self._starts
        names = pages[starts + at]
        for _ in range(_STEPPED, _ATTEMPTS):
            taken = np.flatnonzero(np.bincount(names)[names] > 1)
            if not len(taken):
                break
            drawn = self._drawn(draw, taken)
            at[taken] = drawn
            names[taken] = pages[starts[taken] + drawn]
        return at.tolist()

    def _drawn(self, draw: JavaRandom, taken: _Ints) -> _Ints:
        """Numbers below the number of names of each."""
        bounds, before = self._lengths[taken], draw.state
        bits = draw.bits(len(taken))
        if bits.max() < self._safe:
            return (bits >> self._shifts[taken]) % bounds
        draw.state = before
        return np.array(draw.below_each(bounds.tolist()), np.int64)
