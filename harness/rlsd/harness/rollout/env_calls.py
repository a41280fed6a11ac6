"""Awaitable environment calls: direct if the environment does not block, else in a daemon thread with a time limit.

Whatever an environment raises, `SystemExit` and its own `KeyboardInterrupt` included, is an `EpisodeError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rlsd.envs.answers import RULES, told
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import AnswerError, EnvLost
from rlsd.envs.remote.opening import Attempt
from rlsd.envs.remote.wire import RemoteEnv

T = TypeVar("T")

OPENED_AT_ONCE = 8
"""Largest number of environments of one rollout that open at the same time."""

RAISED, TIMEOUT, AGENT = "raised", "timeout", "agent"
"""Reasons of a failed episode besides `rlsd.envs.answers.RULES`: a call raised, or gave no answer in time; the agent's
server refused or did not answer."""


class EpisodeError(Exception):
    """An environment or the agent's server failed; `boundary` names the call, as "env.step", `reason` the kind of
    failure. `lost`: another environment may be why."""

    def __init__(self, boundary: str, message: str, *, reason: str = RAISED, lost: bool = False) -> None:
        super().__init__(f"{boundary}: {message}")
        self.boundary = boundary
        self.message = message
        self.reason = reason
        self.lost = lost

    @classmethod
    def of(cls, boundary: str, error: BaseException, *, lost: bool = False) -> EpisodeError:
        """From what an environment raised, or what was found in its answer."""
        if isinstance(error, AnswerError):
            reason = error.rule if error.rule in RULES else "answer"  # a server may send any name
            return cls(boundary, str(error), reason=reason, lost=lost)
        return cls(boundary, told(error), lost=lost)


class _NoAnswer(Exception):
    """The time limit (argument, seconds) passed; not `TimeoutError`, because environments may raise their own."""

    lost: EnvLost | None = None
    """The process of the environment that was opened is lost."""


class _Raised(Exception):
    """Carries what an environment raised, which may be no `Exception`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Opening:
    """How the environments of one rollout are opened.

    Whether opening blocks is unknown at first, so the first environment is opened alone in a thread with a time limit.
    If it does not block, the others are opened directly; otherwise `OPENED_AT_ONCE` at a time, each in its own thread.
    """

    def __init__(self) -> None:
        self.cheap: bool | None = None
        """Whether the environments do not block; None before the first is open."""
        self._first = asyncio.Lock()
        self._some = asyncio.Semaphore(OPENED_AT_ONCE)

    async def open(self, box: BoxedEnv) -> TextEnv:
        if self.cheap is None:
            async with self._first:
                if self.cheap is None:
                    try:
                        env = await box.open_in_thread()
                    except _NoAnswer:
                        self.cheap = False  # the others need not wait for one another
                        raise
                    self.cheap = not env.blocking
                    return env
        if self.cheap:
            return box.ask(box.make)
        async with self._some:
            return await box.open_in_thread()


