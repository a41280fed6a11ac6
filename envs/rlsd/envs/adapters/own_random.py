"""A random state of its own for foreign code that draws from the global one."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

_SWAPPING = threading.RLock()
"""The global state is one for all threads of a process."""


class OwnRandom:
    """Global draws of `random` and NumPy inside `with own:` come from this object's state; outside, nothing changed.

    Example:
        >>> own = OwnRandom(7)
        >>> with own:
        ...     first = random.random()
        >>> with OwnRandom(7):
        ...     first == random.random()
        True
    """

    def __init__(self, seed: int) -> None:
        with self._swapped():
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002  (what foreign code reads)
            self._state = _state()

    def __enter__(self) -> OwnRandom:
        _SWAPPING.acquire()
        self._outside = _state()
        _restore(self._state)
        return self

    def __exit__(self, *_: Any) -> None:
        self._state = _state()
        _restore(self._outside)
        _SWAPPING.release()

    def ahead(self) -> list[float]:
        """The next number of each generator, which are not used up."""
        kept = self._state
        with self:
            numbers = [random.random(), float(np.random.random())]  # noqa: NPY002
        self._state = kept
        return numbers

    @staticmethod
    @contextlib.contextmanager
    def _swapped() -> Iterator[None]:
        with _SWAPPING:
            kept = _state()
            try:
                yield
            finally:
                _restore(kept)


def _state() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _restore(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
