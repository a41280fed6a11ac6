"""The sewer: nobody gets there, so heat in it is worked out only once something in it could change its state."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.containers import Basin
from rlsd.envs.scienceworld.engine.world.heat import exchange, keeps_state
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import Thing


class Sewer(Basin):
    """While all that has come in keeps its state at every temperature between the lowest and the highest of them, ticks
    are only noted: temperatures stay within these bounds, and nothing shows them."""

    def __init__(self, state: State) -> None:
        self._calm = False
        super().__init__(state, "sewer", "steel")
        assert self.material is not None
        self._lowest = self._highest = self.material.temperature
        self._calm = True
        self._noted: list[list[Thing]] = []
        """What was in it at each tick that has not been worked out."""

    def put(self, thing: Thing) -> None:
        super().put(thing)
        if self._calm and not self._stays_calm(thing):
            self._calm = False
            for things in self._noted:
                exchange(things, self.material)
            self._noted.clear()

    def tick(self) -> None:
        if self._calm:
            if self.ticked != self.state.now:
                self.ticked = self.state.now
                self._noted.append(self.inside.items())
        else:
            super().tick()

    def _stays_calm(self, thing: Thing) -> bool:
        stuff = thing.material
        if stuff is None or thing.connected() or len(thing.visible()):
            return False
        within = self._lowest <= stuff.temperature <= self._highest
        self._lowest = min(self._lowest, stuff.temperature)
        self._highest = max(self._highest, stuff.temperature)
        stuffs = [stuff] if within else [one.material for one in (self, *self.inside.items())]
        return all(one is None or keeps_state(one, self._lowest, self._highest) for one in stuffs)
