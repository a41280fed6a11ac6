"""The plan of an episode, which follows its actions: kept where the agent follows it, made anew where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlsd.envs.babyai.planner import plan, rerouted
from rlsd.envs.babyai.world import State, World

_LONG = 15
"""Actions of a plan that is led over new ways, instead of being made anew, after the agent has walked off it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A state and what lies between it and success."""

    state: State
    plan: tuple[int, ...] | None
    """None: no plan was found."""
    before: State | None = None
    """The state before the last action; None at the start."""
    distance_before: int | None = None


class Course:
    """Plans lazily: actions are noted, and worked through when somebody asks.

    Args:
        copy: makes a copy of the episode at its start, in which plans are tried out.
        start: the state at the start.
    """

    def __init__(self, copy: Callable[[], World], start: State) -> None:
        self._copy = lru_cache(maxsize=1)(copy)
        self._start = start
        self._demonstration: tuple[int, ...] | None = None
        """None: not planned yet."""
        self._now: Situation | None = None
        self._noted: list[tuple[int | None, State]] = []

    def note(self, action: int | None, state: State) -> None:
        """An action (None: none of the engine's) and the state after it."""
        self._noted.append((action, state))

    def now(self) -> Situation:
        """The present situation."""
        now = self._begun()
        for action, state in self._noted:
            now = Situation(
                state=state,
                plan=self._next(now, action, state),
                before=now.state,
                distance_before=None if now.plan is None else len(now.plan),
            )
        self._now, self._noted = now, []
        return now

    @property
    def demonstration(self) -> tuple[int, ...]:
        """The plan at the start."""
        if self._demonstration is None:
            self._demonstration = self._planned(self._start) or ()
        return self._demonstration

    def save(self) -> Any:
        return self._now, tuple(self._noted)

    def restore(self, saved: Any) -> None:
        self._now, noted = saved
        self._noted = list(noted)

    def copy_at(self, state: State) -> World:
        """The copy of the episode, in a state."""
        world = self._copy()
        world.restore(state)
        return world

    def _begun(self) -> Situation:
        if self._now is None:  # every task has a plan at its start
            self._now = Situation(state=self._start, plan=self.demonstration)
        return self._now

    def _next(self, now: Situation, action: int | None, state: State) -> tuple[int, ...] | None:
        if state.won:
            return ()
        if state.lost:
            return None
        if now.plan and action == now.plan[0]:
            return now.plan[1:]
        if (state.cells, state.things) == (now.state.cells, now.state.things):
            if (state.at, state.facing) == (now.state.at, now.state.facing):
                return now.plan
            if now.plan is not None and len(now.plan) > _LONG:
                led = rerouted(self._copy(), now.state, now.plan, state)
                if led is not None and len(led) <= len(now.plan) + 1:
                    return led
        return self._planned(state)

    def _planned(self, state: State) -> tuple[int, ...] | None:
        world = self._copy()
        return plan(world, state, at_most=world.limit)
