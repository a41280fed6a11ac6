"""A loaded model with its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlsd.envs.errors import RlsdError


class ModelError(RlsdError, ValueError):
    """A model that cannot be loaded or used, with what was given and how to fix it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A model, its tokenizer, and the ids that end its responses."""

    model: Any
    tokenizer: Any
    eos_ids: frozenset[int]
    context: int
    """Maximum sequence length of the model, in tokens."""
