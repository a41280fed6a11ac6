"""Memory that runs out, by whatever name a device tells it."""

from __future__ import annotations

import torch

from rlsd.envs.errors import RlsdError


class MemoryFull(RlsdError):
    """Something that does not fit into memory; says what, and what to lower."""


def out_of_memory(error: BaseException) -> bool:
    """CUDA's allocator says so by type; the CPU's, and CUDA's libraries (CUBLAS_STATUS_ALLOC_FAILED), in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in ("allocate memory", "out of memory", "alloc_failed"))
