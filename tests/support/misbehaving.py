"""An environment that breaks every rule for answers, one a task; and what each task must be counted as."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np

from rlsd.envs.core import Hindsight, Task
from tests.support.plain_worlds import Plain

HUGE = 100_000_000
"""Characters of a text that no model reads."""
LONE = "half of a pair: \ud83d"
GOOD = ("good-0", "good-1")


class Private(BaseException):
    """An exception that `except Exception` does not catch."""


class Unspeakable(Exception):
    """An exception whose message cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no words")


@dataclass(frozen=True)
class Fault:
    """A wrong answer.

    Attributes:
        call: "reset", "step" or "hindsight".
        reason: what its episode must be counted as.
        wrong: from the honest answer to the wrong one; may raise.
    """

    call: str
    reason: str
    wrong: Callable[[Any], Any]


def raising(error: type[BaseException]) -> Callable[[Any], NoReturn]:
    def wrong(_: Any) -> NoReturn:
        raise error("on purpose")

    return wrong


def endless(_: Any) -> Any:
    """Recursion without an end; without garbage collection, whose destructors would fail at the limit too."""

    def deeper() -> int:
        return deeper() + 1

    gc.disable()
    try:
        return deeper()
    finally:
        gc.enable()


def part(place: int, value: Any) -> Callable[[Any], Any]:
    """The honest answer with another value at `place`."""
    return lambda honest: (*honest[:place], value, *honest[place + 1 :])


def told(**changed: Any) -> Callable[[Any], Any]:
    """The honest answer with other values in its `info`, the last part."""
    return lambda honest: (*honest[:-1], {**honest[-1], **changed})


def known(**fields: Any) -> Callable[[Any], Any]:
    return lambda _: Hindsight(**fields)


