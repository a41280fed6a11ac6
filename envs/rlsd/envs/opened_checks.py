"""Checks of `rlsd check-env` that open an environment more than once: its splits, two at a time, another process."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlsd.envs.answer_checks import NONSENSE
from rlsd.envs.answers import told
from rlsd.envs.core import TextEnv
from rlsd.envs.registry import make

SPLITS = ("train", "valid", "test")
_STEPS = 8
_HASHED = 20
"""Tasks whose content is compared between processes."""
_SECONDS = 120
_CODE = "from rlsd.envs.opened_checks import tell; tell()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Ways to open an environment again."""

    open: Callable[[], TextEnv]
    """One like the others."""
    split: Callable[[str], TextEnv] | None = None
    """One of another split; None: nobody knows how."""
    spec: tuple[str, Mapping[str, Any]] | None = None
    """Id and arguments for `make`, by which another process opens it; None: nobody knows."""

    @classmethod
    def of(cls, factory: Callable[[], TextEnv]) -> Opener:
        """What a factory alone tells: a class that takes `split` opens the others, too."""
        takes: Any = isinstance(factory, type) and "split" in inspect.signature(factory).parameters
        return cls(open=factory, split=(lambda name: factory(split=name)) if takes else None)  # pyright: ignore

    @classmethod
    def named(cls, env_id: str, kwargs: Mapping[str, Any]) -> Opener:
        """An environment that `make` opens."""
        return cls(
            open=lambda: make(env_id, **kwargs),
            split=lambda name: make(env_id, **{**kwargs, "split": name}),
            spec=(env_id, kwargs),
        )


def splits(opener: Opener) -> str:
    """There are tasks to train on and others to evaluate on, and no two splits share one."""
    if opener.split is None:
        return ""
    ids: dict[str, set[str]] = {}
    failed: dict[str, str] = {}
    for name in SPLITS:
        try:
            env = opener.split(name)
            ids[name] = {task.task_id for task in env.tasks()}
            env.close()
        except Exception as error:  # whatever a class does with a split that it does not know
            failed[name] = told(error)
    advice = f"split={'|'.join(SPLITS)} should open three disjoint lists of tasks"
    if "train" in failed or len(failed) > 1:
        return f"split {next(iter(failed))!r} cannot be opened ({next(iter(failed.values()))}); {advice}"
    for name, mine in ids.items():
        if not mine:
            return f"split {name!r} has no tasks; {advice}"
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        if shared := sorted(ids.get(a, set()) & ids.get(b, set())):
            return (
                f"splits {a!r} and {b!r} share {len(shared)} tasks, such as {shared[0]!r}, so success there says "
                f"nothing about new tasks; {advice}"
            )
    return ""


def apart(opener: Opener) -> str:
    """Two environments at once do not change each other; a rollout keeps many open."""
    one, other = opener.open(), opener.open()
    tasks = [task.task_id for task in one.tasks()]
    alone = list(_episode(one, tasks[0]))
    both: list[str] = []
    neighbour = _episode(other, tasks[-1])
    for state in _episode(one, tasks[0]):
        both.append(state)
        next(neighbour, None)
    other.close()
    one.close()
    if both != alone:
        return (
            "an episode went another way while a second environment was played: state is shared between instances; "
            "make it in __init__ or reset (self.x = []), not in the class body, in a module or in a default argument"
        )
    return ""


def elsewhere(opener: Opener) -> str:
    """Another process, whose sets have another order, opens the same tasks and plays the same episode."""
    if opener.spec is None or opener.spec[0].startswith(("http://", "https://")):
        return ""
    try:
        asked = json.dumps([opener.spec[0], dict(opener.spec[1])])
    except TypeError:  # arguments that only this process has
        return ""
    here = os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": here, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    try:
        said = [process.communicate(asked, timeout=_SECONDS)[0].splitlines()[-3:] for process in running]
    except subprocess.TimeoutExpired:
        return ""  # nothing is known of it
    finally:
        for process in running:
            process.kill()
            process.wait()
    if any(process.returncode for process in running):
        return "another process cannot open it; environments in workers (env.workers) and on other machines need that"
    for what, first, second in zip(("the order of tasks()", "content()", "an episode"), *said):
        if first != second:
            return (
                f"{what} differs between two processes with the same arguments and seeds, most likely by the order of "
                "a set: sort it (sorted(x)), and use no hash() and no time"
            )
    return ""


def tell() -> None:
    """Three digests of the environment whose spec stands on standard input: task ids, contents, an episode."""
    env_id, kwargs = json.load(sys.stdin)
    env = make(env_id, **kwargs)
    tasks = list(env.tasks())
    ids = [task.task_id for task in tasks]
    contents = [env.content(task_id) for task_id in sorted(ids)[:_HASHED]]
    print(*map(_digest, (ids, contents, list(_episode(env, min(ids))))), sep="\n")


def _episode(env: TextEnv, task_id: str) -> Iterator[str]:
    """Each state of a short random walk, as text."""
    draw = random.Random(task_id)
    observation, info = env.reset(seed=23, options={"task": task_id})
    yield _digest([observation, info, env.hindsight().to_json()])
    for _ in range(_STEPS):
        actions = info.get("admissible_actions")
        observation, reward, terminated, truncated, info = env.step(draw.choice(actions) if actions else NONSENSE)
        yield _digest([observation, float(reward), info, env.hindsight().to_json()])
        if terminated or truncated:
            return


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
