"""Random numbers by name: every draw has its own counter-based generator, so scheduling cannot change a run."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on `seed` and `names` alone.

    >>> float(generator(7, "train", 3, "turn", 0).random()) == float(generator(7, "train", 3, "turn", 0).random())
    True
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))


def derive(seed: int, *names: object) -> int:
    """A 31-bit seed that depends on `seed` and `names` alone, for code that needs an integer."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFF_FFFF
