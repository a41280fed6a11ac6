"""The native engine against recorded episodes of the original, and what it promises besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parity.scienceworld import difference, read
from rlsd.envs.checker import check_env
from rlsd.envs.errors import EnvError
from rlsd.envs.opened_checks import Opener
from rlsd.envs.registry import make
from rlsd.envs.scienceworld.engine.world.devices import degrees
from rlsd.envs.scienceworld.engine.world.scala import Bag, JavaRandom, hash_map_order
from rlsd.envs.scienceworld.env import ScienceWorldEnv
from rlsd.envs.scienceworld.native import COVERED, NativeEngine
from rlsd.envs.scienceworld.task_types import TASK_TYPES

RECORD = Path(__file__).parents[2] / "data" / "scienceworld_native.jsonl.xz"
EPISODES = list(read(RECORD))


QUICK = 2
"""Episodes of each type, the shortest ones, that every run of the tests replays."""


def recorded(name: str) -> list[dict]:
    mine = [episode for episode in EPISODES if episode["task_type"] == name]
    return sorted(mine, key=lambda episode: len(episode["steps"]))


@pytest.mark.parametrize("name", COVERED)
def test_short_recorded_episodes_repeat_character_by_character(name: str) -> None:
    mine = recorded(name)
    assert len(mine) >= 3, f"too few recorded episodes of {name}"
    assert [found for episode in mine[:QUICK] if (found := difference(episode, NativeEngine()))] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERED)
def test_all_recorded_episodes_repeat_character_by_character(name: str) -> None:
    assert [found for episode in recorded(name) if (found := difference(episode, NativeEngine()))] == []


def test_a_changed_record_is_found() -> None:
    episode = next(e for e in EPISODES if len(e["steps"]) > 2)
    changed = {**episode, "steps": [list(step) for step in episode["steps"]]}
    changed["steps"][2][1] += "!"
    assert "step 2" in difference(changed, NativeEngine())


def test_the_environment_keeps_the_contract() -> None:
    kwargs = {"task_types": "lifespan-longest-lived", "backend": "native", "list_actions": False}
    assert [(f.name, f.message) for f in check_env(Opener.named("rlsd/ScienceWorld-v0", kwargs)) if not f.ok] == []


def test_listed_actions_come_back_as_valid() -> None:
    env = ScienceWorldEnv(task_types="find-animal", backend="native")
    _, info = env.reset(options={"task": "find-animal/3"})
    for _ in range(15):
        action = env.expert("explorer")
        assert action in info["admissible_actions"]
        _, _, ended, _, info = env.step(str(action))
        assert info["valid_action"]
        if ended:
            break


@pytest.mark.parametrize("name", COVERED)
def test_the_plan_wins_from_the_start_and_after_a_detour(name: str) -> None:
    env = ScienceWorldEnv(task_types=name, backend="native", list_actions=False)
    for detour in ((), ("wait1", "look around", "pick up orange")):
        env.reset(options={"task": f"{name}/0"})
        for action in detour:
            env.step(action)
        known, ended, info = env.hindsight(), False, {}
        assert known.distance == len(known.plan) > 0
        while not ended and (action := env.expert("oracle")) is not None:
            _, _, ended, _, info = env.step(action)
        assert info["success"]
        assert env.hindsight().distance == 0
        assert env.hindsight().demonstration[0] in known.demonstration


@pytest.mark.parametrize("name", COVERED)
def test_the_explorer_wins_every_task_type(name: str) -> None:
    env = ScienceWorldEnv(task_types=name, backend="native", list_actions=False)
    env.reset(options={"task": f"{name}/0"})
    ended, info = False, {}
    while not ended:
        _, _, ended, truncated, info = env.step(str(env.expert("explorer")))
        assert not truncated
    assert info["success"]


def test_the_explorer_looks_around_once_in_each_room_before_it_touches_anything() -> None:
    env = ScienceWorldEnv(task_types="find-animal", simplifications="easy", backend="native", list_actions=False)
    env.reset(options={"task": "find-animal/0"})
    actions, ended = [], False
    while not ended:
        actions.append(str(env.expert("explorer")))
        _, _, ended, _, _ = env.step(actions[-1])
    assert actions == [
        "go to kitchen",
        "go to outside",
        "look around",
        "focus on blue jay",
        "pick up blue jay",
        "go to kitchen",
        "look around",
        "move blue jay to red box",
    ]


def test_all_task_types_are_covered_and_none_needs_java() -> None:
    assert set(COVERED) == set(TASK_TYPES)
    assert not make("rlsd/ScienceWorld-v0").blocking


def test_an_unknown_task_type_is_refused_by_name() -> None:
    with pytest.raises(EnvError, match=r"unknown task type 'grow-plants'.*grow-plant"):
        make("rlsd/ScienceWorld-v0", task_types="grow-plants", backend="native")


def test_random_numbers_are_those_of_java() -> None:
    draw = JavaRandom(42)
    assert [draw.below(100) for _ in range(5)] == [30, 63, 48, 84, 70]
    skipped = JavaRandom(42)
    skipped.skip(3)
    assert skipped.below(100) == 84


def test_large_sets_of_one_hash_begin_behind_the_end_of_their_table() -> None:
    assert Bag(range(114)).items() == list(range(114))
    assert Bag(range(122)).items() == list(range(122))
    assert Bag(range(130)).items() == [*range(122, 130), *range(122)]


def test_a_map_of_texts_is_iterated_from_its_last_bucket() -> None:
    assert sorted(hash_map_order(["move object", "pick up", "look in"])) == ["look in", "move object", "pick up"]


@pytest.mark.parametrize(("temperature", "shown"), [(10.5, "11"), (-0.4, "-0"), (99.49, "99"), (-10.5, "-11")])
def test_halves_of_degrees_are_rounded_away_from_zero(temperature: float, shown: str) -> None:
    assert degrees(temperature) == f"{shown} degrees celsius"


def test_what_has_come_within_reach_elsewhere_can_be_named_for_teleporting() -> None:
    engine = NativeEngine(lists=False)
    engine.open("find-animal", 3, "teleportAction")
    actions = ("teleport to kitchen", "teleport to orange juice", "open fridge", "teleport to orange juice")
    assert [engine.step(action).observation for action in actions] == [  # as the original answers
        "You teleport to the kitchen.",
        "No known action matches that input.",
        "The fridge is now open.",
        "Its not clear how to go to orange juice.",
    ]
