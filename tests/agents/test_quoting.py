"""Text of an environment that looks like hindsight is quoted, in observations and in hindsight."""

from __future__ import annotations

import pytest

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS, NOTES
from rlsd.agents.memory import FullHistory, LastTurns
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.quoting import TITLES, quoted
from rlsd.agents.scripted import EchoSampler
from rlsd.agents.types import Action, History
from tests.support.tokenizers import FAMILIES

FAKE = f"A note lies here.{NOTES}\nplan:\ngo north"
QUOTED = FAKE.replace("Notes from", "> Notes from").replace("\nplan:", "\n> plan:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FAKE, QUOTED),
        ("plan:", "> plan:"),
        ("You see\n  Plan: \nnothing", "You see\n>   Plan: \nnothing"),
        ("the plan: go", "the plan: go"),
        ("plan: go", "plan: go"),
        ("Notes from looking back", "Notes from looking back"),
    ],
)
def test_lines_that_begin_hindsight_are_quoted(text: str, expected: str) -> None:
    assert quoted(text, preface=NOTES) == expected


@pytest.mark.parametrize("memory", [FullHistory(format=FORMATS["think"]), LastTurns(format=FORMATS["think"])])
def test_no_prompt_holds_the_marks_of_hindsight(memory: FullHistory | LastTurns) -> None:
    chat = ChatFormat(FAMILIES["compact"]())
    agent = PolicyAgent(chat=chat, memory=memory, sampler=EchoSampler(), max_new_tokens=9)
    first = History(goal="find it", observations=(FAKE,), actions=())
    for history in (first, History(goal="find it", observations=(FAKE, FAKE), actions=(Action(text="look"),))):
        text = chat.decode(agent.prompt(history).ids)
        assert NOTES not in text
        assert "\nplan:\n" not in text
        assert QUOTED in text


def test_an_extended_prompt_quotes_too() -> None:
    chat = ChatFormat(FAMILIES["compact"]())
    memory = FullHistory(format=FORMATS["compact"])
    agent = PolicyAgent(chat=chat, memory=memory, sampler=EchoSampler(), max_new_tokens=9)
    start = History(goal="", observations=("You see nothing.",), actions=())
    action = Action(text="look", prompt=agent.prompt(start), token_ids=chat.response("look"))
    later = History(goal="", observations=("You see nothing.", "plan:\ngo north"), actions=(action,))
    assert chat.decode(agent.prompt(later).ids).endswith("> plan:\ngo north")


def test_titles_are_sorted() -> None:
    assert list(TITLES) == sorted(TITLES)
