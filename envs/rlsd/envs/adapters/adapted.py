"""What adapters have in common: tasks, the step limit, `info`, and splits that share no content.

An adapter says how a task begins and what an action does; it answers with a `State`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rlsd.envs.core import Info, Task, TextEnv
from rlsd.envs.errors import EnvError, closest
from rlsd.envs.generated import Split

SPLITS = {
    "train": Split(first=0, size=1000, parts=(0, 6)),
    "valid": Split(first=1_000_000, size=100, parts=(6, 7)),
    "test": Split(first=2_000_000, size=100, parts=(7, 8)),
}
"""Seeds and eighths of a game that is made by seed."""
_TRIES = 100_000
"""Seeds that are tried for one split."""
_PATIENCE = 1000
"""Seeds in a row without a new game, after which there are no more."""
_LOOKED_AT = 200
"""Seeds that show whether there are few different games."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What an agent gets to see of a state, and what became of the action that led to it."""

    observation: str
    reward: float = 0.0
    ended: bool = False
    """The game's own end."""
    cut: bool = False
    """The game ran out of steps."""
    success: bool = False
    score: float | None = None
    """In [0, 1]; None: 1 for a success, else 0."""
    valid: bool = True
    """The action was understood and carried out."""
    commands: Sequence[str] | None = None
    """What can be done now; None: it cannot be listed."""
    feedback: str = ""


class AdaptedEnv(TextEnv):
    """Base of the adapters. Implement `begin` and `act`; `goal` is the task in words.

    Args:
        tasks: of the split, in their frozen order.
        max_steps: the episode is truncated after so many steps.

    Raises:
        EnvError: no task, or a step limit below 1.
    """

    def __init__(self, *, tasks: Sequence[Task], max_steps: int, max_chars: int = 32_768) -> None:
        super().__init__(max_chars=max_chars)
        self.max_steps = whole("max_steps", max_steps, 1)
        self._tasks = tuple(tasks)
        self._state: State | None = None

    def begin(self, task: Task) -> State:
        """Open a task; the same task always begins the same way."""
        raise NotImplementedError

    def act(self, action: str) -> State:
        """What one action does; also one that makes no sense."""
        raise NotImplementedError

    def goal(self) -> str:
        """The open task in words."""
        raise NotImplementedError

    def tasks(self) -> Sequence[Task]:
        return self._tasks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.task = self.pick_task(options)
        self.steps = 0
        self._state = self.begin(self.task)
        return self._state.observation, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        state = self.state
        self.steps += 1
        if state.ended:
            over = "The episode is over."
            state = State(observation=over, ended=True, success=state.success, score=state.score, valid=False)
        else:
            state = self.act(action)
        self._state = state
        truncated = (state.cut or self.steps >= self.max_steps) and not state.ended
        return state.observation, float(state.reward), state.ended, truncated, self._info()

    @property
    def state(self) -> State:
        """
        Raises:
            EnvError: no episode is open.
        """
        if self._state is None:
            raise EnvError("no episode is open; call reset() first")
        return self._state

    def close(self) -> None:
        self._state = None

    def _info(self) -> dict[str, Any]:
        state = self.state
        info: Info = {
            "task_id": self.task.task_id,
            "task_type": self.task.task_type,
            "goal": self.goal(),
            "admissible_actions": None if state.commands is None else [] if state.ended else list(state.commands),
            "valid_action": state.valid,
            "success": state.success,
            "score": float(state.success) if state.score is None else state.score,
            "feedback": state.feedback,
        }
        return dict(info)


def numbered(env_id: str, name: str, split: str, *, kind: str, count: int) -> list[Task]:
    """The tasks of a split, numbered from 0; a task's seed is its number."""
    return [
        Task(env_id=env_id, task_id=f"{name}/{split}/{i}", split=split, task_type=kind, seed=i) for i in range(count)
    ]


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value`, a whole number in the range.

    Raises:
        EnvError: it is none.
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least and (most is None or value <= most)
    if not fits:
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise EnvError(f"{name} must be a whole number {wanted}, got {value!r}")
    return value


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """`value`, if it is known.

    Raises:
        EnvError: it is not; names the closest.
    """
    if value not in known:
        raise EnvError(f"unknown {name} {value!r}{closest(str(value), known)}")
    return value


def digest(content: str) -> bytes:
    """32 bytes, the same on every machine."""
    return hashlib.sha256(content.encode()).digest()


def part(content: str) -> int:
    """The eighth, 0 to 7, that a content falls into."""
    return digest(content)[0] % 8


def drawn(split: str, content: Callable[[int], str], *, size: int | None = None) -> Iterator[tuple[int, str]]:
    """Seeds of a split with their contents: each content once, and none that another split has.

    Args:
        content: what the game of a seed is, completely.
        size: how many at most; default: as `SPLITS` says.

    Raises:
        EnvError: an unknown split.
    """
    span = SPLITS[one_of("split", split, tuple(SPLITS))]
    seen: set[str] = set()
    wanted, stale = span.size if size is None else size, 0
    for seed in range(span.first, span.first + _TRIES):
        text, stale = content(seed), stale + 1
        if text in seen or not span.parts[0] <= part(text) < span.parts[1]:
            if stale >= _PATIENCE:
                return
            continue
        seen.add(text)
        stale = 0
        yield seed, text
        if len(seen) >= wanted:
            return


def cut(split: str, contents: Sequence[str]) -> list[int]:
    """Indices of a split's share of a few contents: mixed by their digest, six eighths for training, one each for
    validation and test.

    Raises:
        EnvError: an unknown split, or fewer than eight contents.
    """
    first, last = SPLITS[one_of("split", split, tuple(SPLITS))].parts
    if len(contents) < 8:
        raise EnvError(f"there are {len(contents)} different games, of which no three splits can be made")
    mixed = sorted(range(len(contents)), key=lambda i: digest(contents[i]))
    return mixed[len(mixed) * first // 8 : len(mixed) * last // 8]


def seeds_of(split: str, content: Callable[[int], str], *, size: int) -> list[int]:
    """Seeds of a split of a game that is made by seed, whether there are few different ones or many.

    Args:
        content: what the game of a seed is, completely.
        size: how many at most for training; an eighth of it for validation and test.

    Raises:
        EnvError: as `cut`.
    """
    by_content: dict[str, int] = {}
    for seed in range(_LOOKED_AT):
        by_content.setdefault(content(seed), seed)
    if len(by_content) > _LOOKED_AT // 4:
        return [seed for seed, _ in drawn(split, content, size=size if split == "train" else size // 8)]
    seeds, contents = list(by_content.values()), list(by_content)
    return [seeds[i] for i in cut(split, contents)]
