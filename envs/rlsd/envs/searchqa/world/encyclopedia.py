"""One volume of the encyclopedia: entities with their facts, and the articles that state them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.world.names import EIGHTHS, Names
from rlsd.envs.searchqa.world.relations import (
    BY_NAME,
    GATHERINGS,
    KINDS,
    MONTHS,
    OPENINGS,
    PRONOUNS,
    REMARKS,
    TRADES,
    Kind,
    Relation,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """Settings of a volume."""

    counts: Mapping[Kind, int] = field(
        default_factory=lambda: {"person": 220, "town": 80, "region": 20, "work": 140, "academy": 40, "river": 30}
    )
    """Articles of each kind. Omitted kinds do not exist, nor do relations with them."""
    relations: tuple[str, ...] = tuple(BY_NAME)
    gatherings: int = 60
    """Distractor paragraphs that mention people and works."""
    pool: int = 160
    """Size of the word lists for names; small ones make many similar names."""
    pronouns: float = 0.35
    """Share of sentences after the first that use a pronoun for the subject."""
    parts: tuple[int, int] = (0, EIGHTHS)
    """Half-open range of eighths of all names the volume draws from."""
    shelf: tuple[int, int] = (0, 1)
    """(number, of how many): volumes on different shelves share no entity."""


@dataclass(frozen=True, slots=True)
class Encyclopedia:
    """A volume. `facts[subject][relation]` is the value; every subject has an article under its name."""

    kinds: dict[str, Kind]
    facts: dict[str, dict[str, str]]
    articles: tuple[Passage, ...]

    def entities(self, kind: Kind) -> list[str]:
        return [name for name, its in self.kinds.items() if its == kind]


def build(seed: str, config: WorldConfig) -> Encyclopedia:
    """The volume of a seed; the same for the same seed and config.

    Raises:
        EnvError: a pool too small for the counts.
    """
    draw = random.Random(f"rlsd encyclopedia {seed}")
    names = Names(draw, pool=config.pool, parts=config.parts, shelf=config.shelf)
    kinds: dict[str, Kind] = {}
    for kind in KINDS:
        for _ in range(config.counts.get(kind, 0)):
            kinds[getattr(names, kind)()] = kind
    by_kind: dict[Kind, list[str]] = {kind: [n for n, k in kinds.items() if k == kind] for kind in KINDS}
    active = [r for r in (BY_NAME[name] for name in config.relations) if _exists(r, by_kind)]
    facts = _facts(draw, by_kind, active)
    trades = {name: draw.choice(TRADES) for name in by_kind["person"]}
    articles = [
        Passage(title=name, text=_article(draw, name, kind, facts[name], active, trades.get(name, ""), config.pronouns))
        for name, kind in kinds.items()
    ]
    if len(by_kind["person"]) >= 4 and by_kind["town"]:
        articles += [_gathering(draw, names, by_kind) for _ in range(config.gatherings)]
    draw.shuffle(articles)
    return Encyclopedia(kinds, facts, tuple(articles))


def dated_variants(value: str) -> tuple[str, ...]:
    """A date in the two usual orders, "14 March 1853" first; anything else alone."""
    day, *rest = value.split()
    if len(rest) == 2 and rest[0] in MONTHS:
        return value, f"{rest[0]} {day}, {rest[1]}"
    return (value,)


def _exists(relation: Relation, by_kind: Mapping[Kind, list[str]]) -> bool:
    return bool(by_kind.get(relation.subject)) and (relation.value not in KINDS or len(by_kind[relation.value]) > 1)


def _facts(draw: random.Random, by_kind: Mapping[Kind, list[str]], active: list[Relation]) -> dict[str, dict[str, str]]:
    facts: dict[str, dict[str, str]] = {name: {} for members in by_kind.values() for name in members}
    for relation in active:
        members = by_kind[relation.subject]
        if relation.name == "spouse":
            _marry(draw, members, facts)
            continue
        for name in members:
            facts[name][relation.name] = _value(draw, relation.value, by_kind, name)
    return facts


def _marry(draw: random.Random, people: list[str], facts: dict[str, dict[str, str]]) -> None:
    """Pairs, so that both articles agree; with an odd number one stays unmarried."""
    order = draw.sample(people, len(people))
    for one, other in zip(order[::2], order[1::2], strict=False):
        facts[one]["spouse"], facts[other]["spouse"] = other, one


def _value(draw: random.Random, kind: Kind, by_kind: Mapping[Kind, list[str]], subject: str) -> str:
    if kind == "date":
        return f"{draw.randint(1, 28)} {draw.choice(MONTHS)} {draw.randint(1700, 1899)}"
    if kind == "year":
        return str(draw.randint(1500, 1899))
    if kind == "number":
        return str(draw.randint(101, 999))
    while (value := draw.choice(by_kind[kind])) == subject:
        pass
    return value


def _article(
    draw: random.Random,
    name: str,
    kind: Kind,
    facts: Mapping[str, str],
    active: list[Relation],
    trade: str,
    pronouns: float,
) -> str:
    sentences = [draw.choice(OPENINGS[kind]).format(x=name, trade=trade)]
    stated = [r for r in active if r.name in facts]
    for relation in draw.sample(stated, len(stated)):
        pattern = draw.choice(relation.says)
        subject = PRONOUNS[kind].format(trade=trade) if draw.random() < pronouns else name
        sentence = pattern.format(x=subject, v=facts[relation.name])
        sentences.append(sentence[0].upper() + sentence[1:])
    return " ".join(sentences)


def _gathering(draw: random.Random, names: Names, by_kind: Mapping[Kind, list[str]]) -> Passage:
    fair = names.fair()
    people = ", ".join(draw.sample(by_kind["person"], 4))
    text = draw.choice(GATHERINGS).format(x=fair, town=draw.choice(by_kind["town"]), people=people)
    if by_kind["work"]:
        text += " " + draw.choice(REMARKS).format(work=draw.choice(by_kind["work"]))
    return Passage(title=fair, text=text)
