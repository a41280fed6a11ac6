"""An environment that does, where it is told to, what environments in worker processes must survive."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError
from tests.support.plain_worlds import Plain

HERE = f"{__file__}:Trouble"
"""Its id; a worker process opens it."""


def _wait() -> None:
    threading.Event().wait(600)


def _hold() -> None:
    """A call into C that keeps the interpreter to itself."""
    ctypes.PyDLL(None).sleep(600)


def _backtrack() -> None:
    """A regular expression that never ends: it keeps the interpreter to itself too."""
    re.match(r"(a|a)+$", "a" * 60 + "b")


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _abort() -> None:
    os.abort()


def _exit() -> None:
    os._exit(3)


def _orphan() -> None:
    """Dies while a child of its own holds the pipes open."""
    if os.fork() == 0:
        time.sleep(10)
    os._exit(3)


def _system_exit() -> None:
    raise SystemExit(3)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _raise() -> None:
    raise OSError("broken")


def _recurse() -> None:
    _recurse()


def _close_pipes() -> None:
    os.closerange(3, 64)


def _write(data: bytes) -> Callable[[], None]:
    """Writes into the pipe of the replies, as a library with a wild file number would."""

    def write() -> None:
        for fd in range(3, 16):
            try:
                if stat.S_ISFIFO(os.fstat(fd).st_mode):
                    os.write(fd, data)
            except OSError:
                continue

    return write


def _read_input() -> None:
    sys.stdin.readline()


ACTS: dict[str, Callable[[], None]] = {
    "hang": _wait,
    "hold": _hold,
    "backtrack": _backtrack,
    "stop": _stop,
    "kill": _kill,
    "abort": _abort,
    "exit": _exit,
    "orphan": _orphan,
    "system exit": _system_exit,
    "interrupt": _interrupt,
    "raise": _raise,
    "recurse": _recurse,
    "close pipes": _close_pipes,
    "garbage": _write(b"\xff\x00 garbage\n"),
    "json garbage": _write(json.dumps([1, 2]).encode() + b"\n"),
    "half a line": _write(b'{"id": 1'),
    "read input": _read_input,
}
"""What it does in the place of an answer."""

ANSWERS: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "three": ("x", 0.0, False),
    "text of a number": (7, 0.0, False, False, {}),
    "no text": (None, 0.0, False, False, {}),
    "reward NaN": ("x", float("nan"), False, False, {}),
    "reward inf": ("x", float("inf"), False, False, {}),
    "reward text": ("x", "many", False, False, {}),
    "reward nothing": ("x", None, False, False, {}),
    "end text": ("x", 0.0, "no", False, {}),
    "info list": ("x", 0.0, False, False, [1]),
    "info nothing": ("x", 0.0, False, False, None),
    "object": ("x", 0.0, False, False, {"it": object()}),
    "huge": ("x" * (100 << 20), 0.0, False, False, {}),
}
"""What it answers a step with."""


class Trouble(Plain):
    """A `Plain` world with one task that makes trouble; blocking, as environments are that need a worker.

    Args:
        what: a name in `ACTS` or `ANSWERS`.
        when: "open", "reset", "step 2", "hindsight" or "close".
        once: this file does not exist yet; it is made, and trouble with it, at the first occasion alone.
        task: in which trouble comes; opening and closing have none.
    """

    blocking = True

    def __init__(self, *, what: str = "", when: str = "", once: str = "", task: str = "t1", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what, self.when, self.once, self.trouble = what, when, once, task
        self._act("open")

    def _act(self, when: str) -> bool:
        """Whether trouble comes now; does what it is."""
        if when != self.when or not self.what:
            return False
        if self.once:
            try:
                Path(self.once).touch(exist_ok=False)
            except FileExistsError:
                return False
        ACTS.get(self.what, lambda: None)()
        return True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        out = super().reset(seed=seed, options=options)
        if self.task.task_id == self.trouble:
            self._act("reset")
        return out

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        out = super().step(action)
        if self.task.task_id == self.trouble and self._act(f"step {self.steps}") and self.what in ANSWERS:
            return ANSWERS[self.what]  # type: ignore[return-value]
        return out

    def hindsight(self) -> Hindsight:
        if self.task.task_id == self.trouble:
            self._act("hindsight")
        return Hindsight(distance=float(self.length - self.steps))

    def close(self) -> None:
        self._act("close")

    def tasks(self) -> Sequence[Task]:
        if self.what == "tasks raise":
            raise EnvError("no tasks")
        return super().tasks()
