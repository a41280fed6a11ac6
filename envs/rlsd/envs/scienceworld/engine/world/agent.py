"""The one who acts, and what it carries."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.containers import Container
from rlsd.envs.scienceworld.engine.world.roaming import Roaming
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import CURSORY


class Agent(Roaming):
    """The one who acts."""

    base_name = "agent"
    movable = False

    def __init__(self, state: State) -> None:
        super().__init__(state)
        state.roaming.append(self)
        self.inventory = Inventory(state)
        self.put(self.inventory)
        self.inventory.put(make(state, "orange"))

    def referents(self) -> list[str]:
        return ["agent", "self"]

    def describe(self, mode: int = CURSORY) -> str:
        return "the agent"


class Inventory(Container):
    base_name = "inventory"
    movable = False

    def referents(self) -> list[str]:
        return ["inventory", self.name]
