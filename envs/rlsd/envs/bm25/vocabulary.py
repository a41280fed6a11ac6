"""Terms as one sorted block of bytes, searched by bisection, so that a large vocabulary costs no start-up time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_TABLED = 200_000
"""Up to this many terms, a lookup table is worth its memory."""


class Vocabulary:
    """Term → number, by UTF-8 order.

    Args:
        letters: (bytes,) all terms one after the other, sorted.
        starts: (terms + 1,) where each begins.
    """

    def __init__(self, letters: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
        self.letters, self.starts = letters, starts

    @classmethod
    def of(cls, terms: Sequence[bytes]) -> Vocabulary:
        """From terms that are sorted already."""
        starts = np.zeros(len(terms) + 1, np.int64)
        np.cumsum([len(term) for term in terms], out=starts[1:])
        return cls(np.frombuffer(b"".join(terms), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.letters[self.starts[number] : self.starts[number + 1]].tobytes()

    @cached_property
    def _table(self) -> dict[bytes, int]:
        letters, starts = self.letters.tobytes(), self.starts.tolist()
        return {letters[start:end]: i for i, (start, end) in enumerate(pairwise(starts))}

    def find(self, term: str) -> int:
        """The number of a term, or −1."""
        wanted = term.encode("utf-8", "surrogatepass")
        if len(self) <= _TABLED:
            return self._table.get(wanted, -1)
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self[low] == wanted else -1
