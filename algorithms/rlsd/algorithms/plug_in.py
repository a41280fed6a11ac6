"""`module:NAME`: methods and credit rules of your own."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from rlsd.algorithms.errors import AlgorithmError


def imported(spec: str, what: str) -> Any:
    """Return the attribute that `module:NAME` names; modules in the working directory are found too.

    Raises:
        AlgorithmError: there is no such module or attribute, or importing it fails.
    """
    module, _, name = spec.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # the installed `rlsd` command starts without it
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a foreign module does when it is imported
        raise AlgorithmError(f"{what}: cannot import {spec!r}: {type(error).__name__}: {error}") from error
