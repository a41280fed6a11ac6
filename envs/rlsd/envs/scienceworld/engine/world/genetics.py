"""Genes of pea plants: two alleles a trait, drawn at random or inherited."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.envs.scienceworld.engine.world.scala import JavaRandom

HEIGHT, SHAPE, COLOR, FLOWER = "plant height", "seed shape", "seed color", "flower color"
_PEAS = {
    HEIGHT: ("tall", "short", "height"),
    SHAPE: ("round", "wrinkly", "peas"),
    COLOR: ("green", "orange", "peas"),
    FLOWER: ("purple", "white", "flowers"),
}
"""Trait: dominant value, recessive value, what is said after it."""


@dataclass(frozen=True, slots=True)
class Genes:
    """Whether each trait's allele from each parent is dominant."""

    first: dict[str, bool]
    second: dict[str, bool]

    def value(self, trait: str) -> str:
        """What shows: the dominant value, unless both alleles are recessive."""
        dominant, recessive, _ = _PEAS[trait]
        return dominant if self.first[trait] or self.second[trait] else recessive

    def phrase(self, trait: str) -> str:
        return f"{self.value(trait)} {_PEAS[trait][2]}"


def random_genes(draw: JavaRandom) -> Genes:
    first = {trait: draw.below(2) == 0 for trait in _PEAS}
    return Genes(first, {trait: draw.below(2) == 0 for trait in _PEAS})


def offspring(one: Genes, other: Genes, draw: JavaRandom) -> Genes:
    """One of the four squares for each trait, the first of a shuffle."""
    first, second = dict[str, bool](), dict[str, bool]()
    for trait in _PEAS:
        squares = [
            (a, b) for a in (one.first[trait], one.second[trait]) for b in (other.first[trait], other.second[trait])
        ]
        first[trait], second[trait] = draw.shuffled(squares)[0]
    return Genes(first, second)
