"""Descriptions of several things."""

from __future__ import annotations

from collections.abc import Iterable

from rlsd.envs.scienceworld.engine.world.thing import CURSORY, Thing


def listed(things: Iterable[Thing], where: Thing, *, mode: int = CURSORY, lines: bool = False) -> str:
    """Descriptions in the order of names: joined by commas, or one a line."""
    looks = [look for thing in sorted(things, key=_name) if (look := thing.look(mode, where)) is not None]
    if not looks:
        return "\tnothing" if lines else "nothing"
    return "".join(f"\t{look}\n" for look in looks) if lines else ", ".join(looks)


def _name(thing: Thing) -> str:
    return thing.name
