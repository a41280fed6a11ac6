"""Hindsight for an ALFWorld episode: plan, missing facts, locations, state changes."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts.oracle import plan
from rlsd.envs.core import Hindsight

_IDLE = ("look", "inventory", "help", "examine")
_STATES = ("clean", "hot", "cool", "sliced")


class Fact(NamedTuple):
    """One part of the goal, in words, and whether it holds."""

    text: str
    holds: bool


class _State:
    """Hindsight about one state of a game, cached for all episodes that visit it."""

    __slots__ = ("_plan", "_planned", "facts", "whereabouts")

    def __init__(self, world: World) -> None:
        self.facts, self.whereabouts = goal_facts(world), whereabouts(world)
        self._plan: tuple[str, ...] | None = None
        self._planned = False

    def plan(self, world: World) -> tuple[str, ...] | None:
        """The oracle's plan, of a world in this state."""
        if not self._planned:
            self._plan, self._planned = plan(world), True
        return self._plan

    @classmethod
    def of(cls, world: World) -> _State:
        states, key = _SEEN.setdefault(world.game, {}), world.key()
        state = states.get(key)
        if state is None:
            if len(states) >= _MOST_SEEN:
                states.clear()
            state = states[key] = cls(world)
        return state


_MOST_SEEN = 256
"""Cached states per game: the rollouts of a group visit the same states, usually at the same time."""
_SEEN: WeakKeyDictionary[Game, dict[Hashable, _State]] = WeakKeyDictionary()


def forget_states() -> None:
    """Clear the cache of game states (for measurements)."""
    _SEEN.clear()


class Witness:
    """Observes a world and computes hindsight on demand; a step costs only a copy of the state."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: World | None = None
        self._plan: tuple[str, ...] | None = None
        self._plan_before: tuple[str, ...] | None = None
        self._fresh = self._fresh_before = False
        self._state: _State | None = None
        self._state_before: _State | None = None

    @property
    def world(self) -> World:
        """The observed world."""
        return self._world

    def copy(self) -> Witness:
        """An independent witness with an independent copy of the world."""
        twin = Witness(self._world.copy())
        twin._before = self._before  # never stepped, so it is safe to share
        twin._plan, twin._plan_before = self._plan, self._plan_before
        twin._fresh, twin._fresh_before = self._fresh, self._fresh_before
        twin._state, twin._state_before = self._state, self._state_before
        return twin

    def step(self, command: str) -> str:
        """Execute a command in the observed world; returns the observation."""
        self._before = self._world.copy()
        self._plan_before, self._fresh_before = self._plan, self._fresh
        self._state_before = self._state
        answer = self._world.step(command)
        still = not self._world.understood or command.split()[0] in _IDLE
        if not still:
            self._state = None
        old = self._plan
        if self._fresh and old is not None:
            # The rest of a shortest plan is shortest too; keeping it also avoids switching between equally short plans.
            if old and self._world.understood and command.strip() == old[0]:
                self._plan = old[1:]
                return answer
            if still:
                return answer
        self._fresh = False
        return answer

    def plan(self) -> tuple[str, ...] | None:
        """The oracle's plan from here; None when the goal is unreachable."""
        if not self._fresh:
            self._plan, self._fresh = self._present().plan(self._world), True
        return self._plan

    def _present(self) -> _State:
        if self._state is None:
            self._state = _State.of(self._world)
        return self._state

    def hindsight(self) -> Hindsight:
        """Hindsight about the current state; `feedback` and `lost` describe the last command."""
        world, route, state = self._world, self.plan(), self._present()
        feedback, lost, changed, before = "", (), (), None
        if self._before is not None:
            then = self._state_before = self._state_before or _State.of(self._before)
            if not self._fresh_before:
                self._plan_before, self._fresh_before = then.plan(self._before), True
            before = _steps(self._plan_before)
            changed = changes(self._before, world)
            feedback = _feedback(changed, world, before, _steps(route))
            lost = _lost(then.facts, state.facts, self._plan_before, route)
        return Hindsight(
            demonstration=world.game.walkthrough,
            plan=route or (),
            missing=tuple(fact.text for fact in state.facts if not fact.holds),
            whereabouts=state.whereabouts,
            distance=_steps(route),
            distance_before=before,
            changed=changed,
            lost=lost,
            feedback=feedback,
        )


