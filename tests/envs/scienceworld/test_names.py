"""Names of many things at once are those of one thing after the other."""

from __future__ import annotations

import random
from collections import Counter
from itertools import chain

import numpy as np
import pytest

from rlsd.envs.scienceworld.engine.actions.census import Census
from rlsd.envs.scienceworld.engine.actions.lots import Book, FewLots, ManyLots
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.containers import vessel
from rlsd.envs.scienceworld.engine.world.physics import advance
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

WORDS = [f"name {i}" for i in range(60)]


@pytest.mark.parametrize("seed", range(6))
def test_lots_drawn_for_all_at_once_are_those_drawn_one_by_one(seed: int) -> None:
    draw = random.Random(seed)
    kinds = [tuple(draw.sample(WORDS, draw.randint(1, 17))) for _ in range(12)]
    names = [draw.choice(kinds) for _ in range(40)]
    one, other, book = JavaRandom(seed), JavaRandom(seed), Book()
    for _ in range(3):
        few, many = FewLots(names), ManyLots(names, book)
        for _ in range(4):
            assert many.draw(one) == few.draw(other)
            assert one.state == other.state
        draw.shuffle(names)


def test_lots_of_names_that_never_suffice_take_all_attempts() -> None:
    names = [("a", "b")] * 30
    draw = JavaRandom(1)
    ManyLots(names, Book()).draw(draw)
    expected = JavaRandom(1)
    FewLots(names).draw(expected)
    assert draw.state == expected.state


def test_many_draws_at_once_are_the_draws_in_turn() -> None:
    at_once, in_turn = JavaRandom(5), JavaRandom(5)
    assert at_once.bits(600).tolist() == [in_turn.below(1 << 31) for _ in range(600)]
    assert at_once.state == in_turn.state


def test_a_number_that_java_would_draw_again_is_drawn_again() -> None:
    names = [("a", "b", "c")] * 30
    for state in (0xFFFFFFFFFFFF, 0x7FFFFFFFFFFF):  # the next bits may be anything; below them all, the sure ones
        one, other = JavaRandom(), JavaRandom()
        one.state = other.state = state
        many = ManyLots(names, Book())
        many._safe = 0  # as if no bits were sure
        assert many.draw(one) == FewLots(names).draw(other)
        assert one.state == other.state


def test_a_census_knows_after_every_change_who_alone_has_a_name() -> None:
    draw, state = random.Random(3), State(advance)
    things = [make(state, "apple") for _ in range(12)]
    census, names = Census(), dict[object, tuple[str, ...]]()
    for _ in range(200):
        changed: dict[Thing, tuple[str, ...]] = {
            t: tuple(sorted(draw.sample(WORDS[:20], draw.randint(0, 6)))) for t in draw.sample(things, 3)
        }
        gone = [t for t in draw.sample(things, 2) if t in names and t not in changed]
        census.change(gone, changed)
        names = {t: some for t, some in {**names, **changed}.items() if t not in gone}
        count = Counter(chain.from_iterable(names.values()))
        alone = {t: next((name for name in some if count[name] == 1), None) for t, some in names.items()}
        assert census.own == {t: name for t, name in alone.items() if name is not None}
        assert census.names == names
        assert all(census.is_name(word) == (count[word] > 0) for word in WORDS)


def test_a_row_of_a_book_is_entered_once() -> None:
    book, names = Book(), [("a", "b"), ("b", "c")]
    assert np.array_equal(book.rows([*names, names[0]]), [0, 1, 0])
    assert np.array_equal(book.rows(names), [0, 1])


def test_a_list_tells_of_liquids_in_the_next_room_as_soon_as_they_are_there() -> None:
    session = Session("find-animal", 3, "")
    kitchen = next(room for room in session.universe.inside.items() if room.name == "kitchen")
    hallway = next(room for room in session.universe.inside.items() if room.name == "hallway")
    session.agent.roam(kitchen)
    assert "dunk hallway into jug" not in session.valid()
    kitchen.put(vessel(session.state, "jug"))
    assert "dunk hallway into jug" not in session.valid()
    hallway.put(make(session.state, "water"))
    assert "dunk hallway into jug" in session.valid()
