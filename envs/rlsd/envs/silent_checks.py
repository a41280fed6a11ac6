"""Checks of `rlsd check-env` for faults that stop no run, but spoil what it learns; each says how to mend the fault."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

from rlsd.envs.answer_checks import NONSENSE
from rlsd.envs.answers import hindsight_answer
from rlsd.envs.core import Hindsight, Task, TextEnv
from rlsd.envs.errors import AnswerError

_STEPS = 12
_TASKS = 3
"""Tasks that are played."""
_PATIENCE = 500
"""Steps after which an episode is given up; `ends_itself` is about such episodes."""
_GROWN = 4
"""Observations in a row, each of which repeats the one before and adds to it."""
_KNOWN = 20_000
"""Characters of a `Hindsight`; a run shows a few hundred tokens of it."""
_QUICK = 0.25
"""Seconds of a step that is no longer cheap."""


def answers_stay(env: TextEnv) -> str:
    """What was returned is not changed by later steps; a rollout keeps it until the episode's end."""
    kept: list[tuple[int, str, Any, str]] = []
    for step, (_, info, known) in enumerate(_walk(env, seed=17)):
        kept += [(step, "info", info, _text(info)), (step, "hindsight()", known, _text(known.to_json()))]
    for step, what, value, before in kept:
        if _text(value.to_json() if isinstance(value, Hindsight) else value) != before:
            return (
                f"{what} of step {step} was changed by a later step: return a new one each time, with copies of what "
                "you go on changing (list(x), dict(x))"
            )
    return ""


def bounded_text(env: TextEnv) -> str:
    """Observations that do not pile up, and hindsight that a prompt can hold."""
    row, before = 0, ""
    for observation, _, known in _walk(env, seed=18):
        row = row + 1 if len(before) >= 8 and before in observation and len(observation) > len(before) else 0
        if row >= _GROWN:
            return (
                f"observations pile up: {row} in a row repeat the one before and add to it; say only what is new, "
                "since earlier turns stand in the prompt anyway (agent.memory)"
            )
        before = observation
        size = len(_text(known.to_json()))
        if size > _KNOWN:
            return (
                f"hindsight() holds {size:,} characters, of which a teacher reads a few hundred tokens "
                "(hindsight.max_tokens): say what concerns the present state and the goal, the most important first"
            )
    return ""


def quick(env: TextEnv) -> str:
    """Steps of an environment that says `blocking = False` do not keep all other episodes waiting."""
    if env.blocking:
        return ""
    env.reset(seed=19)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(NONSENSE)
        seconds.append(time.perf_counter() - started)
        if terminated or truncated:
            env.reset(seed=19)
    if statistics.median(seconds) > _QUICK:
        return (
            f"a step takes {statistics.median(seconds):.1f} s and blocking is False, so every other episode waits "
            "meanwhile: set blocking = True"
        )
    return ""


def plan(env: TextEnv) -> str:
    """The plan, asked for anew in every state, leads to the goal, and the distance falls on the way."""
    for task in _first_tasks(env):
        env.reset(seed=20, options={"task": task.task_id})
        known = [_known(env)]
        info, ended = {}, False
        while known[-1].plan and not ended and len(known) <= _PATIENCE:
            action = known[-1].plan[0]
            _, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            known.append(_known(env))
            if info.get("valid_action") is False:
                return (
                    f"the plan's action {action!r} came back with valid_action=False: compute the plan anew in every "
                    "state, from actions that step accepts"
                )
        first, last = known[0].plan, known[-1].distance
        if first and not info.get("success"):
            cut = f"was cut after {len(known) - 1} steps: raise max_steps" if ended else "went on: plan it to its end"
            return (
                f"the plan of task {task.task_id!r} ({len(first)} actions) did not reach the goal, and the episode "
                f"{cut}; it lists an expert's actions from the present state to the goal"
            )
        if first and last not in (None, 0):
            return (
                f"the goal of task {task.task_id!r} is reached, and the distance is {last:g}: it counts the steps from "
                "the present state to the goal, so give 0 there"
            )
    return ""


def ends_when_won(env: TextEnv) -> str:
    """An episode ends when its goal holds, and has not been won before it begins."""
    for task in _first_tasks(env):
        _, info = env.reset(seed=21, options={"task": task.task_id})
        if info.get("success"):
            return f"task {task.task_id!r} is won at reset: leave it out, or open another state"
        for _, terminated, info in _led(env):
            if info.get("success") and not terminated:
                return (
                    f"task {task.task_id!r} is won and goes on, so that whatever follows is trained on, too: return "
                    "terminated=True as soon as success is True"
                )
    return ""


def wins_pay(env: TextEnv) -> str:
    """A won episode has a higher return than one in which nothing sensible was done."""
    for task in _first_tasks(env):
        env.reset(seed=22, options={"task": task.task_id})
        led = list(_led(env))
        if not led or not led[-1][2].get("success"):
            continue
        won = sum(reward for reward, _, _ in led)
        env.reset(seed=22, options={"task": task.task_id})
        idle, ended, steps, info = 0.0, False, 0, {}
        while not ended and steps < _PATIENCE:
            _, reward, terminated, truncated, info = env.step(NONSENSE)
            idle, ended, steps = idle + float(reward), terminated or truncated, steps + 1
        if not info.get("success") and won <= idle:
            return (
                f"a won episode of task {task.task_id!r} pays {won:g}, one of useless actions {idle:g}: training "
                "follows the sum of rewards, so let a win pay more, e.g. float(success)"
            )
    return ""


def _first_tasks(env: TextEnv) -> list[Task]:
    return list(env.tasks())[:_TASKS]


def _known(env: TextEnv) -> Hindsight:
    """The hindsight as it is; none where it breaks a rule, which the check `answers` says."""
    known = env.hindsight()
    try:
        hindsight_answer(known)
    except AnswerError:
        return Hindsight()
    return known


def _walk(env: TextEnv, seed: int) -> Iterator[tuple[str, dict[str, Any], Hindsight]]:
    """Observation, info and hindsight of each state of a random walk over listed actions."""
    draw = random.Random(seed)
    observation, info = env.reset(seed=seed)
    yield observation, info, _known(env)
    for _ in range(_STEPS):
        actions = info.get("admissible_actions")
        observation, _, terminated, truncated, info = env.step(draw.choice(actions) if actions else NONSENSE)
        yield observation, info, _known(env)
        if terminated or truncated:
            return


def _led(env: TextEnv) -> Iterator[tuple[float, bool, dict[str, Any]]]:
    """Reward, `terminated` and info of each step of the open episode, as an expert or else the plan plays it."""
    for _ in range(_PATIENCE):
        action = env.expert("oracle") or env.expert("explorer") or next(iter(_known(env).plan), None)
        if action is None:
            return
        _, reward, terminated, truncated, info = env.step(action)
        yield float(reward), terminated, info
        if terminated or truncated or info.get("success"):
            return


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
