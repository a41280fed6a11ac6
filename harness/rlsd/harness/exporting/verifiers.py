"""Any environment of rlsd as one of `verifiers`, for the trainers and evaluations built on it.

    import verifiers as vf
    from rlsd.harness.exporting.verifiers import load_environment

    env = load_environment("rlsd/TextCraft-v0", kwargs={"recipes": "gen-tiny"})
    env.evaluate_sync(client, model="my-model", num_examples=20)

The prompt, and how a response becomes an action, are those of rlsd's own runs: a response format, with the whole
conversation as memory. The reward is the environment's return.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rlsd.agents.formats import FORMATS, find_format, format_for
from rlsd.agents.memory import FullHistory
from rlsd.agents.response_format import ResponseFormat
from rlsd.agents.types import History
from rlsd.envs.adapters.packages import needed
from rlsd.envs.answers import reset_answer, step_answer, told
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.errors import EnvError
from rlsd.envs.registry import make

_STATE = "rlsd"
"""Where a rollout's own data lie in verifiers' state."""


def load_environment(
    env_id: str,
    *,
    split: str = "train",
    eval_split: str | None = "valid",
    kwargs: Mapping[str, Any] | None = None,
    format: str = "auto",
    system_prompt: str | None = None,
    tasks: int | None = None,
    max_turns: int = -1,
) -> Any:
    """A `verifiers.MultiTurnEnv` whose rows are tasks.

    Args:
        env_id: what `rlsd.envs.make` opens.
        split: whose tasks are trained on.
        eval_split: whose tasks are evaluated; None: the same.
        kwargs: the environment's own arguments.
        format: a response format's name, "module:NAME", or "auto".
        system_prompt: a system message before the first one.
        tasks: rows of each data set at most; None: all. Each is opened once for its prompt.
        max_turns: further limit; -1: the environment's own.

    Raises:
        EnvError: verifiers is missing, too old or too new, or the environment cannot be opened.
        FormatError: a format that the environment cannot read.
    """
    vf = import_verifiers()
    arguments = dict(kwargs or {})
    probe = make(env_id, **{**arguments, "split": split})
    shape = _without_tools(find_format(format_for(format, probe, env_id=env_id)))
    probe.close()
    rows = _rows(env_id, arguments, split, shape, system_prompt, tasks)
    evaluated = rows if eval_split is None else _rows(env_id, arguments, eval_split, shape, system_prompt, tasks)
    return _kind()(
        env_id,
        arguments,
        shape,
        dataset=_dataset(rows),
        eval_dataset=_dataset(evaluated),
        rubric=vf.Rubric(funcs=[episode_return, success, score, turns, valid], weights=[1.0, 0.0, 0.0, 0.0, 0.0]),
        max_turns=max_turns,
    )


def import_verifiers() -> Any:
    """The package.

    Raises:
        EnvError: it is missing, or of another interface: 0.4 has no `MultiTurnEnv`.
    """
    return needed("verifiers", extra="verifiers", at_least="0.1.14", below="0.4", works="0.3.1")


async def episode_return(state: Any) -> float:
    """The sum of the environment's rewards."""
    return float(state[_STATE]["return"])


async def success(state: Any) -> float:
    """1 where the goal was reached."""
    return float(state[_STATE]["success"])


async def score(state: Any) -> float:
    """The environment's graded outcome, in [0, 1]."""
    return float(state[_STATE]["score"])


async def turns(state: Any) -> float:
    """Actions that the environment answered."""
    return float(state[_STATE]["turns"])


async def valid(state: Any) -> float:
    """Share of the turns whose response followed the format and whose action the environment accepted."""
    return state[_STATE]["valid"] / max(1, state[_STATE]["turns"])


@cache
def _kind() -> Any:
    """The class; its base is there only if the package is."""
    vf = import_verifiers()

    class RlsdEnv(vf.MultiTurnEnv):
        """One episode a rollout; the environment is opened for it and closed with it."""

        def __init__(self, name: str, arguments: dict[str, Any], shape: ResponseFormat, **more: Any) -> None:
            super().__init__(**more)
            self._name, self._arguments, self._shape = name, arguments, shape
            self._open: dict[str, TextEnv] = {}

        async def setup_state(self, state: Any) -> Any:
            info = state["info"]
            try:
                env = await asyncio.to_thread(make, self._name, **{**self._arguments, "split": info["split"]})
                self._open[state["trajectory_id"]] = env
                await asyncio.to_thread(env.reset, seed=0, options={"task": info["task_id"]})
            except Exception as error:  # whatever an environment does: it ends this rollout, with its reason
                raise vf.Error(told(error)) from error
            state[_STATE] = {"return": 0.0, "success": False, "score": 0.0, "turns": 0, "valid": 0}
            return state

        async def env_response(self, messages: Any, state: Any, **_: Any) -> Any:
            parsed = self._shape.parse(_text(messages[-1]))
            env, so_far = self._open[state["trajectory_id"]], state[_STATE]
            try:
                observation, reward, terminated, truncated, info = step_answer(
                    await asyncio.to_thread(env.step, parsed.text)
                )
            except Exception as error:  # as above
                raise vf.Error(told(error)) from error
            so_far["return"] += reward
            so_far["turns"] += 1
            so_far["valid"] += parsed.valid and info.get("valid_action", True)
            so_far["success"], so_far["score"] = info.get("success", False), info.get("score", 0.0)
            answer = [{"role": "user", "content": observation.strip()}]
            if terminated or truncated:
                state["final_env_response"] = answer
            return answer

        @vf.cleanup
        async def close_env(self, state: Any) -> None:
            env = self._open.pop(state["trajectory_id"], None)
            if env is not None:
                await asyncio.to_thread(env.close)

    return RlsdEnv


def _rows(
    env_id: str,
    arguments: Mapping[str, Any],
    split: str,
    shape: ResponseFormat,
    system_prompt: str | None,
    most: int | None,
) -> list[dict[str, Any]]:
    env = make(env_id, **{**arguments, "split": split})
    memory = FullHistory(format=shape)
    try:
        return [_row(env, task, memory, system_prompt) for task in list(env.tasks())[:most]]
    finally:
        env.close()


def _row(env: TextEnv, task: Task, memory: FullHistory, system_prompt: str | None) -> dict[str, Any]:
    observation, info = reset_answer(env.reset(seed=0, options={"task": task.task_id}))
    first = memory.user_text(History(goal=info.get("goal", ""), observations=(observation,), actions=()), 0)
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return {
        "prompt": [*system, {"role": "user", "content": first}],
        "answer": "",
        "info": {"task_id": task.task_id, "split": task.split},
    }


def _dataset(rows: Sequence[dict[str, Any]]) -> Any:
    if not rows:
        raise EnvError("the split has no tasks")
    datasets = needed("datasets", extra="verifiers", at_least="3.0")
    return datasets.Dataset.from_list(list(rows))


def _without_tools(shape: ResponseFormat) -> ResponseFormat:
    """The format that is like one of native calls, which this interface does not pass on."""
    return FORMATS[shape.like] if shape.tools and shape.like else shape


def _text(message: Any) -> str:
    """The text of a message, a dict or an object."""
    content = message.get("content") if isinstance(message, Mapping) else message.content
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text", "") if isinstance(part, Mapping) else getattr(part, "text", "") for part in content)
