"""The environment contract as runnable checks; each has a name and says how to fix a failure.

The tests run `check_env` on every shipped environment; `rlsd check-env` runs it on a user's. The check `answers` names
the rules of `rlsd.envs.answers` that are broken: those for which a run counts an episode as failed. `silent_checks` and
`opened_checks` have the checks of faults that no run notices.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from rlsd.envs import action_checks, opened_checks, silent_checks
from rlsd.envs.answer_checks import NONSENSE, answers, goal
from rlsd.envs.answers import told
from rlsd.envs.core import Hindsight, Info, Task, TextEnv
from rlsd.envs.errors import TaskError
from rlsd.envs.interrupts import interrupts
from rlsd.envs.opened_checks import Opener

Factory = Callable[[], TextEnv]
_STEPS = 12
_PATIENCE = 2000
"""An episode still open after this many steps counts as having no step limit."""
_REQUIRED = {"task_id": str, "goal": str, "valid_action": bool, "success": bool, "score": (int, float)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    message: str
    """"" when the check passed, else what was observed and how to fix it."""


def check_env(env: TextEnv | Factory | Opener) -> list[Finding]:
    """Run every check on an environment, or on fresh ones from a factory; a check that raises has failed.

    An environment passed in is closed by the last check, and what takes several of them is not checked. A class that
    takes `split` has its splits checked; `Opener.named(env_id, kwargs)` has everything checked.
    """
    if isinstance(env, TextEnv):
        one = env
        return [_finding(name, lambda check=check: check(one)) for name, check in CHECKS.items()]
    opener = env if isinstance(env, Opener) else Opener.of(env)
    findings = [_finding(name, lambda check=check: check(opener)) for name, check in OPENED.items()]
    return [*(_finding(name, lambda check=check: check(opener.open())) for name, check in CHECKS.items()), *findings]


def _finding(name: str, check: Callable[[], str]) -> Finding:
    with interrupts() as interrupted:
        try:
            message = check()
        except BaseException as error:  # the exception is the finding, SystemExit too
            if isinstance(error, KeyboardInterrupt) and interrupted():
                raise
            message = f"raised {told(error)}"
    return Finding(name=name, ok=not message, message=message)


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
    for seed in (4, 24, 25):
        if _play(env, seed) != _play(env, seed):
            return (
                "the same seed and actions gave two different episodes; draw from self.np_random alone, and set all "
                "state anew in reset"
            )
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
    "unknown_action": action_checks.unknown_action,
    "hostile_actions": action_checks.hostile_actions,
    "admissible_accepted": action_checks.admissible_accepted,
    "tasks_frozen": _tasks_frozen,
    "task_option": _task_option,
    "unknown_task": _unknown_task,
    "score_range": _score_range,
    "hindsight": _hindsight,
    "experts": _experts,
    "answers_stay": silent_checks.answers_stay,
    "bounded_text": silent_checks.bounded_text,
    "plan": silent_checks.plan,
    "ends_when_won": silent_checks.ends_when_won,
    "wins_pay": silent_checks.wins_pay,
    "quick": silent_checks.quick,
    "close_twice": _close_twice,
}
"""Name → check; a check returns "" or what is wrong and how to fix it."""
OPENED: dict[str, Callable[[Opener], str]] = {
    "splits": opened_checks.splits,
    "apart": opened_checks.apart,
    "elsewhere": opened_checks.elsewhere,
}
"""The same, for checks that open an environment more than once."""
