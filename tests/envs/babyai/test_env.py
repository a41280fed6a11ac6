from __future__ import annotations

import random
from typing import Any

import gymnasium
import pytest

from rlsd.envs import Rewindable, TextEnv, check_env, make
from rlsd.envs.errors import EnvError, TaskError

pytest.importorskip("minigrid", reason="needs minigrid: pip install 'rlsd[babyai]'")

from rlsd.envs.babyai.env import BabyAIEnv
from rlsd.envs.babyai.words import COMMANDS


def opened(task: str = "GoToLocal/test/3", **more: Any) -> BabyAIEnv:
    level, split, _ = task.split("/")
    env = BabyAIEnv(level=level, split=split, **more)
    env.reset(options={"task": task})
    return env


def test_it_keeps_the_contract() -> None:
    def small() -> TextEnv:
        return make("rlsd/BabyAI-v0", level="UnlockLocal", split="valid")

    assert [finding.message for finding in check_env(small) if not finding.ok] == []
    assert isinstance(gymnasium.make("rlsd/BabyAI-v0").unwrapped, TextEnv)
    assert isinstance(BabyAIEnv(), Rewindable)


def test_an_episode_can_be_rewound() -> None:
    env = opened("PutNextLocal/valid/5")
    plan = env.hindsight().plan
    for action in ("turn left", plan[0], "dance"):
        env.step(action)
    expected = env.hindsight()
    saved = env.save()
    ends = []
    for _ in range(2):
        observation, info = env.restore(saved)
        assert observation.startswith("That is not a command.")
        assert not info["valid_action"]
        assert env.hindsight() == expected
        ends.append([(*env.step(action), env.hindsight()) for action in expected.plan])
    assert ends[0] == ends[1]
    assert ends[0][-1][2]


def test_a_snapshot_opens_the_episode_in_another_environment() -> None:
    first, second = opened("UnlockLocal/test/1"), BabyAIEnv(level="UnlockLocal", split="test")
    for action in first.hindsight().plan[:6]:
        first.step(action)
    second.restore(first.save())
    assert second.hindsight() == first.hindsight()
    assert second.step("turn left") == first.step("turn left")


def test_several_levels_take_turns() -> None:
    env = BabyAIEnv(level=["BabyAI-GoToObjS4-v0", "PickupLoc"], split="test")
    assert [task.task_id for task in env.tasks()[:4]] == [
        "GoToObjS4/test/0", "PickupLoc/test/0", "GoToObjS4/test/1", "PickupLoc/test/1",
    ]  # fmt: skip
    assert len(env.tasks()) == 240
    assert len(BabyAIEnv(level=["GoToObjS4", "PickupLoc", "GoTo"]).tasks()) == 3 * 6667


def test_an_episode_is_cut_after_max_steps_and_pays_by_its_length() -> None:
    env = opened("GoToObjS4/test/0", max_steps=10)
    plan = env.hindsight().plan
    ends = [env.step(action) for action in ("dance", *plan)]
    assert ends[-1][1] == ends[-1][4]["score"] == pytest.approx(1 - 0.9 * (len(plan) + 1) / 10)
    env = opened("GoToObjS4/test/0", max_steps=3)
    assert [env.step("dance")[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    assert env.step("dance")[4]["score"] == 0.0


@pytest.mark.parametrize("level", ["GoToLocal", "BlockedUnlockPickup", "PutNextS5N2Carrying", "MiniBossLevel"])
def test_a_command_does_something_exactly_where_it_is_listed_and_junk_does_nothing(level: str) -> None:
    draw = random.Random(level)
    env = opened(f"{level}/test/2", max_steps=1000)
    words = ["turn", "left", "go", "pick up", "toggle", "the", "door", "\x00", "中", ".", "1" * 300]
    for _ in range(400):
        action = draw.choice([*COMMANDS, " ".join(draw.choices(words, k=draw.randrange(5)))])
        before = env.save()
        _, listed = env.restore(before)
        _, reward, terminated, _, info = env.step(action)
        if terminated:
            assert (reward > 0) == info["success"]
            env.restore(before)
            continue
        assert reward == 0.0
        if action in COMMANDS:
            assert (
                info["valid_action"] == (action in listed["admissible_actions"]) == (grid(env.save()) != grid(before))
            )
        elif not info["valid_action"]:
            assert grid(env.save()) == grid(before)


def grid(saved: Any) -> tuple[Any, ...]:
    state = saved[1]
    return state.at, state.facing, state.carried, state.cells, state.things


@pytest.mark.parametrize(
    "given, told",
    [
        ({"level": "GoToRedBal"}, "unknown level 'GoToRedBal'. Did you mean 'GoToRedBall'"),
        ({"level": "KeyInBox"}, "level 'KeyInBox' is left out, since the package's bot does not solve it"),
        ({"level": []}, "expected one level, or several different ones"),
        ({"level": ["GoTo", "BabyAI-GoTo-v0"]}, "expected one level, or several different ones"),
        ({"split": "tset"}, "unknown split 'tset' of the levels. Did you mean 'test'"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
        ({"levels": "GoTo"}, "rlsd/BabyAI-v0 takes no argument 'levels'. Did you mean 'level'"),
    ],
)
def test_wrong_arguments_are_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(EnvError, match=told):
        BabyAIEnv(**given)


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(TaskError, match="unknown task 'GoToLocal/test/999'"):
        opened().reset(options={"task": "GoToLocal/test/999"})
