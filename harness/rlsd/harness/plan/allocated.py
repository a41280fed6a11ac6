"""Bytes of tensors: a tally of what is alive while a piece of code runs, with or without values."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Allocated(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make inside the block, as long as they live.

    Views count once, with the tensor they look at. What exists before does not count: name it with `ignore`.

        with Allocated() as count:
            loss = model(ids).sum()
        count.peak
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes alive."""
        self.peak = 0
        """Most bytes alive at once."""
        self._sizes: dict[int, int] = {}

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that exist already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._sizes.setdefault(storage._cdata, 0)
            weakref.finalize(storage, self._drop, storage._cdata)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that exist already and count while they live."""
        for tensor in tensors:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._sizes:
            return
        self._sizes[storage._cdata] = storage.nbytes()
        weakref.finalize(storage, self._drop, storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors; shared storage counts once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())
