"""The original behind our interface: the package `scienceworld`, played by a Java process."""

from __future__ import annotations

import json
import weakref

from rlsd.envs.errors import EnvError
from rlsd.envs.scienceworld.java import JavaProcess, borrow, give_back
from rlsd.envs.scienceworld.shown import Shown, read_subgoals

_gold: dict[tuple[str, int, str], tuple[str, ...]] = {}
"""Gold paths that this process has asked for; each takes the original a second or so."""


class PackageEngine:
    """The original, called as its own Python class calls it, so that random numbers are drawn in the same order.

    Actions come as one text instead of element by element, which alone makes a step many times faster.
    """

    def __init__(self) -> None:
        self._java: JavaProcess | None = None

    def open(self, task_type: str, variation: int, simplifications: str) -> Shown:
        """
        Raises:
            EnvError: the package or Java is absent.
            EnvLost: the Java process has ended.
        """
        if self._java is None:
            self._java = borrow()
            self._back = weakref.finalize(self, give_back, self._java)
        self._key, self._history = (task_type, variation, simplifications), list[str]()
        return self._begin(self._java)

    def goal(self) -> str:
        return str(self._open().call("getTaskDescription"))

    def step(self, action: str) -> Shown:
        """
        Raises:
            EnvError: the simulator stopped with an exception of its own.
            EnvLost: the Java process has ended.
        """
        self._history.append(action)
        return self._step(self._open(), action)

    def gold(self) -> tuple[str, ...]:
        """The original computes it in a world of its own; then the episode is played again up to here."""
        if self._key not in _gold:
            java = self._open()
            java.call("load", *self._key, True)
            _gold[self._key] = tuple(java.call("getGoldActionSequence"))
            self._begin(java)
            for action in self._history:
                self._step(java, action)
        return _gold[self._key]

    def plan(self) -> tuple[str, ...] | None:
        """The rest of the gold path, as long as the episode has followed it."""
        gold, done = self.gold(), tuple(self._history)
        return gold[len(done) :] if gold and gold[: len(done)] == done else None

    def close(self) -> None:
        if self._java is not None:
            self._java = None
            self._back()

    def kill(self) -> None:
        java, self._java = self._java, None
        if java is not None:
            java.kill()
            self._back()

    def _begin(self, java: JavaProcess) -> Shown:
        java.call("load", *self._key, False)
        return self._step(java, "look around")

    def _step(self, java: JavaProcess, action: str) -> Shown:
        observation = str(java.call("step", action))
        if observation.startswith(("java.", "scala.")) and java.call("getScore") < 0:
            raise EnvError(f"ScienceWorld stopped with {observation.splitlines()[0]}")
        score = round(100 * java.call("getScore"))
        return Shown(
            observation=observation,
            score=score,
            done=bool(java.call("getCompleted")) or score < 0,
            look=str(java.call("freeActionLook")),
            inventory=str(java.call("freeActionInventory")),
            subgoals=read_subgoals(java.call("getGoalProgressStr")),
            valid=self._valid(java),
        )

    def _valid(self, java: JavaProcess) -> tuple[str, ...]:
        java.call("freeActionTaskDesc")
        listed = json.loads(java.call("getValidActionObjectCombinationsJSON"))["validActions"]
        return tuple(sorted(entry["action"] for entry in listed))

    def _open(self) -> JavaProcess:
        if self._java is None:
            raise EnvError("no episode is open; call reset() first")
        return self._java
