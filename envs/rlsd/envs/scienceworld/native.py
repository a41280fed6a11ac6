"""Our own engine behind the interface that the original has, too."""

from __future__ import annotations

from rlsd.envs.errors import EnvError
from rlsd.envs.scienceworld.engine.played import Played
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.tasks.covered import ASSIGN
from rlsd.envs.scienceworld.planner import plan_from
from rlsd.envs.scienceworld.shown import Shown

COVERED = tuple(ASSIGN)
"""Task types it plays."""


class NativeEngine:
    """One episode at a time, in this process.

    Args:
        lists: whether the list of actions is asked for at every step; otherwise it is made when it is looked at.
    """

    def __init__(self, *, lists: bool = True) -> None:
        self._lists = lists
        self._played: Played | None = None
        self._plan: tuple[str, ...] | None = None
        self._planned = False
        """The plan is that of the present state, None included."""
        self._gold: tuple[str, ...] | None = None

    def open(self, task_type: str, variation: int, simplifications: str) -> Shown:
        """
        Raises:
            EnvError: a task type that is not covered; names those that are.
        """
        self._key = task_type, variation, simplifications
        self._played, self._planned, self._gold = Played(self._key, lists=self._lists), False, None
        return self.step("look around")

    def goal(self) -> str:
        return self._open().session.goal_text

    def step(self, action: str) -> Shown:
        played = self._open()
        observation = played.step(action)
        session = played.session
        if self._planned and self._plan and action == self._plan[0]:
            self._plan = self._plan[1:]
            self._planned = self._plan != () or session.completed  # what is random may have gone another way
        elif played.moved:
            self._planned = False
        score = round(100 * session.score)
        return Shown(
            observation=observation,
            score=score,
            done=session.completed or score < 0,
            look=session.look(),
            inventory=session.inventory(),
            subgoals=session.goals.listed(),
            valid=played.valid(),
        )

    def gold(self) -> tuple[str, ...]:
        """The plan from the start of the task."""
        if self._gold is None and self._open().steps == 1:
            self.plan()
        if self._gold is None:
            self._gold = plan_from(self._fresh()) or ()
        return self._gold

    def plan(self) -> tuple[str, ...] | None:
        """Actions from here to the goal; None when it can no longer be reached."""
        if not self._planned:
            self._open().follow_bees()
            self._plan, self._planned = plan_from(self._open().session), True
            if self._open().steps == 1:
                self._gold = self._plan or ()
        return self._plan

    def _fresh(self) -> Session:
        """The same task from its start."""
        session = Session(*self._key)
        session.step("look around")
        session.draw()
        return session

    def close(self) -> None:
        self._played = None

    def kill(self) -> None:
        self._played = None

    def _open(self) -> Played:
        if self._played is None:
            raise EnvError("no episode is open; call reset() first")
        return self._played
