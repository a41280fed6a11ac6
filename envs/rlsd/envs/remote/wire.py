"""The protocol between a remote environment and its client: plain JSON, errors by name.

call   {"op": "step", "given": {"action": "go to desk 1"}}
reply  {"ok": ["You arrive at desk 1.", 0.0, false, false, {…}]}  or  {"error": {"kind": "TaskError", "message": "…"}}

An answer that breaks a rule of `rlsd.envs.answers` is an error where the environment runs, {"kind": "AnswerError",
"rule": "reward", …}, and is checked again here, because a server may be anybody's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from rlsd.envs.answers import hindsight_answer, reset_answer, step_answer, told
from rlsd.envs.core import Hindsight, Task, TextEnv
from rlsd.envs.errors import AnswerError, DataError, EnvError, EnvLost, RlsdError, TaskError
from rlsd.envs.remote.answers import MAX_BYTES, AnswerTooLarge

ERRORS: dict[str, type[RlsdError]] = {
    e.__name__: e for e in (RlsdError, TaskError, DataError, EnvError, AnswerTooLarge)
}
"""Errors that keep their type; any other becomes an `EnvError` that names it."""


class Transport(Protocol):
    """Carries calls to one remote environment."""

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        """The result of `op`; re-raises the environment's error, or EnvError when it cannot be reached."""
        ...

    def close(self) -> None:
        """Close the environment."""
        ...

    def abandon(self) -> EnvLost | None:
        """Drop a hung environment without waiting.

        Returns:
            The error if its process is lost.
        """
        ...


def answer(env: TextEnv, op: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The reply to one call; an error of the environment becomes an error reply."""
    try:
        if op not in _OPS:
            raise EnvError(f"unknown operation {op!r}; expected one of {', '.join(_OPS)}")
        return {"ok": _OPS[op](env, arguments)}
    except BaseException as error:  # the caller receives whatever the environment raises, SystemExit too
        return failure(error)


def failure(error: BaseException) -> dict[str, Any]:
    """The reply that carries an error."""
    if isinstance(error, AnswerError):
        return {"error": {"kind": "AnswerError", "rule": error.rule, "message": str(error)}}
    kind = next((name for name, e in ERRORS.items() if type(error) is e), None)
    return {"error": {"kind": kind or "EnvError", "message": str(error) if kind else told(error)}}


def value(reply: Any, source: str) -> Any:
    """The result in a reply.

    Raises:
        RlsdError: the error in the reply, with its own type; EnvError for a malformed reply of `source`.
    """
    if isinstance(reply, dict) and "ok" in reply:
        return reply["ok"]
    if isinstance(reply, dict) and isinstance(reply.get("error"), dict):
        error = reply["error"]
        if error.get("kind") == "AnswerError":
            raise AnswerError(str(error.get("rule")), str(error.get("message")))
        raise ERRORS.get(str(error.get("kind")), EnvError)(str(error.get("message")))
    raise EnvError(f"{source} gave no usable reply: {str(reply)[:200]!r}")


def too_large(size: int) -> AnswerTooLarge:
    return AnswerTooLarge(f"the answer has {size} bytes, at most {MAX_BYTES} are taken")


def _malformed(op: str, reply: Any, expected: str) -> EnvError:
    return EnvError(f"{op!r} gave {str(reply)[:200]!r}, expected {expected}")


def dumps(data: Any) -> str:
    """JSON on one line; NumPy scalars become plain numbers."""
    return json.dumps(data, default=_plain)


def _plain(scalar: Any) -> Any:
    if hasattr(scalar, "item"):
        return scalar.item()
    raise TypeError(f"a {type(scalar).__name__} cannot be sent as JSON; return texts, numbers and lists")


_OPS: dict[str, Callable[[TextEnv, dict[str, Any]], Any]] = {
    "about": lambda env, arguments: {
        "max_chars": getattr(env.action_space, "max_chars", 8192),
        "response_format": env.response_format,
        "accepts_formats": env.accepts_formats,
        "profiles": env.profiles,
        "reset_timeout_s": env.reset_timeout_s,
    },
    "tasks": lambda env, arguments: [task.to_json() for task in env.tasks()],
    "content": lambda env, arguments: env.content(arguments["task_id"]),
    "reset": lambda env, arguments: reset_answer(
        env.reset(seed=arguments.get("seed"), options=arguments.get("options"))
    ),
    "step": lambda env, arguments: step_answer(env.step(arguments["action"])),
    "hindsight": lambda env, arguments: hindsight_answer(env.hindsight()).to_json(),
    "expert": lambda env, arguments: env.expert(arguments["kind"]),
}


class RemoteEnv(TextEnv):
    """A remote environment. Every method is one call; hindsight has a separate call."""

    blocking = True

    def __init__(self, transport: Transport) -> None:
        self._transport: Transport | None = transport
        self.lost: EnvLost | None = None
        """Set by `abandon` if the process of the environment is lost."""
        about = self._ask("about")
        try:
            super().__init__(max_chars=int(about["max_chars"]))
            accepted, profiles = about.get("accepts_formats"), about.get("profiles")
            self.response_format = about.get("response_format")
            self.accepts_formats = None if accepted is None else tuple(accepted)  # older servers do not say: anything
            self.profiles = None if profiles is None else tuple(profiles)
            self.reset_timeout_s = float(about.get("reset_timeout_s", 0.0))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _malformed("about", about, 'an object with "max_chars"') from error
        self._tasks: tuple[Task, ...] | None = None

    def tasks(self) -> tuple[Task, ...]:
        if self._tasks is None:
            listed = self._ask("tasks")
            try:
                self._tasks = tuple(Task.from_json(task) for task in listed)
            except TypeError as error:
                raise _malformed("tasks", listed, "a list of tasks") from error
        return self._tasks

    def content(self, task_id: str) -> str:
        return self._ask("content", task_id=task_id)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return reset_answer(self._ask("reset", seed=seed, options=options))

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return step_answer(self._ask("step", action=action))

    def hindsight(self) -> Hindsight:
        known = self._ask("hindsight")
        try:
            known = Hindsight.from_json(known)
        except (TypeError, ValueError, AttributeError) as error:
            raise AnswerError("hindsight", f"the reply is no Hindsight: {told(error)}") from error
        return hindsight_answer(known)

    def expert(self, kind: str) -> str | None:
        reply = self._ask("expert", kind=kind)
        if reply is None or isinstance(reply, str):
            return reply
        raise _malformed("expert", reply, "an action or null")

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def abandon(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self.lost = transport.abandon()

    def _ask(self, op: str, **arguments: Any) -> Any:
        if self._transport is None:
            raise EnvError("the environment is closed")
        return self._transport.ask(op, arguments)
