"""The environment contract as runnable checks; each has a name and says how to fix a failure.

The tests run `check_env` on every shipped environment; `rlsd check-env` runs it on a user's. The check `answers` names
the rules of `rlsd.envs.answers` that are broken: those for which a run counts an episode as failed.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from rlsd.envs.answer_checks import NONSENSE, answers, goal
from rlsd.envs.answers import told
from rlsd.envs.core import Hindsight, Info, Task, TextEnv
from rlsd.envs.errors import TaskError
from rlsd.envs.interrupts import interrupts

Factory = Callable[[], TextEnv]
_STEPS = 12
_PATIENCE = 2000
"""An episode still open after this many steps counts as having no step limit."""
_REQUIRED = {"task_id": str, "goal": str, "valid_action": bool, "success": bool, "score": (int, float)}
HOSTILE = (
    "", " ", "\n", "\x00\x07\x1b[31m", "a" * 100_000, "<|im_end|>", "søk 中文 🙂 \u202e", "go to\ngo to",
    "';--{}[]()%s",
)  # fmt: skip
"""Malformed actions that a language model may send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    message: str
    """"" when the check passed, else what was observed and how to fix it."""


def check_env(env: TextEnv | Factory) -> list[Finding]:
    """Run every check on an environment, or on fresh ones from a factory; a check that raises has failed.

    An environment passed in is closed by the last check.
    """
    findings = []
    for name, check in CHECKS.items():
        with interrupts() as interrupted:
            try:
                message = check(env if isinstance(env, TextEnv) else env())
            except BaseException as error:  # the exception is the finding, SystemExit too
                if isinstance(error, KeyboardInterrupt) and interrupted():
                    raise
                message = f"raised {told(error)}"
        findings.append(Finding(name=name, ok=not message, message=message))
    return findings


def _play(env: TextEnv, seed: int, steps: int = _STEPS, *, peek: bool = False) -> list[Any]:
    """A seeded random walk over admissible actions; returns all results. `peek` also calls `hindsight`."""
    draw = random.Random(seed)
    observation, info = env.reset(seed=seed)
    log: list[Any] = [(observation, info)]
    for _ in range(steps):
        actions = info.get("admissible_actions")
        action = draw.choice(actions) if actions else NONSENSE
        if peek:
            env.hindsight()
        log.append(env.step(action))
        _, _, terminated, truncated, info = log[-1]
        if terminated or truncated:
            break
    return log


def _five_tuple(env: TextEnv) -> str:
    start = env.reset(seed=0)
    if not (isinstance(start, tuple) and len(start) == 2):
        return f"reset returned {type(start).__name__}, expected (observation, info)"
    out = env.step(NONSENSE)
    if not (isinstance(out, tuple) and len(out) == 5):
        return "step must return (observation, reward, terminated, truncated, info)"
    kinds = [type(x).__name__ for x in out]
    if not isinstance(out[0], str) or not isinstance(out[1], (int, float)) or not isinstance(out[4], dict):
        return f"step returned types {kinds}, expected str, number, bool, bool, dict"
    if not isinstance(out[2], bool) or not isinstance(out[3], bool):
        return f"terminated and truncated must be plain bools, got {kinds[2]} and {kinds[3]}"
    return ""


def _gymnasium_checker(env: TextEnv) -> str:
    from gymnasium.utils.env_checker import check_env as gymnasium_check

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(env, skip_render_check=True, skip_close_check=True)
    return ""


def _info_typed(env: TextEnv) -> str:
    allowed = set(get_type_hints(Info))
    for entry in _play(env, 1):
        info = entry[-1]
        unknown, absent = sorted(set(info) - allowed), sorted(set(_REQUIRED) - set(info))
        if unknown:
            return (
                f"info has unknown keys {unknown}; allowed: {sorted(allowed)}. What only the teacher may "
                "know belongs in hindsight()"
            )
        if absent:
            return f"info lacks {absent}"
        for key, kind in _REQUIRED.items():
            if not isinstance(info[key], kind):
                return f"info[{key!r}] is a {type(info[key]).__name__}"
        actions = info.get("admissible_actions")
        if actions is not None and not (isinstance(actions, list) and all(isinstance(a, str) for a in actions)):
            return "info['admissible_actions'] must be a list of texts, or None where they cannot be listed"
        json.dumps(info)
    return ""


def _observation_in_space(env: TextEnv) -> str:
    for entry in _play(env, 2):
        if not env.observation_space.contains(entry[0]):
            return f"an observation of {len(entry[0])} characters, space {env.observation_space}; raise max_chars"
    return ""


def _ends_itself(env: TextEnv) -> str:
    env.reset(seed=3)
    for _ in range(_PATIENCE):
        _, _, terminated, truncated, info = env.step(NONSENSE)
        if terminated and truncated:
            return "terminated and truncated are both True; when the task ended by itself, truncated is False"
        if truncated and info["success"]:
            return "truncated although the task succeeded; report terminated"
        if terminated or truncated:
            return ""
    return f"{_PATIENCE} useless actions did not end the episode; give it a max_steps that sets truncated"


def _deterministic(env: TextEnv) -> str:
    first, second = _play(env, 4), _play(env, 4)
    if first != second:
        return "the same seed and actions gave two different episodes; draw from self.np_random alone"
    return ""


