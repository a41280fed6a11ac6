"""Who has a name that nobody else has; kept up to date as things change, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rlsd.envs.scienceworld.engine.world.thing import Thing

_ONE = 1 << 40
"""Added to a name's entry for each thing that has it, with the number of the thing."""


class Census:
    """Names of things, and for each the first that it alone has, where there is one."""

    def __init__(self) -> None:
        self.names: dict[Thing, tuple[str, ...]] = {}
        self.own: dict[Thing, str] = {}
        self._holders: dict[str, int] = {}
        """How many things have a name, and the sum of their numbers, as one number: of one thing, it tells which."""
        self._things: dict[int, Thing] = {}

    def is_name(self, text: str) -> bool:
        """Whether something has this name."""
        return self._holders.get(text, 0) > 0

    def change(self, gone: Iterable[Thing], new: Mapping[Thing, tuple[str, ...]]) -> None:
        """Forget things, and learn the names of others that are new or may have changed."""
        names, again = self.names, dict[Thing, None]()
        for thing in gone:
            self._drop(thing, names.pop(thing), again)
            self.own.pop(thing, None)
        for thing, some in new.items():
            old = names.get(thing)
            if old is some or old == some:
                continue
            names[thing] = some
            self._things[thing.number] = thing
            again[thing] = None
            before, after = set(old or ()), set(some)
            self._drop(thing, before - after, again)
            self._add(thing, after - before, again)
        holders = self._holders
        for thing in again:
            if thing in names:
                own = next((name for name in names[thing] if holders[name] >> 40 == 1), None)
                if own is None:
                    self.own.pop(thing, None)
                else:
                    self.own[thing] = own

    def _drop(self, thing: Thing, names: Iterable[str], again: dict[Thing, None]) -> None:
        holders, weight = self._holders, _ONE + thing.number
        for name in names:
            left = holders[name] = holders[name] - weight
            if left >> 40 == 1:
                again[self._things[left - _ONE]] = None

    def _add(self, thing: Thing, names: Iterable[str], again: dict[Thing, None]) -> None:
        holders, weight = self._holders, _ONE + thing.number
        for name in names:
            before = holders.get(name, 0)
            if before >> 40 == 1:
                again[self._things[before - _ONE]] = None
            holders[name] = before + weight
