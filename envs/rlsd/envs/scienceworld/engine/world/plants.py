"""Plants: seeds that grow into trees or pea plants, flowers, pollen, fruit."""

from __future__ import annotations

import re

from rlsd.envs.scienceworld.engine.world.abilities import no_holder, open_holder
from rlsd.envs.scienceworld.engine.world.genetics import FLOWER_COLOR, FLOWER_SIZE, Genes
from rlsd.envs.scienceworld.engine.world.listed import listed
from rlsd.envs.scienceworld.engine.world.living import Cycle, Life, LivingThing, Stage
from rlsd.envs.scienceworld.engine.world.materials import material
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, DETAILED, Thing

PLANT = (Stage("seed", 10), Stage("seedling", 10), Stage("adult", 5), Stage("reproducing", 5), Stage("dead", dies=True))
SEED, SEEDLING, ADULT, REPRODUCING, DEAD = range(5)
_WITHOUT_WATER = {SEEDLING: 20, ADULT: 50, REPRODUCING: 50}
"""Ticks without water after which a plant dies; it looks unwell after half of them."""
_WITHOUT_SOIL = _OUT_OF_RANGE = 5
_COLDEST, _HOTTEST = 0.0, 50.0


class Plant(LivingThing):
    """Grows in a container with water and soil; `thirst` and so on count ticks of want, stage by stage."""

    base_name = "plant"
    word = "plant"

    def __init__(self, state: State, kind: str) -> None:
        super().__init__(state)
        self.life, self.material, self.holder = Life(kind), material("plant matter"), open_holder()
        self.cycle = Cycle(PLANT)
        self.thirst, self.soilless, self.chilled = [0] * 5, [0] * 5, [0] * 5
        self.genes: Genes | None = None

    def is_seed(self) -> bool:
        return self.cycle.at == SEED

    def plant_name(self) -> str:
        return self.shown_name(f"{self.life.kind} {'seed' if self.is_seed() else self.word}")

    def tick(self) -> None:
        self.grow()
        super().tick()

    def grow(self) -> None:
        at, sickly, dead = self.cycle.at, self.life.sickly, self.life.dead
        self._grow(at)
        if (at, sickly, dead) != (self.cycle.at, self.life.sickly, self.life.dead):
            self.changed()

    def is_idle(self) -> bool:
        if self.cycle.at == DEAD:
            return self.life.dead and not len(self.inside) and not len(self.portals)
        return self.is_seed() and (self._beside("water") is None or self._beside("soil") is None)

    def _grow(self, at: int) -> None:
        if at == DEAD:
            self._wither()
        elif at == SEED:
            water = self._beside("water")
            if water is not None and self._beside("soil") is not None:
                self.cycle.met[SEED] += 1
                if self.cycle.met[SEED] >= PLANT[SEED].ticks:
                    water.delete()
                    self.cycle.at = SEEDLING
        else:
            self._live(at)

    def _beside(self, name: str) -> Thing | None:
        if self.place is None:
            return None
        return next((thing for thing in self.place.inside.items() if thing.name == name), None)

    def _live(self, at: int) -> None:
        stressed = sickly = False
        water = self._beside("water")
        if water is not None:
            self.thirst[at] = 0
            if at != SEEDLING:
                water.delete()
        else:
            stressed = at == SEEDLING
            self.thirst[at] += 1
            if self.thirst[at] >= _WITHOUT_WATER[at] // 2:
                stressed = sickly = True
            if self.thirst[at] >= _WITHOUT_WATER[at]:
                self.cycle.at = DEAD
        if self._beside("soil") is not None:
            self.soilless[at] = 0
        else:
            stressed = True
            self.soilless[at] += 1
            sickly = sickly or self.soilless[at] >= _WITHOUT_SOIL // 2
            if self.soilless[at] >= _WITHOUT_SOIL:
                self.cycle.at = DEAD
        assert self.material is not None
        if self.material.temperature >= _HOTTEST or self.material.temperature <= _COLDEST:
            self.chilled[at] += 1
            sickly = True
            if self.chilled[at] >= _OUT_OF_RANGE:
                self.cycle.at = DEAD
        else:
            self.chilled[at] = 0
        self.life.sickly = sickly
        if not stressed:
            self._prosper(at, water)

    def _prosper(self, at: int, water: Thing | None) -> None:
        met = self.cycle.met
        met[at] += 1
        if met[at] < PLANT[at].ticks:
            return
        if at == SEEDLING:
            assert water is not None
            water.delete()
            self.cycle.at = ADULT
        elif at == ADULT:
            self.cycle.at = REPRODUCING
        else:
            if not self.of_type(Flower):
                self.put(Flower(self))
            met[at] = 0

    def _wither(self) -> None:
        self.life.dead = True
        if self.place is None:
            return
        for thing in self.inside_and_portals():
            if isinstance(thing, Flower):
                for held in thing.inside.items():
                    self.place.put(held)
                thing.delete()
            else:
                self.place.put(thing)

    def referents(self) -> list[str]:
        return self._when_ill(self._names())

    def _names(self) -> list[str]:
        name, stage, shown, plant = self.name, self.cycle.stage.name, self.shown_name(), self.plant_name()
        return [
            "living thing", "organism", name, f"{name} in the {stage} stage", f"{stage} plant", plant,
            f"{plant} in the {stage} stage", f"{stage} {plant}", shown, f"{shown} in the {stage} stage",
        ]  # fmt: skip

    def _when_ill(self, names: list[str]) -> list[str]:
        return [*names, *(f"sick {name}" for name in names)] if self.life.sickly else names

    def fruit(self, father: Genes | None) -> Thing:
        """What one of its flowers becomes, pollinated by a plant with these genes."""
        return make(self.state, self.life.kind)

    def traits(self) -> str:
        """What its genes add to its description."""
        return ""

    def describe(self, mode: int = CURSORY) -> str:
        name = self.plant_name()
        if self.life.dead:
            return f"a dead {name}"
        if self.is_seed():
            return self._seed_text(name)
        unwell = " (that looks unwell)" if self.life.sickly else ""
        text = f"a {name} in the {self.cycle.stage.name} stage{self.traits()}{unwell}"
        held = self.visible()
        return text + (f". On the {name} you see: {listed(held, self)}. " if held else "")

    def _seed_text(self, name: str) -> str:
        return f"a {name}"


