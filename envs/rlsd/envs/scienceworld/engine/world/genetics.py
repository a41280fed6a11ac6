"""Genes of plants: two alleles a trait, drawn at random or inherited."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.envs.scienceworld.engine.world.scala import JavaRandom

HEIGHT, SHAPE, COLOR = "plant height", "seed shape", "seed color"
LEAF_SIZE, LEAF_SHAPE, FLOWER_SIZE, FLOWER_COLOR = "leaf size", "leaf shape", "flower size", "flower color"
TRAITS: dict[str, dict[str, tuple[str, str]]] = {
    "pea": {
        HEIGHT: ("tall", "short"),
        SHAPE: ("round", "wrinkly"),
        COLOR: ("green", "orange"),
        FLOWER_COLOR: ("purple", "white"),
    },
    "unknown B": {
        HEIGHT: ("short", "tall"),
        COLOR: ("green", "yellow"),
        FLOWER_SIZE: ("large", "small"),
        FLOWER_COLOR: ("orange", "yellow"),
    },
    "unknown C": {
        HEIGHT: ("short", "tall"),
        LEAF_SHAPE: ("pointed", "round"),
        FLOWER_SIZE: ("large", "small"),
        FLOWER_COLOR: ("orange", "yellow"),
    },
    "unknown D": {
        SHAPE: ("spherical", "ovate"),
        LEAF_SIZE: ("medium", "large"),
        FLOWER_SIZE: ("small", "medium"),
        FLOWER_COLOR: ("blue", "red"),
    },
    "unknown E": {
        COLOR: ("blue", "brown"),
        SHAPE: ("round", "square"),
        LEAF_SHAPE: ("elliptical", "linear"),
        FLOWER_SIZE: ("small", "large"),
    },
}
"""Plant → trait → dominant and recessive value, in the order in which the original draws them."""
_SET_ORDER = {"unknown E": (COLOR, LEAF_SHAPE, FLOWER_SIZE, SHAPE)}
"""The other order in which it draws them where one trait is set."""


@dataclass(frozen=True, slots=True)
class Genes:
    """Whether each trait's allele from each parent is dominant."""

    kind: str
    first: dict[str, bool]
    second: dict[str, bool]

    def value(self, trait: str) -> str:
        """What shows: the dominant value, unless both alleles are recessive; "" for a trait that the plant lacks."""
        if trait not in self.first:
            return ""
        dominant, recessive = TRAITS[self.kind][trait]
        return dominant if self.first[trait] or self.second[trait] else recessive


def random_genes(draw: JavaRandom, kind: str) -> Genes:
    first = {trait: draw.below(2) == 0 for trait in TRAITS[kind]}
    return Genes(kind, first, {trait: draw.below(2) == 0 for trait in TRAITS[kind]})


def pure_genes(draw: JavaRandom, kind: str, pure: str, dominant: bool) -> Genes:
    """Random but for one trait, in which both alleles are dominant, or both recessive."""
    order = _SET_ORDER.get(kind, tuple(TRAITS[kind]))
    first, second = (
        {trait: dominant if trait == pure else draw.below(2) == 0 for trait in order} for _ in ("first", "second")
    )
    return Genes(kind, first, second)


def offspring(one: Genes, other: Genes, draw: JavaRandom) -> Genes:
    """One of the four squares for each trait, the first of a shuffle."""
    first, second = dict[str, bool](), dict[str, bool]()
    for trait in one.first:
        squares = [
            (a, b) for a in (one.first[trait], one.second[trait]) for b in (other.first[trait], other.second[trait])
        ]
        first[trait], second[trait] = draw.shuffled(squares)[0]
    return Genes(one.kind, first, second)
