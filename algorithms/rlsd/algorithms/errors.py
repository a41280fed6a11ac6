"""Errors in settings and tables: what was given, what was expected, how to fix it, the closest name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict
from torch import Tensor


class AlgorithmError(ValueError):
    """An invalid setting or table."""


class Settings(BaseModel):
    """Base of every config here: frozen; unknown keys are errors; the docstring under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def closest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'? Known: a, b.`, without the question if no name is close.

    Example: `closest("rlds", ["grpo", "rlsd"])` → ` Did you mean 'rlsd'? Known: grpo, rlsd.`
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    question = f" Did you mean '{near[0]}'?" if near else ""
    return f"{question} Known: {', '.join(names)}."


def check_same_shape(**tensors: Tensor | None) -> None:
    """Refuse tensors whose shapes differ: broadcasting (m,) against (m, 1) would silently give (m, m)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise AlgorithmError(f"expected one shape for all, given {listed}.")