class Tree(Plant):
    """Seeds can be eaten; the name follows the stage of life."""

    def __init__(self, state: State, kind: str) -> None:
        super().__init__(state, kind)
        self.edible = True

    def tick(self) -> None:
        name = self.plant_name()
        if name != self.name:
            self.name = name
            self.changed()
        self.edible = self.is_seed()
        super().tick()

    def is_idle(self) -> bool:
        return super().is_idle() and self.name == self.plant_name() and self.edible == self.is_seed()


class FruitTree(Tree):
    word = "tree"


class Pollen(Thing):
    base_name = "pollen"

    def __init__(self, parent: Plant) -> None:
        super().__init__(parent.state)
        self.parent, self.material, self.holder = parent, material("pollen matter"), no_holder()

    def referents(self) -> list[str]:
        return ["pollen", self.name, f"{self.parent.life.kind} pollen", self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        return f"{self.parent.life.kind if mode == DETAILED else ''}{self.shown_name()}"


class Flower(Thing):
    """Becomes a fruit five ticks after pollen of another plant of its kind has come to it."""

    base_name = "flower"
    ripe_after = 5

    def __init__(self, parent: Plant) -> None:
        super().__init__(parent.state)
        self.parent, self.material, self.holder = parent, material("flower matter"), open_holder()
        self.pollinated = 0
        self.father: Genes | None = None

    def tick(self) -> None:
        if self.pollinated > 0:
            self.pollinated += 1
            if self.pollinated > self.ripe_after and self.place is not None:
                self.place.put(self.parent.fruit(self.father))
                self.delete(expel=True)
        else:
            if not any(isinstance(t, Pollen) and t.parent is self.parent for t in self.inside.items()):
                self.put(Pollen(self.parent))
            self._receive()
        super().tick()

    def _receive(self) -> None:
        for thing in self.inside.items():
            carried = [thing] if isinstance(thing, Pollen) else thing.inside.items()
            for pollen in carried:
                if isinstance(pollen, Pollen) and self._fits(pollen):
                    pollen.delete()
                    self.pollinated, self.father = 1, pollen.parent.genes
                    self.changed()
                    return

    def _fits(self, pollen: Pollen) -> bool:
        return pollen.parent is not self.parent and pollen.parent.life.kind == self.parent.life.kind

    def referents(self) -> list[str]:
        shown = self.shown_name()
        if self.pollinated > 0:
            return ["flower", self.name, "wilting flower", f"wilting {self.name}", shown, f"wilting {shown}"]
        return ["flower", self.name, shown]

    def describe(self, mode: int = CURSORY) -> str:
        genes = self.parent.genes
        looks = f"{genes.value(FLOWER_SIZE)} {genes.value(FLOWER_COLOR)}" if genes is not None else ""
        text = f"a {'wilting ' if self.pollinated > 0 else ''}{looks} {self.shown_name()}"
        if mode == DETAILED:
            text += f". Inside the flower is: {listed(self.visible(), self)}"
        return re.sub(r"\s+", " ", text).strip()


def tree(state: State, kind: str) -> FruitTree:
    """A fruit tree, as a seed."""
    return FruitTree(state, kind)
