"""What a task adds to the house, breaks in it, and asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlsd.envs.scienceworld.engine.tasks.episode import Goals
from rlsd.envs.scienceworld.engine.world.thing import Thing


@dataclass(frozen=True, slots=True)
class Addition:
    """A thing that is put into a room, unless one of its name is there already."""

    thing: Thing
    room: str
    always: bool = False
    """Whether or not one is there."""
    holders: tuple[str, ...] = ()
    """Names of what it may be put in or on, one at random; (): the room itself."""
    name: str = ""
    """The name that is looked for, where it is not the thing's own."""


@dataclass(frozen=True, slots=True)
class Assignment:
    text: str
    goals: Goals
    additions: list[Addition]
    broken: list[tuple[str, str]] = field(default_factory=list)
    """(device, room) that do not work."""
    draws: int = 0
    """Random numbers that the original draws for the text, after the additions."""
