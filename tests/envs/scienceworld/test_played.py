"""Episodes without lists of actions: what is left out changes nothing that is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.parity.scienceworld import read, told
from rlsd.envs.scienceworld.engine.played import Played
from rlsd.envs.scienceworld.native import NativeEngine

RECORD = Path(__file__).parents[2] / "data" / "scienceworld_native.jsonl.xz"
EPISODES = list(read(RECORD))
SEEN = 7
"""Fields of `told` before the list."""


@pytest.mark.parametrize("name", ["lifespan-shortest-lived", "test-conductivity"])
def test_an_episode_with_flying_bees_is_the_same_without_lists_and_a_list_is_that_of_its_step(name: str) -> None:
    episode = next(e for e in EPISODES if e["task_type"] == name and e["mode"] == "seasons")
    engine = NativeEngine(lists=False)
    shown = [engine.open(episode["task_type"], episode["variation"], episode["simplifications"])]
    shown += [engine.step(action) for action, *_ in episode["steps"][1:]]
    assert [told(replace(one, valid=()))[:SEEN] for one in shown] == [step[1 : SEEN + 1] for step in episode["steps"]]
    at = len(shown) // 2
    assert told(shown[at]) == episode["steps"][at][1:]


def test_nothing_is_drawn_while_the_bees_are_shut_in() -> None:
    played = Played(("use-thermometer", 0, "teleportAction"), lists=False)
    for action in ("look around", "teleport to greenhouse", "wait", "look around"):
        played.step(action)
    assert not played.draws
    played.step("open bee hive")
    assert played.draws


def test_bees_of_an_open_hive_are_followed_once_somebody_could_see_them() -> None:
    key = "use-thermometer", 9, "openContainers"  # it starts in the bedroom
    eager, lazy = NativeEngine(), Played(key, lists=False)
    eager.open(*key)
    lazy.step("look around")
    for action in ("wait", "wait1", "open door to hallway", "wait"):
        assert lazy.step(action) == eager.step(action).observation
    assert not lazy.draws
    for action in ("go to hallway", "look at greenhouse", "open door to greenhouse", "wait", "look at greenhouse"):
        assert lazy.step(action) == eager.step(action).observation
    assert lazy.draws


def test_an_input_that_no_list_can_hold_is_known_to_be_in_none_without_making_it() -> None:
    played = Played(("use-thermometer", 0, ""), lists=False)
    played.step("look around")
    before = played.valid()
    for junk in ("xyzzy", "eat the moon", "move orange to the moon"):
        assert played.step(junk).startswith("No known action")
        assert junk not in before
    assert played.replays == 0
    assert "look around" in before
    assert played.replays == 1


def test_with_lists_and_without_the_same_inputs_are_valid() -> None:
    episode = next(e for e in EPISODES if e["task_type"] == "find-plant" and e["mode"] == "junk")
    key = episode["task_type"], episode["variation"], episode["simplifications"]
    eager, lazy = NativeEngine(), NativeEngine(lists=False)
    one, other = eager.open(*key), lazy.open(*key)
    for action, *_ in episode["steps"][1:]:
        assert (action in other.valid) == (action in one.valid)
        one, other = eager.step(action), lazy.step(action)