def goal_facts(world: World) -> tuple[Fact, ...]:
    """The goal as facts: object states first, then places.

    Example: (Fact("some mug is hot", True), Fact("a hot mug is on a shelf", False))
    """
    game, goal = world.game, world.game.goal
    thing = " ".join((*goal.states, goal.object_type))
    ready = [o for o in game.goal_objects if world.has_states(o)]
    facts = [
        Fact(f"some {goal.object_type} is {s}", any(o in getattr(world, s) for o in game.goal_objects))
        for s in goal.states
    ]
    if goal.kind == "look":
        facts.append(Fact(f"you hold a {thing}", world.in_hand in ready))
        lit = [lamp for lamp in game.goal_targets if lamp in world.lit]
        here = any(game.places[r] == world.place for lamp in lit for r in world.inside[lamp])
        facts.append(Fact(f"a {goal.target_type} is turned on", bool(lit)))
        facts.append(Fact(f"you are at a {goal.target_type} that is turned on", here))
        return tuple(facts)
    most = max((sum(r in world.inside[o] for o in ready) for r in game.goal_targets), default=0)
    preposition = "in" if game.openable.intersection(game.goal_targets) else "on"
    facts.append(Fact(f"a {thing} is {preposition} a {goal.target_type}", most >= 1))
    if goal.count > 1:
        facts.append(Fact(f"a second {thing} is {preposition} the same {goal.target_type}", most >= goal.count))
    return tuple(facts)


def whereabouts(world: World) -> tuple[str, ...]:
    """Locations of the objects named in the goal, one sentence each.

    Example: ("mug 1 is in cabinet 3 (closed)", "mug 2 is in your hand, hot")
    """
    game, goal = world.game, world.game.goal
    things = list(game.goal_objects)
    if "sliced" in goal.states:
        things += sorted(game.knives)
    if goal.kind == "look":
        things += game.goal_targets
    lines = []
    for o in things:
        extra = [s for s in _STATES if s in goal.states and o in getattr(world, s)]
        if goal.kind == "look" and o in game.goal_targets and o in world.lit:
            extra.append("turned on")
        lines.append(", ".join((f"{game.objects[o]} is {_where(world, o)}", *extra)))
    return tuple(lines)


def _where(world: World, o: int) -> str:
    game = world.game
    places = ["in your hand"] if o == world.in_hand else []
    for r in world.inside[o]:
        if r in game.openable:
            places.append(f"in {game.receptacles[r]}" + ("" if r in world.opened else " (closed)"))
        else:
            places.append(f"on {game.receptacles[r]}")
    return " and ".join(places) or "out of reach"


def _steps(route: tuple[str, ...] | None) -> float:
    return math.inf if route is None else float(len(route))


def _feedback(changed: tuple[str, ...], now: World, was: float, left: float) -> str:
    change = ", ".join(changed) or ("Nothing changed" if now.understood else "The command was refused")
    change = change.replace("you are", "You are", 1) if change.startswith("you are") else change
    if left == 0:
        return f"{change}: the goal holds."
    if math.isinf(left):
        return f"{change}: the goal is out of reach."
    if was == 0:
        return f"{change}: the goal no longer holds ({left:.0f} steps left)."
    unit = "step" if left == 1 else "steps"
    trend = "nearer to" if left < was else "farther from" if left > was else "no nearer to"
    count = f"{left:.0f} {unit} left" if left == was else f"{was:.0f} -> {left:.0f} {unit} left"
    return f"{change}: {trend} the goal ({count})."


def changes(before: World, now: World) -> tuple[str, ...]:
    """Differences between two states of one game, one fact each, moved objects first.

    Example: ("mug 1 is now hot", "mug 1 is no longer cool")
    """
    game, facts = now.game, list[str]()
    moved = {o for o in (before.in_hand, now.in_hand) if o >= 0 and before.in_hand != now.in_hand}
    facts += [f"{game.objects[o]} is now {_where(now, o)}" for o in sorted(moved)]
    for r in sorted(now.opened ^ before.opened):
        facts.append(f"{game.receptacles[r]} is now {'open' if r in now.opened else 'closed'}")
    for word in (*_STATES, "lit"):
        shown = "turned on" if word == "lit" else word
        had, has = getattr(before, word), getattr(now, word)
        if had is has:  # unchanged sets are the same object
            continue
        facts += [f"{game.objects[o]} is now {shown}" for o in sorted(has - had)]
        facts += [f"{game.objects[o]} is no longer {shown}" for o in sorted(had - has)]
    if now.place != before.place:
        here = " and ".join(game.receptacles[r] for r in game.at_place[now.place])
        facts.append(f"you are now at {here}")
    return tuple(facts)


def _lost(
    was: tuple[Fact, ...], now: tuple[Fact, ...], old: tuple[str, ...] | None, new: tuple[str, ...] | None
) -> tuple[str, ...]:
    gone = [f"no longer true: {fact.text}" for had, fact in zip(was, now, strict=True) if had.holds and not fact.holds]
    if new is None and old is not None:
        gone.append("the goal can no longer be reached")
    return tuple(gone)
