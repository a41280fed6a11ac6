"""A shop under fire: random actions and mutated product files, a hundredth of each in the fast tests."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.action_checks import HOSTILE
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import RlsdError
from rlsd.envs.webshop.catalogue.catalogue import MemoryCatalogue
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.shop import Session
from rlsd.envs.webshop.env import WebShopEnv
from rlsd.envs.webshop.generate.generator import generated
from rlsd.envs.webshop.shops import read_products
from tests.support import webshop_shelf as shelf

ODD = (
    "", "\x00", "\ud800", "search[<r>]", "search[<a>]", "search[<c>]", "search[<q> tea]", "click[]]", "click[[x]]",
    "search[" + "shoe " * 300 + "]", "click[next >]", "click[< prev]", "click[buy now]", "search[item_page done]",
    "search[½ ★ 日本]", "click[search]", "Click[buy now]",
)  # fmt: skip


def fire(env: TextEnv, draw: random.Random, actions: int) -> None:
    """Random actions; after each the page must be sound."""
    seen = 0
    while seen < actions:
        _, info = env.reset(seed=draw.randrange(2**31))
        ended = False
        while not ended and seen < actions:
            seen += 1
            roll = draw.random()
            clicks = info["admissible_actions"]
            if roll < 0.75 and clicks:
                action = draw.choice(clicks)
            elif roll < 0.9:
                action = draw.choice(ODD + HOSTILE)
            else:
                action = (
                    f"search[{' '.join(draw.choices(['shoes', 'tea', 'black', 'large', 'organic', 'socks'], k=3))}]"
                )
            observation, reward, terminated, truncated, info = env.step(action)
            if action in clicks:
                assert info["valid_action"], action
            assert 0 <= reward <= 1
            assert 0 <= info["score"] <= 1
            assert (terminated and "parts" in info) or not info["score"]
            assert env.observation_space.contains(observation)
            if draw.random() < 0.02:
                env.hindsight()
                env.expert("explorer")
            ended = terminated or truncated


@pytest.mark.parametrize("protocol", ["rlsd", "original"])
@pytest.mark.parametrize("actions", [5_000, pytest.param(500_000, marks=pytest.mark.slow)])
def test_random_actions_never_break_the_shop(protocol: str, actions: int) -> None:
    kwargs: dict[str, Any] = {"catalogue": "gen-tiny", "protocol": protocol}
    catalogue = generated("gen-tiny")
    before = catalogue.digest
    fire(WebShopEnv(**kwargs, max_steps=40), random.Random(actions), actions)
    again = MemoryCatalogue("again", (catalogue.product(i) for i in range(len(catalogue))))
    assert again.digest == before  # nothing that is shared was changed


def mutate(records: list[Any], draw: random.Random) -> str:
    """A products file with one to three things changed in a product, or in its text."""
    records = copy.deepcopy(records)
    for _ in range(draw.randint(1, 3)):
        record = draw.choice(records)
        if not isinstance(record, dict) or not record:
            continue
        key = draw.choice(sorted(record))
        kind = draw.randrange(7)
        if kind == 0:
            del record[key]
        elif kind == 1:
            record[key] = draw.choice(
                [None, 7, -1.5, True, [], {}, [[]], {"a": None}, "", "\ud800", "$", "$1.1.1", "nan"]
            )
        elif kind == 2 and isinstance(record[key], str):
            record[key] = "".join(draw.choices("abc $./[]<>&\"'\n\t☃\u202e[SEP]click[x]", k=draw.randrange(40)))
        elif kind == 3:
            record["customization_options"] = draw.choice(
                [
                    {"A": None},
                    {"A": [None]},
                    {"": [{"value": ""}]},
                    {"a": [{"value": "x/y"}] * 3, "A": [{"value": "z"}]},
                    [1],
                ]
            )
        elif kind == 4:
            records.insert(draw.randrange(len(records)), draw.choice([None, 3, [], "x", copy.deepcopy(record)]))
        elif kind == 5:
            record["pricing"] = draw.choice(["$1,299.99", "$5 - $3", "$1 $2 $3", "€5", "$٣", "0", "$-5"])
        else:
            record["asin"] = draw.choice(
                ["nan", "x" * 11, "", "B000000001", "buy now", "< prev", "ab\n[SEP]", "search"]
            )
    text = json.dumps(records)
    return damaged(text, draw) if draw.random() < 0.25 else text


def damaged(text: str, draw: random.Random) -> str:
    """Cut short, or one character more or less."""
    at = draw.randrange(len(text))
    return draw.choice([text[:at], text[:at] + draw.choice('{}[]",:\\x') + text[at:], text[:at] + text[at + 1 :]])


def shop_in(products: list[Product], draw: random.Random) -> None:
    """A few actions in a shop of these products, in both behaviours."""
    for original in (False, True):
        session = Session(MemoryCatalogue("fuzz", products), "Find me shoes", original=original)
        for _ in range(8):
            choices = [f"click[{label}]" for label in session.page.clickables] + ["search[red running shoes tea]"]
            session.act(draw.choice(choices))
            if session.bought:
                assert session.product is not None
                session.show_done(0.5)
                break


@pytest.mark.parametrize("files", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_mutated_product_file_is_read_or_refused_with_one_clear_error(tmp_path: Path, files: int) -> None:
    draw = random.Random(files)
    path = shelf.write_files(tmp_path)
    attributes = json.dumps(shelf.ATTRIBUTES)
    read, refusals = 0, []
    for _ in range(files):
        entries = damaged(attributes, draw) if draw.random() < 0.1 else attributes
        (tmp_path / "items_ins_v2_1000.json").write_text(entries, encoding="utf-8", errors="surrogatepass")
        path.write_text(mutate(shelf.RECORDS, draw), encoding="utf-8", errors="surrogatepass")
        try:
            products = list(read_products(path))
        except RlsdError as error:
            refusals.append(str(error))
            continue
        read += 1
        if products:
            shop_in(products, draw)
    assert read > files // 10
    assert len(refusals) > files // 10
    names = ("items_shuffle_1000", "items_ins_v2_1000")
    assert all(any(name in refusal for name in names) and len(refusal) < 1000 for refusal in refusals)
