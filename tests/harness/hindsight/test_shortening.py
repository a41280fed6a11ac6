"""Hindsight that is too long: the items that stay are those that dropping one after the other would leave, and finding
them takes work in proportion to the text."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from rlsd.agents.chat import ChatFormat
from rlsd.envs.core import Hindsight
from rlsd.harness.hindsight.contexts import Section
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.hindsight.shortening import CUT, shortened
from tests.support.tokenizers import FAMILIES

WORDS = ("key", "go to desk 1.", "…", "open,", "x" * 30, "  ", "\n", "a", "42")


def one_by_one(sections: Sequence[Section], budget: int, chat: ChatFormat) -> list[Section] | None:
    """What `shortened` is to find, the slow way."""
    now = list(sections)
    while sum(size(chat, section) for section in now) > budget:
        whole = [s.items[:-1] if s.items[-1] == CUT else s.items for s in now]
        longest = max(range(len(now)), key=lambda i: len(whole[i]))
        if len(whole[longest]) <= 1:
            return None
        now[longest] = Section(title=now[longest].title, items=(*whole[longest][:-1], CUT))
    return now


def size(chat: ChatFormat, section: Section) -> int:
    return len(chat.encode(f"\n{section.title}:\n" + "\n".join(item.strip() for item in section.items)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_items_left_are_those_of_dropping_one_by_one(family: str) -> None:
    chat, rng = ChatFormat(FAMILIES[family]()), random.Random(7)
    outcomes = {"all": 0, "some": 0, "none": 0}
    for _ in range(60):
        sections = [
            Section(
                title=rng.choice(("plan", "missing")),
                items=tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 25))),
            )
            for _ in range(rng.randint(1, 3))
        ]
        budget = rng.randint(1, 250)
        expected = one_by_one(sections, budget, chat)
        assert shortened(sections, budget, lambda section: size(chat, section)) == expected
        outcomes["none" if expected is None else "all" if expected == sections else "some"] += 1
    assert min(outcomes.values()) > 2, outcomes


class Counting(ChatFormat):
    """Counts the characters of hindsight that it encodes."""

    scanned = 0

    def hindsight(self, text: str) -> tuple[int, ...]:
        self.scanned += len(text)
        return super().hindsight(text)


def test_the_work_is_in_proportion_to_the_number_of_items() -> None:
    chat = Counting(FAMILIES["compact"]())
    hinter = Hinter(HintSettings(contexts=("plan", "unmet_goals")), chat, context=4096, max_new_tokens=8)

    def scanned(items: int) -> int:
        knowledge = Hindsight(
            plan=tuple(f"go to desk {i % 10} and take the mug" for i in range(items)),
            missing=tuple(f"the mug is not on desk {i % 10}" for i in range(items)),
        )
        before = chat.scanned
        insertion = hinter.at(knowledge, knowledge, used=100)
        assert insertion is not None
        assert 200 < len(insertion.turn) <= 256
        return chat.scanned - before

    few, many = scanned(1000), scanned(4000)
    assert few > 1000
    assert many < 4.2 * few
    assert many < 1.5 * 4000 * (len("go to desk 1 and take the mug\n") + len("the mug is not on desk 1\n"))
