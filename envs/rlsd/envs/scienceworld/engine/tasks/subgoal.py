"""A subgoal as it is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgoal:
    """One line of the task's own list of subgoals."""

    text: str
    done: bool
    ordered: bool
    """False for one that is optional and adds a little to the score in any order."""