RAISED: dict[str, Callable[[Any], Any]] = {
    **{
        error.__name__: raising(error)
        for error in (RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration)
    },
    **{error.__name__: raising(error) for error in (MemoryError, TimeoutError, asyncio.CancelledError, Private)},
    "Unspeakable": raising(Unspeakable),
    "RecursionError": endless,
}
FAULTS: dict[str, Fault] = {
    **{f"{call} raises {name}": Fault(call, "raised", wrong) for call in ("reset", "step", "hindsight")
       for name, wrong in RAISED.items()},
    "reset gives None": Fault("reset", "answer", lambda _: None),
    "reset gives the observation alone": Fault("reset", "answer", lambda honest: honest[0]),
    "reset gives two letters": Fault("reset", "answer", lambda _: "ab"),
    "reset gives three values": Fault("reset", "answer", lambda honest: (*honest, 1)),
    "reset gives a dict": Fault("reset", "answer", lambda honest: {"observation": honest[0], "info": honest[1]}),
    "reset gives a generator": Fault("reset", "answer", lambda honest: (x for x in honest)),
    "first observation None": Fault("reset", "observation", part(0, None)),
    "first observation a number": Fault("reset", "observation", part(0, 5)),
    "first observation bytes": Fault("reset", "observation", part(0, b"a room")),
    "first observation a list": Fault("reset", "observation", part(0, ["a room"])),
    "first observation half a pair": Fault("reset", "surrogate", part(0, LONE)),
    "first observation huge": Fault("reset", "length", part(0, "x" * HUGE)),
    "first info None": Fault("reset", "info", part(1, None)),
    "goal None": Fault("reset", "goal", told(goal=None)),
    "goal a number": Fault("reset", "goal", told(goal=7)),
    "goal half a pair": Fault("reset", "surrogate", told(goal=LONE)),
    "commands in one text": Fault("reset", "admissible_actions", told(admissible_actions="walk")),
    "commands a number": Fault("reset", "admissible_actions", told(admissible_actions=7)),
    "commands numbers": Fault("reset", "admissible_actions", told(admissible_actions=["walk", 1])),
    "commands a set": Fault("step", "admissible_actions", told(admissible_actions={"walk"})),
    "a command half a pair": Fault("step", "surrogate", told(admissible_actions=["walk", LONE])),
    "commands huge": Fault("step", "length", told(admissible_actions=["x" * 1000] * 1001)),
    "step gives None": Fault("step", "answer", lambda _: None),
    "step gives four values": Fault("step", "answer", lambda honest: honest[:4]),
    "step gives five letters": Fault("step", "answer", lambda _: "abcde"),
    "step gives a dict of five": Fault("step", "answer", lambda _: dict.fromkeys("abcde", 0.0)),
    "observation None": Fault("step", "observation", part(0, None)),
    "observation a number": Fault("step", "observation", part(0, 5)),
    "observation bytes": Fault("step", "observation", part(0, b"a room")),
    "observation half a pair": Fault("step", "surrogate", part(0, LONE)),
    "observation huge": Fault("step", "length", part(0, "x" * HUGE)),
    "reward NaN": Fault("step", "reward", part(1, float("nan"))),
    "reward inf": Fault("step", "reward", part(1, float("inf"))),
    "reward -inf": Fault("step", "reward", part(1, float("-inf"))),
    "reward NumPy NaN": Fault("step", "reward", part(1, np.float32("nan"))),
    "reward beyond float32": Fault("step", "reward", part(1, 1e308)),
    "reward beyond every float": Fault("step", "reward", part(1, 10**400)),
    "reward None": Fault("step", "reward", part(1, None)),
    "reward a text": Fault("step", "reward", part(1, "1.0")),
    "reward a list": Fault("step", "reward", part(1, [1.0])),
    "reward an array": Fault("step", "reward", part(1, np.zeros(2))),
    "reward complex": Fault("step", "reward", part(1, 1j)),
    "terminated None": Fault("step", "ended", part(2, None)),
    "terminated a text": Fault("step", "ended", part(2, "no")),
    "terminated an array": Fault("step", "ended", part(2, np.array([True, False]))),
    "truncated 2": Fault("step", "ended", part(3, 2)),
    "info None": Fault("step", "info", part(4, None)),
    "info a list": Fault("step", "info", part(4, [])),
    "valid_action None": Fault("step", "valid_action", told(valid_action=None)),
    "success None": Fault("step", "success", told(success=None)),
    "success a text": Fault("step", "success", told(success="False")),
    "score NaN": Fault("step", "score", told(score=float("nan"))),
    "score inf": Fault("step", "score", told(score=float("inf"))),
    "score None": Fault("step", "score", told(score=None)),
    "score a text": Fault("step", "score", told(score="high")),
    "feedback a number": Fault("step", "feedback", told(feedback=7)),
    "feedback half a pair": Fault("step", "surrogate", told(feedback=LONE)),
    "hindsight None": Fault("hindsight", "hindsight", lambda _: None),
    "hindsight a dict": Fault("hindsight", "hindsight", lambda _: {"plan": ["walk"]}),
    "answer a number": Fault("hindsight", "hindsight", known(answer=42)),
    "answer False": Fault("hindsight", "hindsight", known(answer=False)),
    "plan a text": Fault("hindsight", "hindsight", known(plan="walk")),
    "plan numbers": Fault("hindsight", "hindsight", known(plan=(1, 2))),
    "plan None": Fault("hindsight", "hindsight", known(plan=None)),
    "plan half a pair": Fault("hindsight", "surrogate", known(plan=(LONE,))),
    "plan huge": Fault("hindsight", "length", known(plan=("x" * HUGE,))),
    "hindsight huge in all": Fault("hindsight", "length", known(plan=("x" * 999_000,), missing=("x" * 2000,))),
    "distance NaN": Fault("hindsight", "hindsight", known(distance=float("nan"))),
    "distance -inf": Fault("hindsight", "hindsight", known(distance=float("-inf"))),
    "distance a text": Fault("hindsight", "hindsight", known(distance="2")),
    "feedback of hindsight None": Fault("hindsight", "hindsight", known(feedback=None)),
}  # fmt: skip
BENIGN: dict[str, Fault] = {
    "reset gives a list": Fault("reset", "", list),
    "first observation empty": Fault("reset", "", part(0, "")),
    "first observation with a null": Fault("reset", "", part(0, "a \0 room")),
    "first observation NumPy": Fault("reset", "", part(0, np.str_("a room"))),
    "first info empty": Fault("reset", "", part(1, {})),
    "commands None": Fault("reset", "", told(admissible_actions=None)),
    "commands a tuple": Fault("reset", "", told(admissible_actions=("walk", "look"))),
    "step gives a list": Fault("step", "", list),
    "observation a whole pair": Fault("step", "", part(0, "🙂 中")),
    "reward True": Fault("step", "", lambda honest: (honest[0], bool(honest[1]), *honest[2:])),
    "reward an int": Fault("step", "", lambda honest: (honest[0], int(honest[1]), *honest[2:])),
    "reward NumPy": Fault("step", "", lambda honest: (honest[0], np.float32(honest[1]), *honest[2:])),
    "reward Decimal": Fault("step", "", lambda honest: (honest[0], Decimal(int(honest[1])), *honest[2:])),
    "terminated NumPy": Fault("step", "", lambda honest: (*honest[:2], np.bool_(honest[2]), *honest[3:])),
    "terminated an int": Fault("step", "", lambda honest: (*honest[:2], int(honest[2]), *honest[3:])),
    "success NumPy": Fault("step", "", lambda honest: told(success=np.bool_(honest[4]["success"]))(honest)),
    "score NumPy": Fault("step", "", lambda honest: told(score=np.float32(honest[4]["score"]))(honest)),
    "feedback None": Fault("step", "", told(feedback=None)),
    "plan a list": Fault("hindsight", "", known(plan=["walk"])),
    "distance NumPy": Fault("hindsight", "", known(distance=np.float32(2.5))),
    "distance inf": Fault("hindsight", "", known(distance=float("inf"))),
    "distance an int": Fault("hindsight", "", known(distance=2)),
    "plan with a whole pair": Fault("hindsight", "", known(plan=("🙂 中",))),
}
"""Answers that are odd and usable: their episodes are won like the good ones."""


