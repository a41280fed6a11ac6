"""What of the original's runtime its episodes depend on: random numbers, and the order of its hash tables.

The original keeps things in hash sets. Run with one constant hash for all objects (`java.OPTIONS`), a set is a probe
sequence in a table: the order in which things were added, but for tables of 512 places and more, whose sequence begins
122 places before the end and goes on at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_MASK = (1 << 48) - 1
BITS = 31


def _jumps(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Factors and terms by which a state of the generator becomes that after 1, 2, ... draws."""
    factor, term, factors, terms = 1, 0, list[int](), list[int]()
    for _ in range(count):
        factor, term = factor * 0x5DEECE66D & _MASK, (term * 0x5DEECE66D + 0xB) & _MASK
        factors.append(factor)
        terms.append(term)
    return np.array(factors, np.uint64), np.array(terms, np.uint64)


_FACTORS, _TERMS = _jumps(256)


class JavaRandom:
    """`java.util.Random`, which `scala.util.Random` wraps."""

    __slots__ = ("state",)

    def __init__(self, seed: int = 0) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        self.state = (seed ^ 0x5DEECE66D) & _MASK

    def skip(self, count: int) -> None:
        """As after `count` draws."""
        for _ in range(count):
            self.state = (self.state * 0x5DEECE66D + 0xB) & _MASK

    def below(self, bound: int) -> int:
        """A whole number from 0 to `bound` - 1."""
        while True:
            self.state = (self.state * 0x5DEECE66D + 0xB) & _MASK
            bits = self.state >> 17
            if bound & -bound == bound:
                return (bound * bits) >> 31
            value = bits % bound
            if bits - value + bound - 1 < 1 << 31:
                return value

    def below_each(self, bounds: list[int]) -> list[int]:
        """As `below` for each bound in turn."""
        state, out = self.state, []
        for bound in bounds:
            while True:
                state = (state * 0x5DEECE66D + 0xB) & _MASK
                bits = state >> 17
                if bound & -bound == bound:
                    out.append((bound * bits) >> 31)
                    break
                value = bits % bound
                if bits - value + bound - 1 < 1 << 31:
                    out.append(value)
                    break
        self.state = state
        return out

    def bits(self, count: int) -> NDArray[np.int64]:
        """What the next draws begin with, 31 bits each: `below` takes them one by one."""
        if count > len(_FACTORS):
            return np.concatenate((self.bits(len(_FACTORS)), self.bits(count - len(_FACTORS))))
        states = _FACTORS[:count] * np.uint64(self.state) + _TERMS[:count] & np.uint64(_MASK)
        self.state = int(states[-1])
        return (states >> np.uint64(48 - BITS)).astype(np.int64)

    def require(self) -> None:
        """Tell that something depends on what was drawn."""

    def coin(self) -> bool:
        self.state = (self.state * 0x5DEECE66D + 0xB) & _MASK
        return self.state >> 47 != 0

    def shuffled(self, values: Iterable[T]) -> list[T]:
        out = list(values)
        for n in range(len(out), 1, -1):
            k = self.below(n)
            out[n - 1], out[k] = out[k], out[n - 1]
        return out

    def choice(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]


class NeedsDraws(Exception):
    """Something depends on random numbers that were not drawn."""


class Undrawn(JavaRandom):
    """Stands for random numbers nobody has needed yet."""

    __slots__ = ()

    def seed(self, seed: int) -> None:
        self.state = 0

    def skip(self, count: int) -> None:
        raise NeedsDraws

    def below(self, bound: int) -> int:
        raise NeedsDraws

    def below_each(self, bounds: list[int]) -> list[int]:
        raise NeedsDraws

    def bits(self, count: int) -> NDArray[np.int64]:
        raise NeedsDraws

    def require(self) -> None:
        raise NeedsDraws

    def coin(self) -> bool:
        raise NeedsDraws


_SMALLEST = 32
_WRAPS_FROM = 512
CROWDED = _AT_END = 122
"""Of so many things, or fewer, the order of iteration is the one in which they were added."""


class Bag(Generic[T]):
    """A mutable hash set of things with one constant hash."""

    __slots__ = ("_full", "_listed", "_places", "_sequence")

    def __init__(self, things: Iterable[T] = ()) -> None:
        self._sequence: dict[T, None] = {}
        self._listed: list[T] | None = None
        self._places = _SMALLEST
        self._full = _SMALLEST * 450 // 1000
        self.update(things)

    def add(self, thing: T) -> None:
        sequence = self._sequence
        if thing in sequence:
            return
        sequence[thing] = None
        self._listed = None
        if len(sequence) >= self._full:
            self._grow()

    def _grow(self) -> None:
        self._sequence = dict.fromkeys(self.items())
        self._listed = None
        self._places *= 2
        self._full = self._places * 450 // 1000

    def update(self, things: Iterable[T]) -> None:
        """Add some in order."""
        some = list(things)
        at = 0
        while at < len(some):
            room = self._full - len(self._sequence)
            self._sequence.update(dict.fromkeys(some[at : at + room]))
            self._listed = None
            at += room
            if len(self._sequence) >= self._full:
                self._grow()

    def remove(self, thing: T) -> None:
        del self._sequence[thing]
        self._listed = None

    def items(self) -> list[T]:
        """A list in the order of iteration, which later changes of the set leave as it is; not to be changed."""
        things = self._listed
        if things is None:
            things = list(self._sequence)
            if self._places >= _WRAPS_FROM and len(things) > _AT_END:
                things = things[_AT_END:] + things[:_AT_END]
            self._listed = things
        return things

    def __contains__(self, thing: Any) -> bool:
        return thing in self._sequence

    def __len__(self) -> int:
        return len(self._sequence)


def copied(things: list[T]) -> list[T]:
    """The order of a new set to which things were added in this order; only large sets change it."""
    return things if len(things) <= _AT_END else Bag(things).items()


def hash_map_order(names: Iterable[str]) -> list[str]:
    """The order in which a mutable hash map of at most 12 texts is iterated, when they were added in this order."""
    buckets: dict[int, list[str]] = {}
    for name in names:
        buckets.setdefault(_bucket(name), []).insert(0, name)
    return [name for place in sorted(buckets, reverse=True) for name in buckets[place]]


def _bucket(text: str) -> int:
    code = 0
    for letter in text:
        code = (code * 31 + ord(letter)) & 0xFFFFFFFF
    mixed = (code * 0x9E3775CD) & 0xFFFFFFFF
    mixed = int.from_bytes(mixed.to_bytes(4, "big"), "little")
    mixed = (mixed * 0x9E3775CD) & 0xFFFFFFFF
    mixed = (mixed >> 4 | mixed << 28) & 0xFFFFFFFF
    return mixed >> 28
