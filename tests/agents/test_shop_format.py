"""Prompts and actions of agents that shop."""

from __future__ import annotations

from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import FullHistory, LastTurns
from rlsd.agents.types import History
from rlsd.envs.webshop.engine.shop import parse
from rlsd.envs.webshop.env import WebShopEnv


def test_the_two_actions_are_explained_and_the_page_s_own_listed() -> None:
    env = WebShopEnv(catalogue="gen-tiny")
    observation, info = env.reset(seed=0)
    history = History(
        goal=info["goal"], observations=(observation,), actions=(), admissible=tuple(info["admissible_actions"])
    )
    (shown,) = LastTurns(format=FORMATS["shop"]).messages(history)
    assert FORMATS["shop"].instructions in shown.text
    assert info["goal"] in shown.text
    assert shown.text.endswith("search[<your query>]")
    assert FullHistory(format=FORMATS["shop"]).messages(history)[0].text.startswith(FORMATS["shop"].instructions)


def test_what_the_prompt_asks_for_is_what_the_shop_understands() -> None:
    said = "<think>It is the cheapest.</think><action>click[buy now]</action>"
    found = FORMATS["shop"].parse(said)
    assert found.valid
    assert parse(found.text, original=True) == ("click", "buy now")
    assert not FORMATS["shop"].parse("click[buy now]").valid