def _no_global_random(env: TextEnv) -> str:
    kept, kept_np = random.getstate(), np.random.get_state()  # noqa: NPY002  (watched, not used)
    try:
        logs = []
        for disturbance in (1, 2):
            random.seed(disturbance)
            np.random.seed(disturbance)  # noqa: NPY002
            before = (random.getstate(), str(np.random.get_state()))  # noqa: NPY002
            logs.append(_play(env, 5))
            if (random.getstate(), str(np.random.get_state())) != before:  # noqa: NPY002
                return "the global random state was changed; draw from self.np_random"
        if logs[0] != logs[1]:
            return "the global random state was read; draw from self.np_random"
    finally:
        random.setstate(kept)
        np.random.set_state(kept_np)  # noqa: NPY002
    return ""


def _unknown_action(env: TextEnv) -> str:
    env.reset(seed=6)
    *_, info = env.step(NONSENSE)
    if info["valid_action"]:
        return f"the action {NONSENSE!r} came back with valid_action=True; set it to False for unknown actions"
    return ""


def _hostile_actions(env: TextEnv) -> str:
    for action in HOSTILE:
        env.reset(seed=7)
        try:
            observation, *_ = env.step(action)
        except Exception as error:
            return f"the action {action[:20]!r} raised {type(error).__name__}; answer with valid_action=False"
        if not env.observation_space.contains(observation):
            return f"the action {action[:20]!r} gave an observation outside the space; do not echo actions"
    return ""


def _admissible_accepted(env: TextEnv) -> str:
    for entry in _play(env, 8)[1:]:
        if entry[-1]["valid_action"] is False and entry[-1].get("admissible_actions"):
            return "an action listed as admissible came back with valid_action=False"
    return ""


def _tasks_frozen(env: TextEnv) -> str:
    tasks = env.tasks()
    if not tasks or not all(isinstance(t, Task) for t in tasks):
        return "tasks() must list at least one Task"
    if list(tasks) != list(env.tasks()):
        return "tasks() changed between two calls; fix the order (sort it, do not shuffle)"
    ids = [t.task_id for t in tasks]
    if len(set(ids)) < len(ids):
        return "two tasks share an id"
    return ""


def _task_option(env: TextEnv) -> str:
    tasks = env.tasks()
    for task in {tasks[0].task_id: 0, tasks[len(tasks) // 2].task_id: 0, tasks[-1].task_id: 0}:
        first, info = env.reset(seed=9, options={"task": task})
        second, _ = env.reset(seed=10, options={"task": task})
        if info["task_id"] != task:
            return f"reset(options={{'task': {task!r}}}) opened {info['task_id']!r}"
        if first != second:
            return f"task {task!r} began differently under another seed; its id must determine its content"
    return ""


def _unknown_task(env: TextEnv) -> str:
    try:
        env.reset(options={"task": "no such task"})
    except TaskError:
        return ""
    return "an unknown task id must raise TaskError (TextEnv.pick_task does)"


def _score_range(env: TextEnv) -> str:
    for seed in range(3):
        for entry in _play(env, seed):
            if not 0 <= entry[-1]["score"] <= 1:
                return f"score {entry[-1]['score']} is outside [0, 1]"
    return ""


def _hindsight(env: TextEnv) -> str:
    with_it, without = _play(env, 11, peek=True), _play(env, 11)
    if with_it != without:
        return "calling hindsight() changed the episode; it must not change any state"
    known = env.hindsight()
    if not isinstance(known, Hindsight):
        return f"hindsight() returned a {type(known).__name__}, expected Hindsight"
    if Hindsight.from_json(json.loads(json.dumps(known.to_json()))) != known:
        return "hindsight() does not survive JSON; use plain texts, numbers and tuples"
    return ""


def _experts(env: TextEnv) -> str:
    for kind in ("explorer", "oracle"):
        env.reset(seed=12)
        action = env.expert(kind)
        if action is None:
            continue
        if not env.action_space.contains(action):
            return f"expert({kind!r}) returned {action!r}, which is not in the action space"
        *_, info = env.step(action)
        if not info["valid_action"]:
            return f"the action {action!r} of expert {kind!r} was not understood"
    return ""


def _close_twice(env: TextEnv) -> str:
    env.reset(seed=13)
    env.close()
    env.close()
    return ""


CHECKS: dict[str, Callable[[TextEnv], str]] = {
    "answers": answers,
    "goal": goal,
    "five_tuple": _five_tuple,
    "gymnasium_checker": _gymnasium_checker,
    "info_typed": _info_typed,
    "observation_in_space": _observation_in_space,
    "ends_itself": _ends_itself,
    "deterministic": _deterministic,
    "no_global_random": _no_global_random,
    "unknown_action": _unknown_action,
    "hostile_actions": _hostile_actions,
    "admissible_accepted": _admissible_accepted,
    "tasks_frozen": _tasks_frozen,
    "task_option": _task_option,
    "unknown_task": _unknown_task,
    "score_range": _score_range,
    "hindsight": _hindsight,
    "experts": _experts,
    "close_twice": _close_twice,
}
"""Name → check; a check returns "" or what is wrong and how to fix it."""
