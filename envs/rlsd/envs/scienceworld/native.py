"""Our own engine behind the interface that the original has, too."""

from __future__ import annotations

from rlsd.envs.errors import EnvError
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.tasks import ASSIGN
from rlsd.envs.scienceworld.shown import Shown

COVERED = tuple(ASSIGN)
"""Task types it plays."""


class NativeEngine:
    """One episode at a time, in this process."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def open(self, task_type: str, variation: int, simplifications: str) -> Shown:
        """
        Raises:
            EnvError: a task type that is not covered; names those that are.
        """
        self._session = Session(task_type, variation, simplifications)
        return self.step("look around")

    def goal(self) -> str:
        return self._open().goal_text

    def step(self, action: str) -> Shown:
        session = self._open()
        observation = session.step(action)
        score = round(100 * session.score)
        return Shown(
            observation=observation,
            score=score,
            done=session.completed or score < 0,
            look=session.look(),
            inventory=session.inventory(),
            subgoals=session.goals.listed(),
            valid=tuple(session.valid()),
        )

    def gold(self) -> tuple[str, ...]:
        """Not known here."""
        return ()

    def close(self) -> None:
        self._session = None

    def kill(self) -> None:
        self._session = None

    def _open(self) -> Session:
        if self._session is None:
            raise EnvError("no episode is open; call reset() first")
        return self._session
