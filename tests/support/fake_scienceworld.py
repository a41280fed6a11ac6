"""An engine of ScienceWorld for tests: two rooms and an apple that has to be focused on, then carried."""

from __future__ import annotations

from rlsd.envs.errors import EnvError, EnvLost
from rlsd.envs.scienceworld.shown import Shown, Subgoal

GOLD = ("go to hall", "focus on apple", "pick up apple")
_MANY = tuple(f"look at thing {i}" for i in range(3000))


class FakeEngine:
    """Focusing on the kitchen fails the task; `dies_at` = the step at which the process is lost."""

    def __init__(self, dies_at: int = -1) -> None:
        self.dies_at, self.killed, self.opened = dies_at, False, False

    def open(self, task_type: str, variation: int, simplifications: str) -> Shown:
        self.room, self.reached, self.failed, self.steps, self.history = "kitchen", 0, False, 0, []
        self.opened = True
        return self._shown(self._look())

    def goal(self) -> str:
        return "Your task is to focus on the apple, then to take it."

    def step(self, action: str) -> Shown:
        if not self.opened:
            raise EnvError("no episode is open; call reset() first")
        self.steps += 1
        self.history.append(action)
        if self.steps == self.dies_at:
            raise EnvLost("the Java process of ScienceWorld ended with exit status 137 during 'step'", own=True)
        if action in ("go to hall", "go to kitchen"):
            self.room = action.removeprefix("go to ")
            return self._shown(f"You move to the {self.room}.")
        if action == "focus on kitchen":
            self.failed = True
            return self._shown("You focus on the kitchen.")
        if action == "focus on apple" and self.room == "hall" and self.reached == 0:
            self.reached = 1
            return self._shown("You focus on the apple.")
        if action == "pick up apple" and self.reached == 1:
            self.reached = 2
            return self._shown("You move the apple to the inventory.")
        if action == "look around" or action in _MANY:
            return self._shown(self._look())
        return self._shown("No known action matches that input.")

    def gold(self) -> tuple[str, ...]:
        return GOLD

    def plan(self) -> tuple[str, ...] | None:
        done = tuple(self.history)
        return GOLD[len(done) :] if GOLD[: len(done)] == done else None

    def close(self) -> None:
        self.opened = False

    def kill(self) -> None:
        self.killed = True

    def _look(self) -> str:
        return f"This room is called the {self.room}. In it, you see: \n\tthe agent\n"

    def _shown(self, observation: str) -> Shown:
        score = -100 if self.failed else 50 * self.reached
        return Shown(
            observation=observation,
            score=score,
            done=score < 0 or score == 100,
            valid=("focus on kitchen", "go to hall", "go to kitchen", "look around", *_MANY),
            look=self._look(),
            inventory="In your inventory, you see:\n" + ("\tan apple\n" if self.reached == 2 else "\tnothing"),
            subgoals=(
                Subgoal(text="focus on the apple", done=self.reached > 0, ordered=True),
                Subgoal(text="take the apple", done=self.reached > 1, ordered=True),
                Subgoal(text="be in the hall", done=self.room == "hall", ordered=False),
            ),
        )
