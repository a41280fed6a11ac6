"""Which engine plays which task type."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd.envs.errors import EnvError
from rlsd.envs.scienceworld.java import check_installed
from rlsd.envs.scienceworld.native import COVERED, NativeEngine
from rlsd.envs.scienceworld.package import PackageEngine
from rlsd.envs.scienceworld.shown import Engine, Shown

BACKENDS = ("auto", "native", "package")


def engine_for(backend: str, task_types: Sequence[str], *, lists: bool = True) -> Engine:
    """The engine of a backend for these task types; `lists`: whether the list of actions is asked for at every step.

    Raises:
        EnvError: the native engine does not cover one of them; the original is needed and not installed.
    """
    missing = [name for name in task_types if name not in COVERED]
    if backend == "native" and missing:
        raise EnvError(
            f"the native engine does not cover {', '.join(missing)}; it covers {', '.join(COVERED)}. "
            "backend='package' plays all thirty (package scienceworld and Java)"
        )
    if backend == "native" or (backend == "auto" and not missing):
        return NativeEngine(lists=lists)
    try:
        check_installed()
    except EnvError as error:
        raise EnvError(f"{error}; without it, these task types can be played: task_types={list(COVERED)}") from error
    return PackageEngine() if backend == "package" else EitherEngine(lists=lists)


class EitherEngine:
    """Native for the task types that are covered, the original for the others."""

    def __init__(self, *, lists: bool = True) -> None:
        self._native, self._package = NativeEngine(lists=lists), PackageEngine()
        self._playing: Engine = self._native

    def open(self, task_type: str, variation: int, simplifications: str) -> Shown:
        self._playing = self._native if task_type in COVERED else self._package
        return self._playing.open(task_type, variation, simplifications)

    def goal(self) -> str:
        return self._playing.goal()

    def step(self, action: str) -> Shown:
        return self._playing.step(action)

    def gold(self) -> tuple[str, ...]:
        return self._playing.gold()

    def plan(self) -> tuple[str, ...] | None:
        return self._playing.plan()

    def close(self) -> None:
        self._native.close()
        self._package.close()

    def kill(self) -> None:
        self._native.kill()
        self._package.kill()
