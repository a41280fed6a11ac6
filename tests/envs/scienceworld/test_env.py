"""The environment on a small fake engine; what the original says is tested in test_package.py."""

from __future__ import annotations

import pytest

from rlsd.envs.checker import check_env
from rlsd.envs.errors import EnvError, EnvLost, TaskError
from rlsd.envs.opened_checks import Opener
from rlsd.envs.scienceworld.env import ScienceWorldEnv
from rlsd.envs.scienceworld.shown import Subgoal, read_subgoals, understood
from rlsd.envs.scienceworld.task_types import TASK_TYPES, simplifications_of, task_types, tasks_of
from tests.support import fake_scienceworld as fake

SIZES = {"train": 3592, "valid": 1796, "test": 1819}


def open_env(split: str = "train", **kwargs) -> ScienceWorldEnv:
    return ScienceWorldEnv(engine=kwargs.pop("engine", fake.FakeEngine), split=split, **kwargs)


def test_the_environment_keeps_the_contract() -> None:
    opener = Opener(open=open_env, split=lambda name: open_env(split=name))
    assert [(f.name, f.message) for f in check_env(opener) if not f.ok] == []


def test_there_are_thirty_types_and_7207_variations_split_as_published() -> None:
    assert len(TASK_TYPES) == 30
    assert sum(kind.variations for kind in TASK_TYPES.values()) == 7207
    sizes = {s: len(tasks_of(TASK_TYPES.values(), s)) for s in ("train", "valid", "test")}
    assert sum(sizes.values()) == 7207
    assert sizes == SIZES
    boil = TASK_TYPES["boil"]
    assert [list(boil.split(s)) for s in ("train", "valid", "test")] == [
        list(range(14)),
        list(range(14, 21)),
        list(range(21, 30)),
    ]


def test_rewards_sum_up_to_the_score_and_the_solution_wins() -> None:
    env = open_env()
    env.reset(options={"task": "boil/0"})
    rewards, known = [], [env.hindsight()]
    for action in fake.GOLD:
        assert env.expert("oracle") == action
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        known.append(env.hindsight())
    assert rewards == [0.0, 0.5, 0.5]
    assert (terminated, truncated, info["success"], info["score"]) == (True, False, True, 1.0)
    assert [k.distance for k in known] == [3.0, 2.0, 1.0, 0.0]
    assert known[1].plan == fake.GOLD[1:]
    assert known[1].changed == (
        "subgoal reached: be in the hall",
        "you are now elsewhere: This room is called the hall.",
    )
    assert known[3].changed == (
        "subgoal reached: take the apple",
        "you carry now: an apple",
        "you no longer carry: nothing",
    )
    assert known[0].missing == ("focus on the apple", "take the apple", "adds to the score: be in the hall")


def test_off_the_solution_there_is_no_plan_and_no_oracle() -> None:
    env = open_env()
    env.reset(options={"task": "boil/0"})
    env.step("look around")
    known = env.hindsight()
    assert (known.plan, known.distance, env.expert("oracle")) == ((), None, None)
    assert known.demonstration == fake.GOLD
    assert env.expert("explorer") in env.step("look around")[4]["admissible_actions"]


def test_a_failed_task_ends_with_score_zero() -> None:
    env = open_env()
    env.reset(options={"task": "boil/0"})
    env.step("go to hall")
    env.step("focus on apple")
    _, reward, terminated, truncated, info = env.step("focus on kitchen")
    assert (reward, terminated, truncated, info["success"], info["score"]) == (-0.5, True, False, False, 0.0)
    assert env.hindsight().lost == ("the task has failed and cannot be solved any more",)
    assert env.step("go to hall")[0] == "The task is over."


def test_the_death_of_the_java_process_is_one_failed_episode_with_a_typed_reason() -> None:
    env = open_env(engine=lambda: fake.FakeEngine(dies_at=2))
    env.reset(options={"task": "boil/0"})
    env.step("look around")
    with pytest.raises(EnvLost, match="exit status 137 during 'step'") as lost:
        env.step("look around")
    assert lost.value.own
    env.reset(options={"task": "boil/1"})
    assert env.step("look around")[4]["valid_action"]


def test_abandoning_kills_the_engine_and_thousands_of_actions_can_be_left_out() -> None:
    engine = fake.FakeEngine()
    env = open_env(engine=lambda: engine, list_actions=False)
    assert env.reset(options={"task": "boil/0"})[1]["admissible_actions"] is None
    assert env.expert("explorer") is not None
    env.abandon()
    assert engine.killed


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"task_types": "boild"}, "unknown task type 'boild'. Did you mean 'boil'"),
        ({"task_types": ()}, "task_types is empty"),
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"max_steps": 0}, "at least 1, got 0"),
        ({"simplifications": "opendoors"}, "Did you mean 'openDoors'"),
        ({"simplifications": "easy,openDoors"}, "'easy' stands alone"),
        ({"simplifications": "noElectricalAction"}, "makes power-component"),
        ({"task": "boil"}, "takes no argument 'task'"),
        ({"backend": "packages"}, "Did you mean 'package'"),
    ],
)
def test_a_wrong_argument_is_named(kwargs: dict, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        open_env(**kwargs)


def test_a_task_of_another_split_is_unknown() -> None:
    with pytest.raises(TaskError, match="unknown task 'boil/29'"):
        open_env().reset(options={"task": "boil/29"})


def test_types_are_chosen_by_name_or_number() -> None:
    assert [kind.name for kind in task_types(["4-1", "boil", "find-living-thing"])] == ["find-living-thing", "boil"]
    assert simplifications_of(" openDoors , teleportAction") == "openDoors,teleportAction"


def test_goal_progress_is_read_line_by_line() -> None:
    text = (
        "Completed keys: \n----\nSequential Subgoals:\n----\n0\ttrue\t        GoalFind\tfocus on substance\n----\n"
        "Unordered and Optional Subgoals:\n----\n0\tfalse\t  GoalX\tignite wood\n----\n"
    )
    assert read_subgoals(text) == (
        Subgoal(text="focus on substance", done=True, ordered=True),
        Subgoal(text="ignite wood", done=False, ordered=False),
    )
    assert not understood("No known action matches that input.")
    assert understood("Ambiguous request: Please enter the number")
