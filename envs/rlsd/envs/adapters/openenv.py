"""An OpenEnv server as an environment of rlsd: `rlsd check-env rlsd/OpenEnv-v0 --arg url=http://127.0.0.1:8000`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlsd.envs.adapters.adapted import SPLITS, AdaptedEnv, State, one_of, whole
from rlsd.envs.adapters.openenv_socket import OpenEnvSocket
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError

ENV_ID = "rlsd/OpenEnv-v0"
_TEXTS = ("text", "prompt", "message", "content", "output", "observation", "echoed_message", "stdout", "result")
"""Fields of an observation that are its text, the most likely first."""


class OpenEnv(AdaptedEnv):
    """Actions are one text field of the server's action. Rewards are the server's.

    Args:
        url: of the server, as in "http://127.0.0.1:8000".
        split: train, valid or test: other seeds. Whether another seed is another task is up to the server.
        tasks: seeds of the split.
        action_field: which field of an action is the text; None: the only text field of the server's schema.
        text_field: which field of an observation is the text; None: the first of the usual ones, else all of it.
        action: further fields of every action.
        goal: the task in words, where observations have none.
        max_steps: the episode is truncated after so many steps, where the server does not end it before.
        token: the server's secret.
        timeout_s: seconds of one answer.

    Raises:
        EnvError: no server, a schema without a text field, or an argument that does not fit.

    Example:
        >>> from rlsd.envs import make
        >>> env = make("rlsd/OpenEnv-v0", url="http://127.0.0.1:8000", goal="repeat the message.")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        url: str = "",
        split: str = "train",
        tasks: int = 100,
        action_field: str | None = None,
        text_field: str | None = None,
        action: Mapping[str, Any] | None = None,
        goal: str = "do what the environment asks for.",
        max_steps: int = 50,
        token: str | None = None,
        timeout_s: float = 60.0,
        render_mode: None = None,
    ) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise EnvError(f"url={url!r}: expected the address of an OpenEnv server, --arg url=http://127.0.0.1:8000")
        if not isinstance(action or {}, Mapping):
            raise EnvError(f"action={action!r}: expected fields with values, such as {{kind: chat}}")
        span = SPLITS[one_of("split", split, tuple(SPLITS))]
        whole("tasks", tasks, 1, 100_000)
        self._socket = OpenEnvSocket(url, token=token, timeout_s=timeout_s)
        self._field = action_field or _field_of(url, self._socket.get("/schema"))
        self._text_field, self._more, self._goal = text_field, dict(action or {}), goal
        super().__init__(
            tasks=[
                Task(env_id=ENV_ID, task_id=f"{split}/{i}", split=split, task_type="openenv", seed=span.first + i)
                for i in range(tasks)
            ],
            max_steps=max_steps,
            max_chars=200_000,
        )

    def begin(self, task: Task) -> State:
        self._known, self._before = Hindsight(), None
        return self._seen(self._socket.ask("reset", {"seed": task.seed}), first=True)

    def act(self, action: str) -> State:
        self._before = self.hindsight().distance
        return self._seen(self._socket.ask("step", {**self._more, self._field: str(action)}))

    def goal(self) -> str:
        return self._said_goal or self._goal

    def hindsight(self) -> Hindsight:
        """What the server's state says under `hindsight`, as rlsd's own does; else nothing."""
        if self._known is not None:
            known = self._socket.ask("state").get("hindsight")
            self._known = _read(known) if isinstance(known, Mapping) else None
        return self._known or Hindsight()

    def expert(self, kind: str) -> str | None:
        """ "oracle" follows the server's plan, where it tells one."""
        return next(iter(self.hindsight().plan), None) if kind == "oracle" else None

    def close(self) -> None:
        super().close()
        if hasattr(self, "_socket"):
            self._socket.close()

    def _seen(self, answer: dict[str, Any], *, first: bool = False) -> State:
        told = answer.get("observation")
        told = told if isinstance(told, Mapping) else {"text": str(told)}
        if first:
            self._said_goal = told["goal"] if isinstance(told.get("goal"), str) else ""
        reward, done = answer.get("reward"), bool(answer.get("done"))
        paid = float(reward) if isinstance(reward, int | float) else 0.0
        success = told.get("success")
        score = told["score"] if isinstance(told.get("score"), int | float) else paid if done else 0.0
        return State(
            observation=self._text(told),
            reward=paid,
            ended=done and not told.get("truncated"),
            cut=done and bool(told.get("truncated")),
            success=success if isinstance(success, bool) else done and paid >= 1,
            score=min(1.0, max(0.0, float(score))),
            valid=told.get("valid_action") is not False,
            commands=told.get("admissible_actions"),
            feedback=told["feedback"] if isinstance(told.get("feedback"), str) else "",
        )

    def _text(self, told: Mapping[str, Any]) -> str:
        if self._text_field is not None:
            if self._text_field not in told:
                known = ", ".join(sorted(told))
                raise EnvError(f"text_field={self._text_field!r}: the server's observations have {known}")
            return _plain(told[self._text_field])
        found = next((name for name in _TEXTS if isinstance(told.get(name), str)), None)
        return _plain(told if found is None else told[found])


def _field_of(url: str, schema: Any) -> str:
    """The only text field of an action.

    Raises:
        EnvError: there is none, or more than one.
    """
    fields = schema.get("action", {}).get("properties", {}) if isinstance(schema, Mapping) else {}
    texts = [name for name, kind in fields.items() if isinstance(kind, Mapping) and kind.get("type") == "string"]
    if len(texts) == 1:
        return texts[0]
    seen = f"{url}/schema has {'the text fields ' + ', '.join(texts) if texts else 'no text field of an action'}"
    raise EnvError(f"{seen}: name the one that takes the action, --arg action_field=NAME")


def _read(known: Mapping[str, Any]) -> Hindsight | None:
    try:
        return Hindsight.from_json(dict(known))
    except (TypeError, ValueError):
        return None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
