"""Questions with a unique answer: chains of functional relations, from a named entity to a value."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from rlsd.envs.errors import EnvError
from rlsd.envs.searchqa.questions.types import Hop, Question, Support
from rlsd.envs.searchqa.world.encyclopedia import Encyclopedia, dated_variants
from rlsd.envs.searchqa.world.relations import BY_NAME, KINDS, Relation

_SAME_ANSWER = 3
"""Maximum number of questions per volume with the same answer: a constant answer must not score."""
_ATTEMPTS = 20_000


def questions(volume: Encyclopedia, hops: Sequence[int], *, seed: str, prefix: str) -> tuple[Question, ...]:
    """One question for each entry of `hops`, with that many hops, all different; ids are `prefix` and the number.

    Raises:
        EnvError: the volume does not have enough.
    """
    draw = random.Random(f"rlsd questions {seed}")
    articles = {passage.title: passage.text for passage in volume.articles}
    names = list(volume.kinds)
    answers: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    out: list[Question] = []
    for number, length in enumerate(hops):
        for _ in range(_ATTEMPTS):
            chain = _chain(draw, volume, draw.choice(names), length)
            if chain is None or chain in seen or not _sound(chain, volume, articles, answers):
                continue
            seen.add(chain)
            question = _question(draw, volume, chain, f"{prefix}{number}", articles)
            answers[question.answers[0]] += 1
            out.append(question)
            break
        else:
            raise EnvError(
                f"no further {length}-hop question in a volume of {len(names)} entities: ask for fewer questions, or "
                "raise the counts of WorldConfig"
            )
    return tuple(out)


Chain = tuple[str, ...]
"""A named entity, then relation names: ("The Quiet Key of Dalo", "author", "teacher")."""


def _chain(draw: random.Random, volume: Encyclopedia, start: str, length: int) -> Chain | None:
    """A random walk of `length` relations; None at a dead end."""
    here, walked = start, [start]
    for step in range(length):
        facts = volume.facts.get(here, {})
        last = step == length - 1
        options = [name for name in facts if last or (BY_NAME[name].value in KINDS and BY_NAME[name].called)]
        if not options:
            return None
        relation = draw.choice(options)
        walked.append(relation)
        here = facts[relation]
    return tuple(walked)


def _values(chain: Chain, volume: Encyclopedia) -> list[str]:
    """The entities of the chain and its answer: one more than the relations."""
    values = [chain[0]]
    for relation in chain[1:]:
        values.append(volume.facts[values[-1]][relation])
    return values


def _sound(chain: Chain, volume: Encyclopedia, articles: dict[str, str], answers: Counter[str]) -> bool:
    """No entity occurs twice, no earlier article contains the answer, and the answer is not used too often."""
    values = _values(chain, volume)
    answer = values[-1]
    if len(set(values)) < len(values) or answers[answer] >= _SAME_ANSWER:
        return False
    return not any(answer in articles[entity] for entity in values[:-2]) and answer not in values[0]


def _question(draw: random.Random, volume: Encyclopedia, chain: Chain, name: str, articles: dict[str, str]) -> Question:
    values = _values(chain, volume)
    relations: list[Relation] = [BY_NAME[r] for r in chain[1:]]
    phrase = values[0]
    for relation in relations[:-1]:
        phrase = draw.choice(relation.called).format(x=phrase)
    hops = tuple(
        Hop(
            asks=draw.choice(r.called).format(x=values[i]) if r.called else f"{values[i]}: {r.query}",
            answer=values[i + 1],
            support=i,
            query=f"{values[i]} {r.query}",
        )
        for i, r in enumerate(relations)
    )
    return Question(
        question_id=name,
        text=draw.choice(relations[-1].asks).format(x=phrase),
        answers=dated_variants(values[-1]),
        kind=f"{len(relations)}-hop",
        source="generated",
        hops=hops,
        support=tuple(Support(title=v, text=articles[v]) for v in values[:-1]),
    )
