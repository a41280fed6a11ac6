"""Animals: what they are called in each stage of their lives, and when one stage follows the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, Thing


@dataclass(slots=True)
class Life:
    """`kind`: "apple", "blue jay"; years of a typical life are a fact that only questions are about."""

    kind: str
    sickly: bool = False
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    ticks: int = 0
    """It ends after so many; 0: never."""
    canonical: str = ""
    """What the living thing is called in it; "": by stage and kind."""
    needs_soil: bool = False
    """It only goes on in a container with water and soil."""
    dies: bool = False


_ADULT, _OLD = 50, 20


def _stages(*stages: Stage) -> tuple[Stage, ...]:
    return stages


MAMMAL = _stages(Stage("baby", 20), Stage("juvenile", 20), Stage("adult", _ADULT), Stage("dead", dies=True))
EGG_LAYER = _stages(
    Stage("egg", 20), Stage("hatchling", 20), Stage("juvenile", 20), Stage("adult", _ADULT), Stage("dead", dies=True)
)
FROG = _stages(
    Stage("egg", 20, "frog egg"),
    Stage("tadpole", 20, "tadpole"),
    Stage("adult", _ADULT, "adult frog"),
    Stage("death", 0, "dead frog", dies=True),
)
BUTTERFLY = _stages(
    Stage("egg", 20, "butterfly egg"),
    Stage("caterpillar", 20, "caterpillar"),
    Stage("pupa", 20, "butterfly pupa"),
    Stage("adult", _ADULT, "adult butterfly"),
    Stage("death", 0, "dead butterfly", dies=True),
)
FOREVER_ADULT = _stages(Stage("adult"), Stage("dead", dies=True))


@dataclass(slots=True)
class Cycle:
    """The stage a living thing is in, and how long it has met what each stage asks for."""

    stages: tuple[Stage, ...]
    at: int = 0
    met: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.met = [0] * len(self.stages)

    @property
    def stage(self) -> Stage:
        return self.stages[self.at]

    def change(self, name: str) -> None:
        self.at = next((i for i, stage in enumerate(self.stages) if stage.name == name), self.at)


class LivingThing(Thing):
    cycle: Any = None


ANIMALS: dict[str, tuple[Stage, ...]] = {
    "giant tortoise": EGG_LAYER, "turtle": EGG_LAYER, "parrot": EGG_LAYER, "elephant": MAMMAL,
    "crocodile": EGG_LAYER, "brown bear": MAMMAL, "beaver": MAMMAL, "wolf": MAMMAL, "chipmunk": MAMMAL,
    "common toad": FROG, "rabbit": MAMMAL, "mouse": MAMMAL, "chameleon": EGG_LAYER, "dragonfly": MAMMAL,
    "ant": MAMMAL, "hedgehog": MAMMAL, "butterfly": BUTTERFLY, "moth": BUTTERFLY, "frog": FROG, "dove": EGG_LAYER,
    "blue jay": EGG_LAYER,
}  # fmt: skip


class Animal(LivingThing):
    """An animal of `ANIMALS`, by its kind."""

    counts = True

    def __init__(self, state: State, kind: str, stages: tuple[Stage, ...] | None = None) -> None:
        super().__init__(state)
        self.name, self.life = kind, Life(kind)
        self.cycle = Cycle(ANIMALS[kind] if stages is None else stages)

    def tick(self) -> None:
        self.grow()
        super().tick()

    def grow(self) -> None:
        cycle: Cycle = self.cycle
        stage = cycle.stage
        if stage.dies:
            if not self.life.dead:
                self.life.dead = True
                self.changed()
            if self.place is not None:
                for thing in self.inside_and_portals():
                    self.place.put(thing)
            return
        cycle.met[cycle.at] += 1
        if stage.ticks and cycle.met[cycle.at] >= stage.ticks:
            cycle.at += 1
            self.changed()

    def only_counts(self) -> bool:
        stage: Stage = self.cycle.stage
        if stage.dies:
            return self.life.dead and not len(self.inside) and not len(self.portals)
        return not stage.ticks or self.cycle.met[self.cycle.at] + 1 < stage.ticks

    def count(self) -> None:
        if not self.cycle.stage.dies:
            self.cycle.met[self.cycle.at] += 1

    def shown_name(self, instead: str = "") -> str:
        return super().shown_name(instead or self.canonical())

    def canonical(self) -> str:
        stage: Stage = self.cycle.stage
        if stage.canonical:
            return stage.canonical
        return f"{self.life.kind} egg" if stage.name == "egg" else f"{stage.name} {self.life.kind}"

    def referents(self) -> list[str]:
        stage, shown = self.cycle.stage.name, self.shown_name()
        return ["living thing", "organism", self.name, shown, f"{stage} {self.name}", f"{stage} {shown}"]

    def describe(self, mode: int = CURSORY) -> str:
        unwell = " (that looks unwell)" if self.life.sickly and not self.life.dead else ""
        return f"a {self.shown_name()}{unwell}"
