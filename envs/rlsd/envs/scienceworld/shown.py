"""What an engine of ScienceWorld shows after the start and after every action, whichever engine it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rlsd.envs.scienceworld.engine.tasks.subgoal import Subgoal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The state of an episode as the original's Python interface tells it."""

    observation: str
    score: int
    """0 to 100; below 0 the task has failed for good."""
    done: bool
    """The task's own end, won or failed."""
    valid: Sequence[str]
    """All actions that make sense now, sorted; often hundreds, in full rooms thousands. The original also lists actions
    on things in closed containers, which its parser then does not find."""
    look: str
    inventory: str
    subgoals: tuple[Subgoal, ...]


class Engine(Protocol):
    """One episode at a time."""

    def open(self, task_type: str, variation: int, simplifications: str) -> Shown:
        """Begin an episode; the observation is that of `look around`."""
        ...

    def goal(self) -> str:
        """The task's description."""
        ...

    def step(self, action: str) -> Shown:
        """Do one action."""
        ...

    def gold(self) -> tuple[str, ...]:
        """The original's own solution of the task, from its start; () where it has none."""
        ...

    def plan(self) -> tuple[str, ...] | None:
        """Actions from here to the goal; None where no way is known."""
        ...

    def close(self) -> None:
        """End the episode; the engine can be opened again."""
        ...

    def kill(self) -> None:
        """Free everything at once, from another thread than the one that waits."""
        ...


REFUSALS = (
    "No known action matches that input.",
    "Unknown action.",
    "ERROR: Unknown response (",
    "ERROR: Value out of range (",
)
"""How the answer to an action begins that was not understood."""


def understood(observation: str) -> bool:
    return not observation.startswith(REFUSALS)


def read_subgoals(progress: str) -> tuple[Subgoal, ...]:
    """Subgoals from the original's table of goal progress.

    >>> read_subgoals("Sequential Subgoals:\\n0\\ttrue\\t   GoalFind\\tfocus on substance\\n")
    (Subgoal(text='focus on substance', done=True, ordered=True),)
    """
    found, ordered = [], True
    for line in progress.splitlines():
        ordered = ordered and not line.startswith("Unordered")
        parts = line.split("\t")
        if len(parts) == 4 and parts[0].isdigit():
            found.append(Subgoal(text=parts[3].strip(), done=parts[1] == "true", ordered=ordered))
    return tuple(found)
