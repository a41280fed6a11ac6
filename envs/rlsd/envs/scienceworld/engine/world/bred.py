"""Plants whose genes show: peas, and plants that nobody knows."""

from __future__ import annotations

import re

from rlsd.envs.scienceworld.engine.world.genetics import (
    COLOR,
    HEIGHT,
    LEAF_SHAPE,
    LEAF_SIZE,
    SHAPE,
    Genes,
    offspring,
    random_genes,
)
from rlsd.envs.scienceworld.engine.world.plants import ADULT, REPRODUCING, SEED, Tree
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import Thing

_DRAWS = 8
"""Random numbers for the genes of an unknown plant that the original makes and then replaces."""


class PeaPlant(Tree):
    """Tells its genes; a fruit is the seed of another plant of its kind."""

    def __init__(self, state: State, genes: Genes | None = None, kind: str = "pea") -> None:
        super().__init__(state, kind)
        self.name = kind
        self.own_genes = self.genes = genes or random_genes(state.random, kind)

    def fruit(self, father: Genes | None) -> Thing:
        genes = self.own_genes if father is None else offspring(self.own_genes, father, self.state.random)
        return PeaPlant(self.state, genes)

    def traits(self) -> str:
        if self.cycle.at == SEED:
            return f"{self.own_genes.value(SHAPE)} {self.own_genes.value(COLOR)} "
        if self.cycle.at in (ADULT, REPRODUCING):
            return f" with a {self.own_genes.value(HEIGHT)} height"
        return ""

    def _seed_text(self, name: str) -> str:
        return f"a {self.traits()} {name}"

    def referents(self) -> list[str]:
        names = [*self._names(), self.life.kind]
        prefix = self.traits()
        if prefix.startswith(" with a "):
            prefix = prefix[7:].strip()
        if prefix:
            name = self.plant_name()
            told = f"{prefix.strip()} {name}"
            names += [re.sub(name, lambda _: told, other) for other in list(names)]
        return self._when_ill(list(dict.fromkeys(names)))


class UnknownPlant(PeaPlant):
    """Goes by a letter; what shows of its genes depends on the kind.

    Example: UnknownPlant(state, "unknown B")
    """

    def __init__(self, state: State, kind: str, genes: Genes | None = None) -> None:
        state.random.skip(_DRAWS)
        super().__init__(state, genes, kind)

    def fruit(self, father: Genes | None) -> Thing:
        genes = self.own_genes if father is None else offspring(self.own_genes, father, self.state.random)
        return UnknownPlant(self.state, self.life.kind, genes)

    def traits(self) -> str:
        if self.cycle.at == SEED:
            return self._told(SHAPE, COLOR)
        if self.cycle.at not in (ADULT, REPRODUCING):
            return ""
        height, leaves = self.own_genes.value(HEIGHT), self._told(LEAF_SIZE, LEAF_SHAPE)
        parts = ([f"a {height} height"] if height else []) + ([f"{leaves} leaves"] if leaves else [])
        return f" with {' and '.join(parts)}" if parts else ""

    def _told(self, *traits: str) -> str:
        return " ".join(value for trait in traits if (value := self.own_genes.value(trait)))
