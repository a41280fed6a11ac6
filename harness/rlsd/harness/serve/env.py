"""`rlsd serve env`: any environment over HTTP, for `rlsd.envs.remote.http.HttpEnv`.

    POST   /sessions                {"split": "test"}                          → {"ok": {"session": "…"}}
    POST   /sessions/ID             {"number": 3, "op": "step", "given": {…}}  → {"ok": …} or {"error": {…}}
    DELETE /sessions/ID
    GET    /health

A session's calls run one after the other, in threads. A number that was seen gets the reply it got, so a client may
repeat a call. A session whose call takes too long answers 504, and is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rlsd.envs.core import TextEnv
from rlsd.envs.errors import RlsdError
from rlsd.envs.remote.answers import MAX_BYTES
from rlsd.envs.remote.wire import answer, dumps, failure, too_large
from rlsd.harness.serve.guard import App, Limits, ServeError, no_json
from rlsd.harness.serve.sessions import SessionError, Sessions

OpenEnv = Callable[..., TextEnv]
"""Opens one environment; takes `split` where the client names one."""


@dataclass(slots=True)
class _Session:
    env: TextEnv
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    number: int = -1
    """Of the last call."""
    reply: dict[str, Any] = field(default_factory=dict)
    """To it."""


def env_app(open_env: OpenEnv, limits: Limits, *, threads: int = 64) -> App:
    """The ASGI application that serves environments made by `open_env`.

    Raises:
        ServeError: the extra `serve` is missing.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route
    except ImportError as error:
        raise ServeError("serving needs uvicorn and starlette: pip install 'rlsd[serve]'") from error
    service = _Service(open_env, limits, threads)

    def send(reply: dict[str, Any], status: int = 200) -> Response:
        try:
            text = dumps(reply)
        except Exception as error:  # whatever an object in `info` does when it is written
            text = dumps(failure(error))
        if len(text) > MAX_BYTES:
            text = dumps(failure(too_large(len(text))))
        return Response(text, status_code=status, media_type="application/json")

    def _refused(request: Request) -> Response | None:
        why = no_json(request.headers.get("content-type"))
        return None if why is None else send({"error": why}, 403)

    async def opened(request: Request) -> Response:
        return _refused(request) or send(*await service.open(await _body(request)))

    async def called(request: Request) -> Response:
        return _refused(request) or send(*await service.call(request.path_params["name"], await _body(request)))

    async def ended(request: Request) -> Response:
        service.sessions.end(request.path_params["name"])
        return send({"ok": None})

    async def healthy(_: Request) -> Response:
        return send({"ok": {"sessions": len(service.sessions)}})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    return Starlette(
        routes=[
            Route("/sessions", opened, methods=["POST"]),
            Route("/sessions/{name}", called, methods=["POST"]),
            Route("/sessions/{name}", ended, methods=["DELETE"]),
            Route("/health", healthy, methods=["GET"]),
        ],
        lifespan=lifespan,
    )


async def _body(request: Any) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


class _Service:
    def __init__(self, open_env: OpenEnv, limits: Limits, threads: int) -> None:
        self._open_env = open_env
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="env")
        self.sessions: Sessions[_Session] = Sessions(limits, on_end=self._end)

    async def open(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        if not set(body) <= {"split"} or not isinstance(body.get("split", ""), str):
            return failure(SessionError("a session is opened with {} or {'split': NAME}")), 400
        env = await self._run(lambda: self._opened(body))
        if isinstance(env, dict):
            return env, 400
        try:
            return {"ok": {"session": self.sessions.open(_Session(env))}}, 200
        except SessionError as error:
            self._close(env)
            return failure(error), 429

    async def call(self, name: str, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        number, op, arguments = body.get("number"), body.get("op"), body.get("given", {})
        if type(number) is not int or not isinstance(op, str) or not isinstance(arguments, dict):
            return failure(SessionError("a call is {'number': INT, 'op': NAME, 'given': {…}}")), 400
        try:
            session = self.sessions.get(name)
        except SessionError as error:
            return failure(error), 404
        try:
            async with session.lock:
                if number == session.number:
                    return session.reply, 200
                if number < session.number:
                    return failure(SessionError(f"call {number} is older than {session.number}, the last")), 409
                reply = await self._run(lambda: answer(session.env, op, arguments))
                session.number, session.reply = number, reply
                return reply, 200
        except asyncio.CancelledError:  # the guard's time is up: the thread may hang for ever
            self.sessions.forget(name)
            session.env.abandon()
            raise

    def close(self) -> None:
        self.sessions.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _opened(self, body: dict[str, Any]) -> TextEnv | dict[str, Any]:
        """An environment, or the error reply that says why there is none."""
        try:
            return self._open_env(**body)
        except BaseException as error:  # SystemExit too: it would end the server
            return failure(error)

    async def _run(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def _end(self, session: _Session) -> None:
        self._close(session.env)

    def _close(self, env: TextEnv) -> None:
        def close() -> None:
            with contextlib.suppress(BaseException):
                env.close()

        threading.Thread(target=close, daemon=True).start()


def opener(env_id: str, kwargs: dict[str, Any], *, workers: int) -> OpenEnv:
    """Opens `env_id` with `kwargs`, in worker processes if there are any; tries it once.

    Raises:
        RlsdError: it cannot be opened.
    """
    from rlsd.envs.registry import make
    from rlsd.envs.remote.processes import shared_pool

    open_one: OpenEnv = shared_pool(workers).open if workers else make

    def opened(**chosen: Any) -> TextEnv:
        return open_one(env_id, **{**kwargs, **chosen})

    try:
        opened().close()
    except RlsdError:
        raise
    except Exception as error:
        raise ServeError(f"{env_id} cannot be opened: {type(error).__name__}: {error}") from error
    return opened
