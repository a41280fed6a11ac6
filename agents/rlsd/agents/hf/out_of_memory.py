"""Detects out-of-memory errors of any device."""

from __future__ import annotations

import torch

from rlsd.envs.errors import RlsdError


class MemoryFull(RlsdError):
    """Out of memory; says what did not fit, and which setting to lower."""


def out_of_memory(error: BaseException) -> bool:
    """By type for CUDA's allocator; by message for the CPU's and CUDA's libraries (CUBLAS_STATUS_ALLOC_FAILED)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in ("allocate memory", "out of memory", "alloc_failed"))
