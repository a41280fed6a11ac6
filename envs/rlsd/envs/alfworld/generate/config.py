"""Configuration of the game generator."""

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
"""The six published types, in the order in which seeds cycle through them."""
ROOM_KINDS = 4
"""Kitchen, living room, bedroom, bathroom."""
CONTENT_PARTS = 8
"""Number of content classes of games; splits from different classes cannot overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """Settings of the generator. The defaults come close to the published games.

    Example: WorldConfig(receptacles=(4, 6), objects=(3, 6), goal_objects=(1, 1), horizon=9)

    Raises:
        EnvError: an invalid range, a share outside [0, 1], an unknown task type.
    """

    receptacles: tuple[int, int] = (6, 54)
    """Fewest and most. If a drawn room has fewer or more, its number is redrawn from this range."""
    objects: tuple[int, int] = (8, 64)
    """Fewest and most, likewise; all lie in receptacles."""
    goal_objects: tuple[int, int] = (1, 3)
    """Objects of the goal's type; at least two if the task needs two."""
    closed_share: float = 0.83
    """Share of cabinets, drawers and safes that are closed and can be opened; fridge and microwave always are."""
    shared_share: float = 0.15
    """Share of receptacles at the same location as another of their type."""
    prior_strength: float = 1.0
    """Objects lie in a receptacle type in proportion to its published share to this power: 0 = uniform over the
    observed types, 1 = as published, above 1 = more concentrated in the usual place."""
    task_types: tuple[str, ...] = TASK_TYPES
    """The seed cycles through them: seed 0 the first, seed 1 the second, …"""
    horizon: int = 12
    """Maximum length of the shortest plan, in commands."""
    rooms: tuple[int, int] = (1, 1)
    """Fewest and most rooms, all of different kinds, whose furniture and objects make up the game. Every published
    game has one; several rooms need larger `receptacles` and `objects` too."""
    difficulty: tuple[int, int] = (0, 10_000)
    """Keep games whose `difficulty` in commands lies in this half-open range: length of the shortest plan plus
    expected wasted commands."""
    parts: tuple[int, int] = (0, CONTENT_PARTS)
    """Keep games whose content hash modulo 8 lies in this half-open range: configs with disjoint ranges share no
    game, whatever their seeds."""

    def __post_init__(self) -> None:
        limits = (("receptacles", 3), ("objects", 2), ("goal_objects", 1), ("rooms", 1), ("difficulty", 0))
        for name, least in limits:
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise EnvError(f"{name}={low, high} must be (fewest, most) with {least} ≤ fewest ≤ most")
        if self.rooms[1] > ROOM_KINDS:
            raise EnvError(
                f"rooms={self.rooms}: there are {ROOM_KINDS} kinds of room, and a game has at most one of each"
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
        """All settings; later additions are omitted at their default, because this text seeds the generator."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        later = {"rooms": [1, 1], "difficulty": [0, 10_000]}
        return {k: v for k, v in values.items() if later.get(k) != v}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorldConfig:
        """Raises EnvError for an unknown setting; names the closest one."""
        known = {f.name for f in fields(cls)}
        for name in data:
            if name not in known:
                raise EnvError(f"unknown setting {name!r}{closest(name, known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)
