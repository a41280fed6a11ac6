"""An episode as actions and subgoals see it; the subgoals of its task and its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlsd.envs.scienceworld.engine.tasks.subgoal import Subgoal
from rlsd.envs.scienceworld.engine.world.agent import Agent
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import Thing

OPEN, REACHED, FAILED = "open", "reached", "failed"
Check = Callable[["Episode", "Thing | None"], str]
"""Episode and the focus, or None → OPEN, REACHED or FAILED."""


@dataclass(slots=True)
class Goal:
    text: str
    check: Check
    defocus: bool = False
    """Reaching it ends the focus."""
    asks: str = ""
    """The name of the thing that has to be focused on, or used, where that is what it asks for."""
    box: Callable[[Thing], str] | None = None
    """Where what was focused on has to be put: the thing → the name of the box."""
    key: str = ""
    """A name for it, for what counts after it."""
    after: str = ""
    """The key of an optional one that has to be reached before it counts."""


@dataclass(slots=True)
class Goals:
    """Subgoals in order, each worth the same, and optional ones that together are worth less than one of these."""

    ordered: list[Goal]
    optional: list[Goal]
    at: int = 0
    """How many of the ordered ones are reached."""
    failed: bool = False
    keys: set[str] = field(default_factory=set)
    """Keys of what has been reached."""
    last: Thing | None = None
    """The thing with which the last ordered one was reached."""
    reached: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reached = [False] * len(self.optional)

    def reset(self) -> None:
        self.at, self.failed, self.last = 0, False, None
        self.reached = [False] * len(self.optional)

    @property
    def completed(self) -> bool:
        return self.at >= len(self.ordered)

    def score(self) -> float:
        """From 0 to 1, or -1 for a failed task."""
        if self.failed:
            return -1.0
        unit = (1 / (len(self.ordered) + 1)) / len(self.optional) if self.optional else 0.0
        extra = 0.0
        for reached in self.reached:
            if reached:
                extra += unit
        return min(self.at / len(self.ordered) + extra, 1.0)

    def tick(self, episode: Episode) -> None:
        self._tick_ordered(episode)
        self._tick_optional(episode)

    def _tick_ordered(self, episode: Episode) -> None:
        while not self.completed:
            if episode.focus is None:
                return
            goal = self.ordered[self.at]
            result = goal.check(episode, episode.focus)
            if result == FAILED:
                self.failed = True
            if result != REACHED:
                return
            self.last = episode.focus
            self.keys.add(goal.key)
            if goal.defocus:
                episode.focus = None
            self.at += 1

    def _tick_optional(self, episode: Episode) -> None:
        progress = True
        while progress:
            progress = False
            for i, goal in enumerate(self.optional):
                if self.reached[i] or (goal.after and goal.after not in self.keys):
                    continue
                focus = episode.focus
                if goal.check(episode, None) == REACHED or (
                    focus is not None and goal.check(episode, focus) == REACHED
                ):
                    self.reached[i] = progress = True
                    self.keys.add(goal.key)

    def listed(self) -> tuple[Subgoal, ...]:
        return (
            *(Subgoal(text=goal.text, done=i < self.at, ordered=True) for i, goal in enumerate(self.ordered)),
            *(Subgoal(text=g.text, done=done, ordered=False) for g, done in zip(self.optional, self.reached)),
        )


class Episode:
    """The agent, what is asked of it, and what actions and checks remember."""

    def __init__(self, agent: Agent, goal_text: str, goals: Goals, *, electrical: bool, teleports: bool) -> None:
        self.state: State = agent.state
        self.agent, self.goal_text, self.goals = agent, goal_text, goals
        self.electrical, self.teleports = electrical, teleports
        self.focus: Thing | None = None
        self.waiting = 0
        self.looked_at: list[Thing] = []
        self.used: list[tuple[Thing, Thing]] = []
        """Device and what it was used on, every time."""
        self.read: list[Thing] = []
        self.notes: dict[str, Any] = {}
        """What goals remember between two checks."""
        self._sight: tuple[Thing | None, int, list[Thing]] = None, 0, []
        self._by_name: dict[str, list[Thing]] = {}

    @property
    def place(self) -> Thing:
        assert self.agent.place is not None
        return self.agent.place

    def in_sight(self) -> list[Thing]:
        """Everything in the room, at any depth, closed containers included; not to be changed."""
        place = self.place
        if self._sight[0] is not place or self._sight[1] != place.stamp:
            self._sight = place, place.stamp, place.deep_visible_and_portals()
            self._by_name = {}
        return self._sight[2]

    def in_sight_named(self, name: str) -> list[Thing]:
        """Of these, those of a name in small letters; not to be changed."""
        things = self.in_sight()
        if not self._by_name:
            for thing in things:
                for one in {thing.name.lower(), thing.shown_name().lower()}:
                    self._by_name.setdefault(one, []).append(thing)
        return self._by_name.get(name, [])
