"""One worker process as its parent sees it: calls, replies, and signs of life."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlsd.envs.errors import EnvLost
from rlsd.envs.remote.answers import MAX_BYTES
from rlsd.envs.remote.spawning import start
from rlsd.envs.remote.wire import dumps, value

PING_S = 0.1
"""Pause between two requests for a sign of life, while a call waits."""
OVERDUE_S = 0.5
"""A process that owes such an answer for so long hangs as a whole, if a call in it runs out of time."""
START_S = 30.0
"""Longest time that a process takes to start."""
STUCK_S = 600.0
"""A process without a sign of life for so long is killed, also where nobody limits the time of a call."""


@dataclass(slots=True)
class _Call:
    session: str
    begun: bool = False
    """The environment is at work on it, as far as the process told."""
    reply: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)


class Worker:
    """One process and the calls it has not answered yet. Only `ask` waits for the process.

    Args:
        alone: it holds a single environment, and ends with it.
    """

    def __init__(self, *, alone: bool = False) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "rlsd.envs.remote.worker", str(os.getpid())]
        self.process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.alone = alone
        self.sessions: set[str] = set()
        self.gone = ""
        """Why it takes no more calls; empty while it does."""
        self.suspects: frozenset[str] = frozenset()
        """Sessions that were at work when it ended."""
        self._hung = self._ready = False
        self._started = time.monotonic()
        self.writing: float | None = None
        """Since when a line is being written; a process that hangs may never read it."""
        self._owed: float | None = None
        """Since when it owes a sign of life."""
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._pending: dict[int, _Call] = {}
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        here = weakref.ref(self)
        threading.Thread(target=_read, args=(self.process, here), daemon=True).start()
        threading.Thread(target=_write, args=(self.process, self._outbox, here), daemon=True).start()
        self._kill = weakref.finalize(self, _kill, self.process, self._outbox)

    @property
    def takes_more(self) -> bool:
        return not (self.gone or self._hung or self.alone)

    @property
    def overdue(self) -> bool:
        """It does not react at present."""
        return self._silent_s > OVERDUE_S

    @property
    def _silent_s(self) -> float:
        since = [at for at in (self.writing, self._owed) if at is not None]
        return time.monotonic() - min(since) if since else 0.0

    def ask(self, session: str, op: str, arguments: dict[str, Any]) -> Any:
        """The result of a call.

        Raises:
            RlsdError: the environment's own.
            EnvLost: the process ended or was ended.
        """
        call = _Call(session)
        with self._lock:
            if not self.gone:
                number = next(self._numbers)
                self._pending[number] = call
                self._outbox.put(_line({"id": number, "session": session, "op": op, "given": arguments}))
        while not self.gone or not call.reply.empty():
            with contextlib.suppress(queue.Empty):
                reply = call.reply.get(timeout=1.0)
                if reply is not None:
                    return value(reply, "the worker process")
            self._check()
        raise self._error(session, op)

    def abandon(self, session: str) -> EnvLost | None:
        """Leave with an environment that hangs; a process that hangs as a whole is killed.

        Returns:
            The error if the process is gone, hangs as a whole, or had not started yet.
        """
        if not self._ready and not self.gone and time.monotonic() - self._started < START_S:
            self.leave(session)
            return EnvLost("the worker process was still starting")
        if self.overdue:
            self.end("did not react any more")
        lost = self.lost(session, "a call")
        self._hung = True
        self.leave(session)
        return lost

    def lost(self, session: str, op: str) -> EnvLost | None:
        """What a call of this session raises, if the process is gone."""
        return self._error(session, op) if self.gone else None

    def leave(self, session: str) -> None:
        """End a session; the last one to leave a process with a hung environment ends the process."""
        with self._lock:
            self.sessions.discard(session)
            last = (self._hung or self.alone) and not self.sessions
        if last:
            self.end("was ended")
        else:
            self._outbox.put(_line({"id": -1, "session": session, "op": "close", "given": {}}))

    def end(self, why: str) -> None:
        """Kill the process; the calls in it are lost. The first reason stays."""
        with self._lock:
            if self.gone:
                return
            self.gone = why
            calls = list(self._pending.values())
            self._pending.clear()
            self.suspects = frozenset(call.session for call in calls if call.begun)
        self._kill()
        for call in calls:
            call.reply.put(None)

    def take(self, line: bytes) -> str:
        """Deliver a line of the process; returns what is wrong with it, or nothing."""
        if not line.endswith(b"\n"):
            return f"answered with half a line of {len(line)} bytes"
        try:
            reply = json.loads(line)
            number = int(reply["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return f"answered with garbage ({line[:80]!r})"
        self._ready, self._owed = True, None
        with self._lock:
            call = self._pending.get(number)
            if call is not None and "begun" in reply:
                call.begun = True
                return ""
            self._pending.pop(number, None)
        if call is not None:
            call.reply.put(reply)
        return ""

    def ping(self) -> bytes:
        """A request for a sign of life; nothing while it owes one."""
        if self._owed is not None:
            return b""
        self._owed = time.monotonic()
        return _line({"id": -2, "op": "ping"})

    @property
    def busy(self) -> bool:
        """Calls wait for a reply."""
        return bool(self._pending)

    def _check(self) -> None:
        """Notice an end that its pipe does not tell: processes of its own may hold the pipe open."""
        if (code := self.process.poll()) is not None:
            self.end(f"died (exit code {code})")
        elif self._silent_s > STUCK_S:
            self.end(f"did not react for {STUCK_S:g} s")

    def _error(self, session: str, op: str) -> EnvLost:
        own = not self._ready or self.suspects == {session}
        return EnvLost(f"the worker process {self.gone} during {op!r}", own=own)


def _line(call: dict[str, Any]) -> bytes:
    return dumps(call).encode() + b"\n"


def _read(process: subprocess.Popen[bytes], worker: Callable[[], Worker | None]) -> None:
    """Deliver the lines of a process until it ends or writes something else."""
    assert process.stdout is not None
    wrong = ""
    while not wrong and (line := process.stdout.readline(MAX_BYTES)):
        target = worker()
        if target is None:
            break
        wrong = target.take(line)
        del target
    if not wrong:
        try:
            wrong = f"died (exit code {process.wait(timeout=1.0)})"
        except subprocess.TimeoutExpired:
            wrong = "closed its output"
    target = worker()
    if target is not None:
        target.end(wrong)
        del target
    process.wait()
    process.stdout.close()


def _write(
    process: subprocess.Popen[bytes], outbox: queue.SimpleQueue[bytes | None], worker: Callable[[], Worker | None]
) -> None:
    """Write calls, and while one waits requests for a sign of life. A process that does not read stops this thread
    alone."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):  # the process is gone: the thread that reads reports it
        while True:
            target = worker()
            pause = PING_S if target is not None and target.busy else None
            del target
            try:
                line = outbox.get(timeout=pause)
            except queue.Empty:
                target = worker()
                line = b"" if target is None else target.ping()
                del target
            if line is None:
                break
            _set_writing(worker, time.monotonic())
            process.stdin.write(line)
            process.stdin.flush()
            _set_writing(worker, None)
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()


def _set_writing(worker: Callable[[], Worker | None], at: float | None) -> None:
    target = worker()
    if target is not None:
        target.writing = at


def _kill(process: subprocess.Popen[bytes], outbox: queue.SimpleQueue[bytes | None]) -> None:
    """Kill a worker, without waiting; it holds no state to save."""
    with contextlib.suppress(OSError):
        process.kill()
    outbox.put(None)
