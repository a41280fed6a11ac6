"""Starts worker processes that end with this one.

Linux ends a child that asked for it (`end_with_parent`) when the *thread* that started it ends, so all are started by
one thread that lives as long as the process.
"""

from __future__ import annotations

import ctypes
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Any

_PR_SET_PDEATHSIG = 1


def start(command: list[str], **arguments: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen(command, **arguments)`, run by the thread that never ends."""
    asked: Future[subprocess.Popen[bytes]] = Future()
    _thread(os.getpid()).put((asked, command, arguments))
    return asked.result()


def end_with_parent(parent: int) -> None:
    """In a child: be killed when the process `parent` ends. Elsewhere than on Linux nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had ended before
        os._exit(1)


@functools.cache
def _thread(pid: int) -> queue.SimpleQueue[Any]:
    """The thread's orders; a forked process (another `pid`) starts one of its own."""
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        while True:
            asked, command, arguments = orders.get()
            try:
                asked.set_result(subprocess.Popen(command, **arguments))
            except BaseException as error:  # the caller's
                asked.set_exception(error)

    threading.Thread(target=work, name=f"rlsd-spawn-{pid}", daemon=True).start()
    return orders
