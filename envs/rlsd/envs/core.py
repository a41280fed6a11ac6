"""The environment contract: text in, text out, hindsight on the side.

An environment is a `gymnasium.Env[str, str]`. What an agent may read is in the observation and in `info`;
what only the teacher may read is in the `Hindsight` object, which never travels in either of them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, TypedDict, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.spaces import Space

from rlsd.envs.errors import TaskError, closest


class Info(TypedDict, total=False):
    """Public data that `reset` and `step` return with the observation; the student may read it.

    Example:
        {"task_id": "gen-easy/test/17", "task_type": "pick_and_place_simple", "goal": "put some mug in shelf.",
         "admissible_actions": ["go to shelf 1", "look"], "valid_action": True, "success": False, "score": 0.0,
         "feedback": ""}
    """

    task_id: str
    task_type: str
    goal: str
    admissible_actions: list[str] | None
    """The commands the environment accepts now, or None where they cannot be listed."""
    valid_action: bool
    """False when the environment did not understand the last action or refused it."""
    success: bool
    """The goal holds now."""
    score: float
    """Graded outcome in [0, 1]."""
    feedback: str
    """Public feedback on the last action, beyond the observation; often empty."""
    parts: dict[str, float]
    """Components of the score, each in [0, 1]; only at the end of an episode, where the environment grades in parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem to solve: what a split lists and `reset(options={"task": task_id})` opens.

    Example: Task(env_id="rlsd/ALFWorld-v0", task_id="gen-easy/test/17", split="test",
                  task_type="pick_heat_then_place_in_recep", seed=17)
    """

    env_id: str
    task_id: str
    """Unique inside the environment; names the content (a path or a generator's coordinates)."""
    split: str
    task_type: str
    seed: int = 0
    level: int | None = None
    """Difficulty level, from 1, where the environment's tasks have one."""

    def to_json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "level" or v is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Task:
        return cls(**data)


_STEPS = ("distance", "distance_before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindsight:
    """What only the teacher may read, about the state the episode is in *now*.

    Every field is optional: an environment fills those it can compute. Texts are short and plain, one fact each.
    The rollout records it before and after every step (after step k = before step k + 1).
    """

    answer: str | None = None
    """The solution itself, where a task has one (a name, a number, a product)."""
    demonstration: tuple[str, ...] = ()
    """Actions of an expert from the start of the task to its end."""
    plan: tuple[str, ...] = ()
    """Actions of an expert from here to the goal."""
    missing: tuple[str, ...] = ()
    """Goal facts that do not hold yet."""
    whereabouts: tuple[str, ...] = ()
    """Locations of the objects named in the goal."""
    distance: float | None = None
    """Expert steps from here to the goal; 0 when it holds, None when unknown, inf when out of reach."""
    distance_before: float | None = None
    """`distance` before the last action; None at the start of an episode and when unknown."""
    changed: tuple[str, ...] = ()
    """State changes made by the last action, one fact each; empty when nothing changed."""
    lost: tuple[str, ...] = ()
    """What the last action undid or made unreachable."""
    feedback: str = ""
    """What the last action changed, in one sentence, with knowledge of the whole state."""

    def to_json(self) -> dict[str, Any]:
        """Fields that differ from their default; `from_json` restores an equal object."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                out[f.name] = list(value) if isinstance(value, tuple) else value
        for name in _STEPS:
            if name in out and math.isinf(out[name]):
                out[name] = "inf"  # JSON has no infinity
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Hindsight:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        values.update({name: float(values[name]) for name in _STEPS if values.get(name) is not None})
        return cls(**values)


class AnyText(Space[str]):
    """Every Unicode string of at most `max_chars` characters (Gymnasium's `Text` knows a fixed alphabet only)."""

    def __init__(self, max_chars: int = 8192, seed: int | np.random.Generator | None = None) -> None:
        if max_chars < 1:
            raise ValueError(f"max_chars must be at least 1, got {max_chars}")
        self.max_chars = max_chars
        super().__init__(dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random string with punctuation, digits, white space and non-ASCII letters."""
        alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ 0123456789.,:;!?'\"[]<>/-_\n\tßéλ中🙂"
        length = int(self.np_random.integers(0, min(32, self.max_chars) + 1))
        return "".join(alphabet[int(i)] for i in self.np_random.integers(0, len(alphabet), size=length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_chars

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText) and other.max_chars == self.max_chars

    def __hash__(self) -> int:
        return hash(("AnyText", self.max_chars))

    def __repr__(self) -> str:
        return f"AnyText({self.max_chars})"


class TextEnv(gymnasium.Env[str, str]):
    """Base of every environment. Implement `reset`, `step` and `tasks`; add `hindsight` for privileged information.

    Rules (`rlsd check-env ID` runs them): the same seed and the same actions give the same episode; no global
    random state is read or changed; the environment truncates itself (`terminated` = the task's own end,
    `truncated` = out of steps); an action it does not understand is answered with `valid_action=False`, never
    with an exception; `reset(options={"task": task_id})` opens exactly that task.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own declaration)
    blocking: bool = True
    """True when a step may be slow or hang (a server, an external engine): the rollout then steps it in a thread
    with a time limit. Set to False where a step is pure, in-process and cheap."""
    reset_timeout_s: float = 0.0
    """Time limit of `reset` where it is longer than that of other calls (`rollout.step_timeout_s`), in seconds: of an
    environment that makes a task when it is first opened."""
    response_format: str | None = None
    """The response format that fits (`agent.format: auto` takes it): a shipped name or "module:NAME"; None: any."""
    accepts_formats: tuple[str, ...] | None = None
    """Shipped response formats whose actions the environment can read, and with them those alike; another is refused.
    None: all."""
    profiles: tuple[str, ...] | None = None
    """Shipped profiles that fit, the best one first; another is refused. None: all."""

    _indexed: tuple[Sequence[Task], dict[str, Task]] | None = None
    """The tasks by their ids, with the tasks that they were made of."""

    def __init__(self, *, max_chars: int = 8192) -> None:
        self.observation_space = AnyText(max_chars)
        self.action_space = AnyText(max_chars)

    def tasks(self) -> Sequence[Task]:
        """All tasks of the split this environment was opened with, in their frozen order."""
        raise NotImplementedError

    def content(self, task_id: str) -> str:
        """Text that determines the task completely; its hash enters the panel digest. Default: the id."""
        return task_id

    def hindsight(self) -> Hindsight:
        """Privileged information about the current state. Default: none."""
        return Hindsight()

    def expert(self, kind: str) -> str | None:
        """The next action of a scripted expert: "explorer" reads observations alone, "oracle" the whole state.

        Returns None where the environment has no such expert.
        """
        return None

    def abandon(self) -> None:
        """Free resources without waiting, because a call hangs and the caller has given up on it.

        Called at most once, from another thread than the one that hangs; no other method is called afterwards.
        Default: does nothing.
        """

    def pick_task(self, options: dict[str, Any] | None) -> Task:
        """The task named in `options["task"]`, else one drawn with the environment's own generator.

        Raises:
            TaskError: an unknown task id; names the closest one.
        """
        tasks = self.tasks()
        if not tasks:
            raise TaskError(f"{type(self).__name__} has no tasks in this split")
        wanted = (options or {}).get("task")
        return tasks[int(self.np_random.integers(len(tasks)))] if wanted is None else self.task_of(wanted)

    def task_of(self, task_id: Any) -> Task:
        """The task of this id.

        Raises:
            TaskError: there is none in this split; names the closest of the first 2,000.
        """
        tasks = self.tasks()
        if self._indexed is None or self._indexed[0] is not tasks:
            self._indexed = tasks, {task.task_id: task for task in reversed(tasks)}
        found = self._indexed[1].get(task_id) if isinstance(task_id, str) else None
        if found is None:
            known = [task.task_id for task in tasks[:2000]]
            raise TaskError(f"unknown task {task_id!r}{closest(str(task_id), known)}")
        return found


@runtime_checkable
class Rewindable(Protocol):
    """An environment that can return exactly to an earlier state of an episode. Optional."""

    def save(self) -> Any:
        """A snapshot of the episode; later steps do not change it."""
        ...

    def restore(self, saved: Any) -> tuple[str, dict[str, Any]]:
        """Continue from a snapshot; returns its last observation and `info`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel is a fixed, hashed evaluation set: evaluation runs all its tasks and reports the digest."""

    env_id: str
    split: str
    task_ids: tuple[str, ...]
    digest: str = field(compare=True)
    """First 16 hex digits of the SHA-256 over ids and contents, in order."""

    @classmethod
    def of(cls, env: TextEnv, tasks: Sequence[Task]) -> Panel:
        """Hash `tasks` by id and content."""
        sha = hashlib.sha256()
        for task in tasks:
            content = hashlib.sha256(env.content(task.task_id).encode()).hexdigest()
            sha.update(json.dumps([task.task_id, content]).encode())
        env_id, split = (tasks[0].env_id, tasks[0].split) if tasks else ("", "")
        ids = tuple(t.task_id for t in tasks)
        return cls(env_id=env_id, split=split, task_ids=ids, digest=sha.hexdigest()[:16])
