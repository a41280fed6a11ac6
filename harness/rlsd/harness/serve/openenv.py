"""`rlsd serve env --protocol openenv`: any environment for OpenEnv's clients, one WebSocket an episode's owner.

    GET /ws        {"type": "reset", "data": {"seed": 3, "task": "keys5/test/2-1-4"}}
                   {"type": "step", "data": {"action": "go left"}}      {"type": "state"}      {"type": "close"}
    GET /schema    /metadata    /health

Each is answered with {"type": "observation", "data": {"observation": {"text": …}, "reward": 0.0, "done": false}}, with
{"type": "state", "data": {…}}, or with {"type": "error", "data": {"message": …, "code": …}}. The privileged hindsight
is in the state, which no agent sees, never in an observation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rlsd.envs.answers import hindsight_answer, reset_answer, step_answer, told
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import RlsdError
from rlsd.envs.remote.answers import MAX_BYTES
from rlsd.envs.remote.wire import dumps, too_large
from rlsd.harness.serve.env import OpenEnv
from rlsd.harness.serve.guard import App, Limits, ServeError

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "number"}
SCHEMA = {
    "action": {"title": "Action", "type": "object", "properties": {"action": _TEXT}, "required": ["action"]},
    "observation": {
        "title": "Observation",
        "type": "object",
        "properties": {
            "text": _TEXT,
            "goal": _TEXT,
            "task_id": _TEXT,
            "task_type": _TEXT,
            "admissible_actions": {"type": ["array", "null"], "items": _TEXT},
            "valid_action": _FLAG,
            "success": _FLAG,
            "score": _NUMBER,
            "feedback": _TEXT,
            "truncated": _FLAG,
        },
    },
    "state": {
        "title": "State",
        "type": "object",
        "properties": {
            "episode_id": _TEXT,
            "step_count": {"type": "integer"},
            "task_id": _TEXT,
            "hindsight": {"type": "object"},
        },
    },
}


class _Refused(Exception):
    """A message that is answered with an error; the session goes on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Session:
    """One connection's environment; methods block.

    Args:
        open_env: opens it at the first reset, and again where a reset names another split.
    """

    def __init__(self, open_env: OpenEnv) -> None:
        self._open_env = open_env
        self._env: TextEnv | None = None
        self._split: str | None = None
        self._episode = ""
        self._steps = 0
        self._task = ""

    def reply(self, text: str) -> dict[str, Any] | None:
        """The answer to a message; None to `close`. Whatever the environment raises becomes an error."""
        try:
            return self._reply(*_message(text))
        except _Refused as error:
            return _error(error.code, str(error))
        except BaseException as error:  # SystemExit too: it would end the server
            return _error("EXECUTION_ERROR", str(error) if isinstance(error, RlsdError) else told(error))

    def abandon(self) -> None:
        """Give up on an environment that hangs."""
        if self._env is not None:
            self._env.abandon()

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(BaseException):
                env.close()

    def _reply(self, kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
        match kind:
            case "close":
                return None
            case "reset":
                return {"type": "observation", "data": self._reset(data)}
            case "step":
                return {"type": "observation", "data": self._step(data)}
            case "state":
                return {"type": "state", "data": self._state()}
        raise _Refused("UNKNOWN_TYPE", f"unknown message type {kind!r}; expected reset, step, state or close")

    def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        split, seed, task = data.get("split"), data.get("seed"), data.get("task")
        if not isinstance(split, str | None) or not isinstance(task, str | None) or not isinstance(seed, int | None):
            raise _Refused("VALIDATION_ERROR", "reset takes seed (a number), task and split (texts), all optional")
        if self._env is None or split != self._split:
            self.close()
            self._env = self._open_env() if split is None else self._open_env(split=split)
            self._split = split
        options = None if task is None else {"task": task}
        observation, info = reset_answer(self._env.reset(seed=seed, options=options))
        self._episode, self._steps = str(data.get("episode_id") or secrets.token_urlsafe(12)), 0
        self._task = str(info.get("task_id", ""))
        return _observation(observation, info, reward=None, done=False, truncated=False)

    def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(data.get("action"), str):
            raise _Refused("VALIDATION_ERROR", 'a step is {"type": "step", "data": {"action": TEXT}}')
        observation, reward, terminated, truncated, info = step_answer(self._opened().step(data["action"]))
        self._steps += 1
        return _observation(observation, info, reward=reward, done=terminated or truncated, truncated=truncated)

    def _state(self) -> dict[str, Any]:
        known = hindsight_answer(self._opened().hindsight()).to_json()
        return {"episode_id": self._episode, "step_count": self._steps, "task_id": self._task, "hindsight": known}

    def _opened(self) -> TextEnv:
        if self._env is None or not self._episode:
            raise _Refused("SESSION_ERROR", "no episode is open; send a reset first")
        return self._env


def openenv_app(open_env: OpenEnv, limits: Limits, *, name: str, threads: int = 64) -> App:
    """The ASGI application.

    Raises:
        ServeError: the extra `serve` is missing.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import JSONResponse
        from starlette.routing import Route, WebSocketRoute
        from starlette.websockets import WebSocket, WebSocketDisconnect
    except ImportError as error:
        raise ServeError("serving needs uvicorn, starlette and wsproto: pip install 'rlsd[serve]'") from error
    pool = ThreadPoolExecutor(threads, thread_name_prefix="env")
    open_now: set[Session] = set()

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        if len(open_now) >= limits.max_sessions:
            full = _error("CAPACITY_REACHED", f"{len(open_now)} sessions are open, no more are allowed; close one")
            await socket.send_text(dumps(full))
            await socket.close(1013)
            return
        session = Session(open_env)
        open_now.add(session)
        try:
            await _talk(socket, session)
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            open_now.discard(session)
            threading.Thread(target=session.close, daemon=True).start()

    async def _talk(socket: WebSocket, session: Session) -> None:
        while True:
            async with asyncio.timeout(limits.session_idle_s):
                text = await socket.receive_text()
            try:
                async with asyncio.timeout(limits.request_s):
                    reply = await asyncio.get_running_loop().run_in_executor(pool, session.reply, text)
            except TimeoutError:  # the thread may hang for ever
                session.abandon()
                late = _error("EXECUTION_ERROR", f"no answer within {limits.request_s:g} s; the session is over")
                await socket.send_text(dumps(late))
                reply = None
            if reply is None:
                await socket.close()
                return
            await socket.send_text(_written(reply))

    def plain(data: Callable[[], Any]) -> Callable[..., Any]:
        async def answer(_: Request) -> JSONResponse:
            return JSONResponse(data())

        return answer

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        pool.shutdown(wait=False, cancel_futures=True)

    about = {"name": name, "description": f"{name}, served by rlsd", "version": None}
    return Starlette(
        routes=[
            WebSocketRoute("/ws", talk),
            Route("/schema", plain(lambda: SCHEMA)),
            Route("/metadata", plain(lambda: about)),
            Route("/health", plain(lambda: {"status": "healthy", "sessions": len(open_now)})),
        ],
        lifespan=lifespan,
    )


def _message(text: str) -> tuple[str, dict[str, Any]]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Refused("INVALID_JSON", f"a message is JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("data", {}), dict):
        raise _Refused("VALIDATION_ERROR", 'a message is {"type": TEXT, "data": {…}}')
    return str(message.get("type", "")), message.get("data", {})


def _observation(
    text: str, info: dict[str, Any], *, reward: float | None, done: bool, truncated: bool
) -> dict[str, Any]:
    known = {key: value for key, value in info.items() if key in SCHEMA["observation"]["properties"]}
    return {"observation": {"text": text, **known, "truncated": truncated}, "reward": reward, "done": done}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code}}


def _written(reply: dict[str, Any]) -> str:
    try:
        text = dumps(reply)
    except Exception as error:  # whatever an object in `info` does when it is written
        return dumps(_error("EXECUTION_ERROR", told(error)))
    return text if len(text) <= MAX_BYTES else dumps(_error("EXECUTION_ERROR", str(too_large(len(text)))))
