"""What one can ask of a generated world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rlsd.envs.errors import EnvError, closest

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""The published six, in the order in which seeds take them by turns."""
ROOM_KINDS = 4
"""Kitchen, living room, bedroom, bathroom."""
CONTENT_PARTS = 8
"""All worlds fall into so many classes by content, for splits that cannot overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """The knobs of the generator. The defaults come close to the published games.

    Example: WorldConfig(receptacles=(4, 6), objects=(3, 6), goal_objects=(1, 1), horizon=9)

    Raises:
        EnvError: a range upside down, a share outside [0, 1], an unknown task type.
    """

    receptacles: tuple[int, int] = (6, 54)
    """Fewest and most. A room that would have fewer or more by nature gets a number drawn from this range."""
    objects: tuple[int, int] = (8, 64)
    """Fewest and most, drawn likewise; all lie in receptacles."""
    goal_objects: tuple[int, int] = (1, 3)
    """Objects of the goal's type; at least two where the task is about two."""
    closed_share: float = 0.83
    """Share of cabinets, drawers and safes that can be opened and are shut; fridge and microwave always are."""
    shared_share: float = 0.15
    """Share of receptacles that stand at the location of another of their type."""
    prior_strength: float = 1.0
    """Objects lie in a receptacle type in proportion to its published share to this power: 0 = anywhere they
    were ever seen, 1 = as published, above 1 = ever more in the usual place."""
    task_types: tuple[str, ...] = TASK_TYPES
    """The seed picks one by turns: seed 0 the first, seed 1 the second, …"""
    horizon: int = 12
    """Longest shortest plan allowed, in commands."""
    rooms: tuple[int, int] = (1, 1)
    """Fewest and most rooms, each of another kind, whose furniture and things make up the world. Every published
    game is of one; a world of several needs larger `receptacles` and `objects` too."""
    difficulty: tuple[int, int] = (0, 10_000)
    """Keep worlds whose `difficulty` in commands lies in this half-open range: a shortest plan
    plus the search that finding things costs."""
    parts: tuple[int, int] = (0, CONTENT_PARTS)
    """Keep worlds whose content hash modulo 8 lies in this half-open range: configs with ranges that do not
    meet share no world, whatever their seeds."""

    def __post_init__(self) -> None:
        limits = (("receptacles", 3), ("objects", 2), ("goal_objects", 1), ("rooms", 1), ("difficulty", 0))
        for name, least in limits:
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise EnvError(f"{name}={low, high} must be (fewest, most) with {least} ≤ fewest ≤ most")
        if self.rooms[1] > ROOM_KINDS:
            raise EnvError(
                f"rooms={self.rooms}: there are {ROOM_KINDS} kinds of room, and a world has one of each at most"
            )
        for name in ("closed_share", "shared_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise EnvError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        if not self.task_types:
            raise EnvError("task_types must name at least one task type")
        for task_type in self.task_types:
            if task_type not in TASK_TYPES:
                raise EnvError(f"unknown task type {task_type!r}{closest(task_type, TASK_TYPES)}")
        if self.prior_strength < 0 or self.horizon < 1:
            raise EnvError("prior_strength must be at least 0 and horizon at least 1")
        if not 0 <= self.parts[0] < self.parts[1] <= CONTENT_PARTS:
            raise EnvError(f"parts={self.parts} must be a half-open range within (0, {CONTENT_PARTS})")

    def task_type(self, seed: int) -> str:
        """The task type of this seed; known without generating anything."""
        return self.task_types[seed % len(self.task_types)]

    def to_json(self) -> dict[str, Any]:
        """All knobs; those that came later are left out at their default, since games are drawn from this text."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        later = {"rooms": [1, 1], "difficulty": [0, 10_000]}
        return {k: v for k, v in values.items() if later.get(k) != v}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorldConfig:
        """Raises EnvError for an unknown knob; names the closest one."""
        known = {f.name for f in fields(cls)}
        for name in data:
            if name not in known:
                raise EnvError(f"unknown knob {name!r}{closest(name, known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)
