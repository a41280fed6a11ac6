"""Lucene's one-byte document length: 0 to 39 exactly, then four significant bits.

Source: the published behaviour of `SmallFloat.intToByte4` and `byte4ToInt` (24 free values, then a 3-bit mantissa
with an implicit leading one).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FREE = 24
"""Lengths below this have their own code."""


def _decode(code: int) -> int:
    if code < _FREE:
        return code
    bits, shift = (code - _FREE) & 0x07, ((code - _FREE) >> 3) - 1
    return _FREE + (bits if shift < 0 else (bits | 0x08) << shift)


LENGTHS: NDArray[np.float32] = np.array([_decode(code) for code in range(256)], np.float32)
"""Code → length; (256,)."""

_EXACT = np.array([_decode(code) for code in range(256)], np.int64)


def encode_length(length: int) -> int:
    """The code of the greatest representable length that is not above `length` (at least 0).

    >>> [int(LENGTHS[encode_length(n)]) for n in (0, 23, 39, 41, 100)]
    [0, 23, 39, 40, 96]
    """
    return int(np.searchsorted(_EXACT, length, side="right")) - 1
