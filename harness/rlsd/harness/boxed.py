"""Environments the rollout may await: called directly when cheap, in a daemon thread with a time limit when not."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rlsd.envs.core import TextEnv

T = TypeVar("T")


class EpisodeError(Exception):
    """An environment failed; `boundary` says where."""

    def __init__(self, boundary: str, message: str) -> None:
        super().__init__(f"{boundary}: {message}")
        self.boundary = boundary
        self.message = message


class BoxedEnv:
    """One environment behind awaitable calls.

    A blocking environment that does not answer within `timeout_s` is given up: its thread is a daemon and its object
    is never touched again, so the caller makes a new one.

    Args:
        make: opens the environment.
        timeout_s: seconds a call may take where `TextEnv.blocking`.
    """

    def __init__(self, make: Callable[[], TextEnv], timeout_s: float) -> None:
        self._make = make
        self._timeout_s = timeout_s
        self._env: TextEnv | None = None
        self._calls: queue.SimpleQueue[Any] | None = None

    @property
    def env(self) -> TextEnv:
        """The environment itself, opened when first needed."""
        if self._env is None:
            self._env = self._make()
        return self._env

    async def call(self, boundary: str, function: Callable[[TextEnv], T]) -> T:
        """`function(env)`; whatever it raises becomes an `EpisodeError` with `boundary`."""
        try:
            env = self.env
            if not env.blocking:
                return function(env)
            answer = self._in_thread(env, function)
            await asyncio.wait({answer}, timeout=self._timeout_s)
            if answer.done():
                return answer.result()
        except Exception as error:
            self.abandon()
            raise EpisodeError(boundary, f"{type(error).__name__}: {error}") from error
        answer.cancel()
        self.abandon()
        raise EpisodeError(boundary, f"no answer within {self._timeout_s:g} s")

    def abandon(self) -> None:
        """Forget the environment; the next call opens a new one."""
        self._env = None
        if self._calls is not None:
            self._calls.put(None)
        self._calls = None

    def close(self) -> None:
        """Close the environment, unless it was given up."""
        if self._env is not None:
            self._env.close()
        self.abandon()

    def _in_thread(self, env: TextEnv, function: Callable[[TextEnv], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), daemon=True).start()
        self._calls.put((loop, future, function, env))
        return future


def _serve(calls: queue.SimpleQueue[Any]) -> None:
    while (call := calls.get()) is not None:
        loop, future, function, env = call
        try:
            value, error = function(env), None
        except Exception as caught:
            value, error = None, caught
            if isinstance(caught, StopIteration):  # which a future does not take
                error = RuntimeError(f"StopIteration: {caught}")

        def deliver(future: Any = future, value: Any = value, error: Any = error) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        try:
            loop.call_soon_threadsafe(deliver)
        except RuntimeError:
            return
