"""Packages that an adapter needs: imported when an environment opens, and refused in one line."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from types import ModuleType

from rlsd.envs.errors import EnvError


def needed(
    module: str, *, extra: str, at_least: str, distribution: str | None = None, below: str = "", works: str = ""
) -> ModuleType:
    """The imported package.

    Args:
        module: what is imported.
        extra: of rlsd, which installs it.
        at_least: oldest version whose interface is the one that is adapted.
        distribution: the name it is installed by, where that is another.
        below: first version whose interface is another; "" for none known.
        works: a version that was tested, for the message; "" for none in particular.

    Raises:
        EnvError: it is not installed, too old, too new, or cannot be imported; names the command that mends it.
    """
    name = distribution or module
    install = f"pip install 'rlsd[{extra}]'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise EnvError(f"the package {name} is not installed: {install}") from None
    if _numbers(version) < _numbers(at_least) or (below and _numbers(version) >= _numbers(below)):
        wanted = f"{name}>={at_least}" + (f",<{below}" if below else "") + (f" ({works} works)" if works else "")
        raise EnvError(f"{name} {version} is installed, expected {wanted}: pip install -U 'rlsd[{extra}]'")
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever a foreign package does when it is imported
        raise EnvError(
            f"{name} {version} is installed, but `import {module}` raised {type(error).__name__}: {error}"
        ) from error


def _numbers(version: str) -> tuple[int, ...]:
    """
    >>> _numbers("1.7.0rc1"), _numbers("0.4.0.post1")
    ((1, 7, 0), (0, 4, 0))
    """
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
