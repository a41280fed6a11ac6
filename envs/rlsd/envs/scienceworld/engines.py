"""Which engine plays."""

from __future__ import annotations

from rlsd.envs.scienceworld.java import check_installed
from rlsd.envs.scienceworld.native import NativeEngine
from rlsd.envs.scienceworld.package import PackageEngine
from rlsd.envs.scienceworld.shown import Engine

BACKENDS = ("auto", "native", "package")


def engine_for(backend: str, *, lists: bool = True) -> Engine:
    """The engine of a backend; `lists`: whether the list of actions is asked for at every step.

    Raises:
        EnvError: the original is asked for and not installed.
    """
    if backend == "package":
        check_installed()
        return PackageEngine()
    return NativeEngine(lists=lists)
