"""The Java process that plays the original: started once, used again by the next environment, ended with this process.

One process plays one episode at a time, because the original keeps its random numbers and settings in static fields.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import threading
from importlib.util import find_spec
from typing import Any

from rlsd.envs.errors import EnvError, EnvLost

OPTIONS = (
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xmx1g",
)
"""`hashCode=2` gives every object the same identity hash. The original keeps objects in hash sets, whose order would
otherwise differ from process to process, and with it names in the action list, temperatures and random choices."""


def check_installed() -> None:
    """
    Raises:
        EnvError: the package or Java is absent.
    """
    absent = [name for name in ("scienceworld", "py4j") if find_spec(name) is None]
    if absent:
        raise EnvError(
            f"the original ScienceWorld is not installed (missing: {', '.join(absent)}); run "
            "`pip install 'rlsd[scienceworld]'`; it needs Java 8 or newer, too"
        )
    if shutil.which("java") is None:
        raise EnvError("the original ScienceWorld needs Java, and there is no `java` on the PATH; install a JRE")


class JavaProcess:
    """A running original. Start one with `borrow`, hand it back with `give_back`.

    Its standard input is a pipe from this process: when this process ends, in whatever way, Java ends, too.
    """

    def __init__(self) -> None:
        check_installed()
        from py4j.java_gateway import (  # pyright: ignore[reportMissingImports]
            GatewayParameters,
            JavaGateway,
            launch_gateway,
        )
        from scienceworld.constants import BASEPATH, JAR_PATH  # pyright: ignore[reportMissingImports]

        try:
            launched: Any = launch_gateway(
                classpath=JAR_PATH, cwd=BASEPATH, javaopts=list(OPTIONS), die_on_exit=True, return_proc=True
            )
            port, self._process = launched
            # Without memory management: else the collector of garbage talks to Java, which may be gone, and in the
            # middle of anything. The few objects that Java hands out live as long as its process.
            parameters = GatewayParameters(auto_field=True, port=port, enable_memory_management=False)
            self._gateway: Any = JavaGateway(gateway_parameters=parameters)
            self._server = self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise EnvError(f"the Java process of ScienceWorld did not start: {reason}") from error
        self.owner = os.getpid()

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the original's Python interface returns.

        Raises:
            EnvLost: the process has ended.
            EnvError: the original raised; says what.
        """
        try:
            return getattr(self._server, method)(*arguments)
        except Exception as error:
            if not self.alive or type(error).__name__ != "Py4JJavaError":
                code = self._process.poll()
                ended = "was lost" if code is None else f"ended with exit status {code}"
                self.kill()
                raise EnvLost(f"the Java process of ScienceWorld {ended} during {method!r}", own=True) from error
            reason = str(getattr(error, "java_exception", error)).splitlines()[0]
            raise EnvError(f"ScienceWorld raised during {method!r}: {reason}") from error

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def kill(self) -> None:
        """End the process at once; never waits for it."""
        self._process.kill()
        with contextlib.suppress(Exception):  # what is left of the connections
            self._gateway.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def end(self) -> None:
        """End the process and wait until it is gone."""
        self.kill()
        self._process.wait(timeout=10)


_idle: list[JavaProcess] = []
_lock = threading.RLock()  # a collector of garbage may hand back while this thread takes


def borrow() -> JavaProcess:
    """An idle process, else a new one (it takes a second or two).

    Raises:
        EnvError: the package or Java is absent, or Java does not start.
    """
    process = _take()
    if process is None:
        gc.collect()  # environments that nobody closed, and nobody can reach, hand theirs back
        process = _take()
    return process or JavaProcess()


def _take() -> JavaProcess | None:
    with _lock:
        while _idle:
            process = _idle.pop()
            if process.owner == os.getpid() and process.alive:
                return process
    return None


def give_back(process: JavaProcess) -> None:
    """Keep a process for the next `borrow`."""
    if process.owner == os.getpid() and process.alive:
        with _lock:
            _idle.append(process)


def end_idle() -> None:
    """End the processes that nobody uses."""
    with _lock:
        processes, _idle[:] = list(_idle), []
    for process in processes:
        if process.owner == os.getpid():
            process.end()
