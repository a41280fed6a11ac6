"""Errors in settings and tables: what was given, what was expected, how to fix it, the closest name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict
from torch import Tensor

LISTED = 20
"""Names that an error lists at most."""


class AlgorithmError(ValueError):
    """An invalid setting or table."""


class Settings(BaseModel):
    """Base of every config here: frozen; unknown keys are errors; the docstring under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def closest(name: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name (`rlsd.envs.errors` says the same).

    >>> closest("rlds", ["grpo", "rlsd"])
    ". Did you mean 'rlsd'? Known: grpo, rlsd."
    """
    names = sorted(set(known))
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:LISTED]) + (f", … ({len(names)} in all)" if len(names) > LISTED else "")
    return f".{hint} Known: {shown}."


def check_same_shape(**tensors: Tensor | None) -> None:
    """Refuse tensors whose shapes differ: broadcasting (m,) against (m, 1) would silently give (m, m)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise AlgorithmError(f"expected one shape for all, given {listed}.")
