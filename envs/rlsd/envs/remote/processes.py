"""Environments in worker processes: slow steps use other cores, and a crash or hang affects only its own process.

A pool has a fixed number of processes; each holds many environments, one thread each. After an environment hangs, its
process takes no new ones, is killed when its last other environment closes, and is replaced.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError
from rlsd.envs.remote.wire import RemoteEnv, dumps, value


class WorkerPool:
    """Opens environments in `count` processes, which start on first use.

    Example:
        >>> with WorkerPool(2) as pool: env = pool.open("rlsd/Keys-v0", rooms=4)
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise EnvError(f"a pool needs at least one worker process, got {count}")
        self._workers: list[_Worker | None] = [None] * count
        self._lock = threading.Lock()

    def open(self, env_id: str, **kwargs: Any) -> TextEnv:
        """An environment as `registry.make` opens it, in the process with the fewest environments.

        Raises:
            RlsdError: whatever `make` raises there; EnvError when the process dies during the call.
        """
        with self._lock:
            for i, worker in enumerate(self._workers):
                if worker is None or not worker.takes_more:
                    self._workers[i] = _Worker()
            worker = min((w for w in self._workers if w is not None), key=lambda w: w.sessions)
            session = _Session(worker)
        try:
            session.ask("open", {"env": env_id, "kwargs": kwargs})
            return RemoteEnv(session)
        except BaseException:
            session.close()
            raise

    def close(self) -> None:
        """End all processes; their environments are lost."""
        with self._lock:
            for worker in self._workers:
                if worker is not None:
                    worker.end()
            self._workers = [None] * len(self._workers)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@functools.cache
def shared_pool(count: int) -> WorkerPool:
    """This process's pool of `count` workers; they exit with the process."""
    return WorkerPool(count)


class _Worker:
    """One process and the calls it has not answered yet."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "rlsd.envs.remote.worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.sessions = 0
        self._hung = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._pending: dict[int, queue.SimpleQueue[Any]] = {}
        self._died = False
        threading.Thread(target=_read, args=(self.process, weakref.ref(self)), daemon=True).start()
        self._end = weakref.finalize(self, _end, self.process)

    @property
    def takes_more(self) -> bool:
        return not self._died and not self._hung

    def ask(self, session: str, op: str, arguments: dict[str, Any]) -> Any:
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            self._pending[number] = waiting
        self._send({"id": number, "session": session, "op": op, "given": arguments})
        if self._died:
            self.deliver(number, None)
        reply = waiting.get()
        if reply is None:
            raise EnvError(f"the worker process died (exit code {self.process.wait()}) during {op!r}")
        return value(reply, "the worker process")

    def leave(self, session: str, *, hung: bool) -> None:
        """End a session; the last one to leave a process with a hung environment ends the process."""
        with self._lock:
            self.sessions -= 1
            self._hung += hung
            last = self._hung and not self.sessions
        if last:
            self.end()
        elif not hung:
            self._send({"id": -1, "session": session, "op": "close", "given": {}})

    def deliver(self, number: int, reply: Any) -> None:
        with self._lock:
            waiting = self._pending.pop(number, None)
        if waiting is not None:
            waiting.put(reply)

    def died(self) -> None:
        self._died = True
        for number in list(self._pending):
            self.deliver(number, None)

    def end(self) -> None:
        self._died = True
        self._end()

    def _send(self, call: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        line = dumps(call) + "\n"
        with self._lock, contextlib.suppress(OSError, ValueError):  # the reader thread reports a dead process
            self.process.stdin.write(line)
            self.process.stdin.flush()


class _Session:
    """One environment of a worker: the transport of a `RemoteEnv`."""

    _names = itertools.count()

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._name = f"s{next(self._names)}"
        self._over = False
        worker.sessions += 1

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        return self._worker.ask(self._name, op, arguments)

    def close(self) -> None:
        self._leave(hung=False)

    def abandon(self) -> None:
        self._leave(hung=True)

    def _leave(self, *, hung: bool) -> None:
        if not self._over:
            self._over = True
            self._worker.leave(self._name, hung=hung)


def _read(process: subprocess.Popen[str], worker: Callable[[], _Worker | None]) -> None:
    """Deliver the replies of a process to the waiting calls, until it exits."""
    assert process.stdout is not None
    for line in process.stdout:
        target = worker()
        if target is None:
            return
        try:
            reply = json.loads(line)
            target.deliver(reply["id"], reply)
        except (ValueError, KeyError, TypeError):
            continue  # not one of our replies
        del target
    target = worker()
    if target is not None:
        target.died()


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a worker; it holds no state to save."""
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.close()
