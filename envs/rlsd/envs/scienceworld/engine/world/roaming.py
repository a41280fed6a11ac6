"""What goes from room to room: the agent and bees. They have no heat of their own, so rooms rest on around them."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.thing import Thing

_CROWDED = 50
"""Contents that are kept in the order in which they came, however often something comes and goes."""


class Roaming(Thing):
    """Ticks by itself in a room at rest, with all that it carries; it belongs into `state.roaming`."""

    roams = True

    def path(self) -> list[int]:
        """Where it comes in the order of a tick: its place among the contents of its room, and so on down to itself."""
        out, thing = list[int](), self
        while thing.place is not None and not thing.is_location:
            out.append(thing.place.inside.items().index(thing))
            thing = thing.place
        return out[::-1]

    def roam(self, goal: Thing) -> None:
        """Be in another room; as `goal.put`, but neither room is stirred."""
        start = self.place
        if start is None or start is goal or not goal.is_location or not (_plain(start) and _plain(goal)):
            goal.put(self)
            return
        start.inside.remove(self)
        start.changed(stirs=False)
        goal.inside.add(self)
        self.place = goal
        goal.changed(stirs=False)


def _plain(place: Thing) -> bool:
    """One thing more or less changes neither the order of its other contents nor whether heat passes between them."""
    terminals = place.terminals
    return terminals is not None and all(t.place is place for t in terminals) and len(place.inside) < _CROWDED
