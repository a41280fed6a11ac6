"""Copies of a world: the same answers, and nothing shared with what was copied."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import pytest

from rlsd.envs.scienceworld.engine.copies import copied_world
from rlsd.envs.scienceworld.engine.session import Session

_ACTIONS = (
    "open door to hallway",
    "go to hallway",
    "wait",
    "open door to kitchen",
    "go to kitchen",
    "open fridge",
    "wait",
)


@pytest.mark.parametrize("task_type", ["boil", "find-living-thing", "grow-fruit", "power-component"])
def test_a_copy_of_a_world_goes_on_as_the_world_does_and_leaves_it_as_it_is(task_type: str) -> None:
    world, reference = Session(task_type, 0), Session(task_type, 0)
    for action in _ACTIONS[:3]:
        assert world.step(action) == reference.step(action)
    twin = copied_world(world)
    told = [(twin.step(a), twin.look(), twin.inventory(), twin.valid()) for a in _ACTIONS]
    assert told == [(world.step(a), world.look(), world.inventory(), world.valid()) for a in _ACTIONS]
    assert told == [(reference.step(a), reference.look(), reference.inventory(), reference.valid()) for a in _ACTIONS]


def test_nothing_of_a_copied_world_is_the_worlds_own() -> None:
    world = Session("find-plant", 0)
    twin = copied_world(world)
    own = {id(thing) for thing in world.universe.deep()}
    theirs = twin.universe.deep()
    assert len(theirs) == len(own) > 300
    assert own.isdisjoint(id(thing) for thing in theirs)
    assert all(thing.state is twin.state for thing in theirs)


class _Own:
    def __init__(self, told: list[int]) -> None:
        self.told = told

    def __deepcopy__(self, memo: dict[int, Any]) -> _Own:
        return _Own([len(self.told)])


class _Slots:
    __slots__ = ("__hidden", "_here", "unset")

    def __init__(self, here: Any) -> None:
        self._here = self.__hidden = here

    def hidden(self) -> Any:
        return self.__hidden


class _One:
    __slots__ = "only"

    def __init__(self, only: Any) -> None:
        self.only = only


@dataclass(frozen=True, slots=True)
class _Frozen:
    inner: list[int]


class _Colour(Enum):
    RED = 1


class _Numbers(dict[int, int]):
    pass


class _Pair(NamedTuple):
    first: list[int]
    second: int


def _function() -> None: ...


def test_objects_of_all_kinds_are_copied_as_the_standard_library_does() -> None:
    shared = [1, 2]
    looped: list[Any] = [shared]
    looped.append((looped, 3))
    before = {
        "shared": shared,
        "again": shared,
        "looped": looped,
        "frozen": _Frozen(shared),
        "slots": _Slots(shared),
        "one slot": _One(shared),
        "pair": _Pair(shared, 2),
        "method": _Slots(shared).hidden,
        "own": _Own([7, 7, 7]),
        "colour": _Colour.RED,
        "function": _function,
        "type": _Own,
        "numbers": _Numbers({1: 2}),
        "queue": deque([shared]),
        "set": {1, 2},
        "constant": (1, "two", (3.0, None)),
    }
    for new in (copied_world(before), copy.deepcopy(before)):
        assert new["shared"] == shared
        assert new["shared"] is not shared
        assert new["shared"] is new["again"] is new["frozen"].inner is new["slots"]._here is new["queue"][0]
        assert new["looped"][1][0] is new["looped"]
        assert new["looped"][0] is new["shared"]
        assert new["shared"] is new["slots"].hidden() is new["one slot"].only is new["method"]()
        assert (type(new["pair"]), new["pair"].first is new["shared"]) == (_Pair, True)
        assert not hasattr(new["slots"], "unset")
        assert new["own"].told == [3]
        assert (new["colour"], new["function"], new["type"]) == (_Colour.RED, _function, _Own)
        assert type(new["numbers"]) is _Numbers
        assert new["numbers"] == {1: 2}
        assert new["set"] == {1, 2}
        assert new["set"] is not before["set"]
        assert new["constant"] is before["constant"]