class BoxedEnv:
    """One environment behind awaitable calls.

    A blocking environment that does not answer within `timeout_s`, also while opening, is abandoned: its thread is a
    daemon, its object is never used again, and the next call opens a new one.

    Args:
        make: opens the environment.
        timeout_s: time limit in seconds of opening, closing, and each call of an environment with `TextEnv.blocking`;
            its `reset_timeout_s`, where that is longer, is the limit of "env.reset".
    """

    def __init__(self, make: Callable[[], TextEnv], timeout_s: float) -> None:
        self.make = make
        self.opening = Opening()
        """Shared by the boxes of one rollout; replaced for each event loop."""
        self.interrupted: Callable[[], bool] = lambda: True
        """Whether a KeyboardInterrupt may be the user's; while a rollout plays, see `rlsd.envs.interrupts`."""
        self._timeout_s = timeout_s
        self._env: TextEnv | None = None
        self._calls: queue.SimpleQueue[Any] | None = None
        self._reopen: Callable[[], TextEnv] | None = None
        """Opens the next environment instead of `make`."""

    @property
    def opened(self) -> TextEnv | None:
        return self._env

    @property
    def env(self) -> TextEnv:
        """The environment itself, opened by the first call."""
        if self._env is None:
            raise RuntimeError("no environment is open; the first call opens it")
        return self._env

    async def call(self, boundary: str, function: Callable[[TextEnv], T]) -> T:
        """`function(env)`; whatever it raises becomes an `EpisodeError` with `boundary`, but for a user's Ctrl-C."""
        try:
            if self._env is None:
                self._env = await self.opening.open(self)
            env = self._env
            if not env.blocking:
                return self.ask(lambda: function(env))
            longer = env.reset_timeout_s if boundary == "env.reset" else 0.0
            return await self._timed(lambda: function(env), max(self._timeout_s, longer))
        except _NoAnswer as late:
            other = self._lost(self.abandon() or late.lost)
            message = f"no answer within {late.args[0]:g} s"
            raise EpisodeError(boundary, message, reason=TIMEOUT, lost=other) from None
        except Exception as caught:
            error = caught.error if isinstance(caught, _Raised) else caught
            self._discard()
            raise EpisodeError.of(boundary, error, lost=self._lost(error)) from error

    def ask(self, function: Callable[[], T]) -> T:
        """`function()` in this thread.

        Raises:
            _Raised: it raised anything but a Ctrl-C of the user.
        """
        try:
            return function()
        except KeyboardInterrupt as error:
            if self.interrupted():
                raise
            raise _Raised(error) from error
        except BaseException as error:
            raise _Raised(error) from error

    async def open_in_thread(self) -> TextEnv:
        """A new environment; one that opens too late is closed by its own thread."""
        attempt = Attempt()
        open_one, self._reopen = self._reopen or self.make, None

        def make() -> TextEnv:
            with attempt.running():
                env = open_one()
            if attempt.given_up:
                env.close()
            return env

        try:
            env = await self._timed(make, self._timeout_s)
        except _NoAnswer as late:
            late.lost = attempt.give_up()
            raise
        if not env.blocking:
            self._end_thread()
        return env

    def abandon(self) -> EnvLost | None:
        """Forget the environment without waiting for it; the next call opens a new one.

        Returns:
            The error if the environment's process is lost.
        """
        env, self._env = self._env, None
        self._end_thread()
        if env is None:
            return None
        with contextlib.suppress(Exception):  # it has failed already, so a second error adds nothing
            env.abandon()
        return env.lost if isinstance(env, RemoteEnv) else None

    def _lost(self, error: BaseException | None) -> bool:
        """Whether another environment may be why this one failed; the next one then opens as `error` says."""
        lost = error if isinstance(error, EnvLost) else None
        self._reopen = None if lost is None else lost.reopen
        return lost is not None and not lost.own

    def close(self) -> threading.Event:
        """Start to close the environment; returns an event that is set once it is closed or was abandoned before."""
        closed = threading.Event()
        env, self._env = self._env, None
        if env is None or not env.blocking or self._calls is None:
            self._end_thread()
            if env is not None:
                with contextlib.suppress(_Raised):  # the episodes are over: a failed close changes nothing
                    self.ask(env.close)
            closed.set()
            return closed
        self._calls.put((_quietly(env.close), lambda value, error: closed.set()))
        self._end_thread()
        return closed

    def _discard(self) -> None:
        """Close an environment that raised, without waiting for it."""
        env = self._env
        with contextlib.suppress(Exception):
            self.close()
        if env is None:
            self._end_thread()

    async def _timed(self, function: Callable[[], T], limit_s: float) -> T:
        """`function()` in this box's thread.

        Raises:
            _NoAnswer: it took longer than `limit_s` seconds.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), daemon=True).start()

        def settle(value: Any, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)

        def deliver(value: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nothing waits for the result
                loop.call_soon_threadsafe(settle, value, error)

        self._calls.put((function, deliver))
        try:
            await asyncio.wait({answer}, timeout=limit_s)
        finally:
            waited = answer.done()
            if not waited:
                answer.cancel()
        if not waited:
            raise _NoAnswer(limit_s)
        return answer.result()

    def _end_thread(self) -> None:
        if self._calls is not None:
            self._calls.put(None)
        self._calls = None


def close_all(boxes: Sequence[BoxedEnv], timeout_s: float) -> int:
    """Close environments in parallel; returns how many did not close within `timeout_s` and were abandoned."""
    closing = [(box.opened, box.close()) for box in boxes]
    deadline = time.monotonic() + timeout_s
    left = 0
    for env, closed in closing:
        if not closed.wait(max(0.0, deadline - time.monotonic())) and env is not None:
            left += 1
            with contextlib.suppress(Exception):
                env.abandon()
    return left


def _quietly(function: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        with contextlib.suppress(BaseException):  # the episodes are over: a failed close changes nothing
            function()

    return run


def _serve(calls: queue.SimpleQueue[Any]) -> None:
    """Run one call after the other; each is (function, deliver)."""
    while (call := calls.get()) is not None:
        function, deliver = call
        try:
            value, error = function(), None
        except BaseException as caught:  # no Ctrl-C: signals reach the main thread alone
            value, error = None, _Raised(caught)
        deliver(value, error)