def reasons() -> dict[str, tuple[str, str]]:
    """Task → (boundary, reason) of the failed ones."""
    return {name: (f"env.{fault.call}", fault.reason) for name, fault in FAULTS.items()}


class Misbehaving(Plain):
    """A task is won in three steps, or answers wrongly: at reset, in the second step, or in hindsight after the first.

    Args:
        only: its tasks, separated by "|"; default: two good ones, all benign, all faults.
        threads: whether steps run in a thread.
    """

    blocking = False

    def __init__(self, *, split: str = "train", only: str = "", threads: bool = False) -> None:
        super().__init__(split=split)
        self.blocking = threads
        names = only.split("|") if only else [*GOOD, *BENIGN, *FAULTS]
        self._tasks = [Task(env_id="tests/Misbehaving", task_id=n, split=split, task_type="walk") for n in names]

    def tasks(self) -> Sequence[Task]:
        return self._tasks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        return self._answer("reset", super().reset(seed=seed, options=options))

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        honest = super().step(action)
        return self._answer("step", honest) if self.task.task_id in BENIGN or self.steps == 2 else honest

    def hindsight(self) -> Hindsight:
        honest = Hindsight(plan=("walk",), distance=float(self.length - self.steps))
        return self._answer("hindsight", honest) if self.task.task_id in BENIGN or self.steps == 1 else honest

    def _answer(self, call: str, honest: Any) -> Any:
        fault = FAULTS.get(self.task.task_id) or BENIGN.get(self.task.task_id)
        return fault.wrong(honest) if fault is not None and fault.call == call else honest


class Unopenable(Plain):
    """Ends its process when it is opened, or tries to."""

    def __init__(self, **_: Any) -> None:
        raise SystemExit("not today")
