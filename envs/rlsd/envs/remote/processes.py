"""Environments in worker processes: slow steps use other cores, and a crash or hang affects only its own process.

A pool has a fixed number of processes; each holds many environments, one thread each. After an environment hangs, its
process takes no new ones, is killed when its last other environment closes, and is replaced. A process that dies or
hangs as a whole (stopped, or one environment keeps the interpreter to itself) is killed and replaced at once; its other
environments raise `EnvLost`, which does not count as their failure. Those that were at work are opened again in a
process of their own, so that the one at fault shows itself.
"""

from __future__ import annotations

import functools
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any

from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError, EnvLost
from rlsd.envs.remote.opening import freed_by
from rlsd.envs.remote.wire import RemoteEnv
from rlsd.envs.remote.worker_process import Worker

ALONE = 8
"""Most processes with a single environment, beside the others."""


class WorkerPool:
    """Opens environments in `count` processes, which start on first use.

    Example:
        >>> with WorkerPool(2) as pool: env = pool.open("rlsd/Keys-v0", rooms=4)
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise EnvError(f"a pool needs at least one worker process, got {count}")
        self._workers: list[Worker | None] = [None] * count
        self._all: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._lock = threading.Lock()

    def open(self, env_id: str, **kwargs: Any) -> TextEnv:
        """An environment as `registry.make` opens it, in the process with the fewest environments.

        Raises:
            RlsdError: whatever `make` raises there; EnvLost when the process dies during the call.
        """
        return self._open(env_id, kwargs, self._shared)

    def close(self) -> None:
        """End all processes; their environments are lost."""
        with self._lock:
            for worker in list(self._all):
                worker.end("was ended")
            self._workers = [None] * len(self._workers)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_alone(self, env_id: str, kwargs: dict[str, Any]) -> TextEnv:
        return self._open(env_id, kwargs, self._separate)

    def _open(self, env_id: str, kwargs: dict[str, Any], worker: Callable[[], Worker]) -> TextEnv:
        session = _Session(functools.partial(self._open_alone, env_id, kwargs))
        freed_by(session.abandon)
        try:
            with self._lock:
                session.enter(worker())
            session.ask("open", {"env": env_id, "kwargs": kwargs})
            return RemoteEnv(session)
        except BaseException:
            session.close()
            raise

    def _shared(self) -> Worker:
        """The process for the next environment; those that take no more are replaced first."""
        workers = [w if w is not None and w.takes_more else self._started() for w in self._workers]
        self._workers = [*workers]
        return min(workers, key=lambda worker: (worker.overdue, len(worker.sessions)))

    def _separate(self) -> Worker:
        """A process for one environment; a shared one if there are enough of those."""
        alone = sum(worker.alone and not worker.gone for worker in self._all)
        return self._started(alone=True) if alone < ALONE else self._shared()

    def _started(self, *, alone: bool = False) -> Worker:
        worker = Worker(alone=alone)
        self._all.add(worker)
        return worker


@functools.cache
def shared_pool(count: int) -> WorkerPool:
    """This process's pool of `count` workers; they exit with the process."""
    return WorkerPool(count)


class _Session:
    """One environment of a worker: the transport of a `RemoteEnv`."""

    _names = itertools.count()

    def __init__(self, reopen: Callable[[], TextEnv]) -> None:
        self._worker: Worker | None = None
        self._reopen = reopen
        self._name = f"s{next(self._names)}"
        self._over = False

    def enter(self, worker: Worker) -> None:
        """Take a place in a process."""
        if self._over:
            raise EnvLost("given up before a worker process had started")
        self._worker = worker
        worker.sessions.add(self._name)

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        assert self._worker is not None
        try:
            return self._worker.ask(self._name, op, arguments)
        except EnvLost as lost:
            raise self._told(lost) from None

    def close(self) -> None:
        if not self._over:
            self._over = True
            if self._worker is not None:
                self._worker.leave(self._name)

    def abandon(self) -> EnvLost | None:
        over, self._over = self._over, True
        if self._worker is None:
            return EnvLost("no worker process had started")
        lost = self._worker.lost(self._name, "a call") if over else self._worker.abandon(self._name)
        return None if lost is None else self._told(lost)

    def _told(self, lost: EnvLost) -> EnvLost:
        """With a process of its own for an environment that may be why."""
        if self._worker is not None and self._name in self._worker.suspects:
            lost.reopen = self._reopen
        return lost
