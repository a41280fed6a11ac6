"""Plans: what goes wrong on the way is put right, what is alike is told apart by its number."""

from __future__ import annotations

import pytest

from rlsd.envs.scienceworld import native
from rlsd.envs.scienceworld.env import ScienceWorldEnv
from rlsd.envs.scienceworld.planner import plan_from


def test_a_wrong_connection_is_undone_and_the_circuit_finished() -> None:
    env = ScienceWorldEnv(task_types="power-component", simplifications="teleportAction", list_actions=False)
    env.reset(options={"task": "power-component/0"})
    for action in ("teleport to workshop", "connect battery anode to red light bulb anode"):
        assert env.step(action)[4]["valid_action"]
    plan = env.hindsight().plan
    assert "disconnect battery" in plan
    for action in plan:
        _, _, ended, _, info = env.step(action)
    assert ended
    assert info["success"]


def test_one_of_several_like_seeds_is_chosen_by_its_number() -> None:
    env = ScienceWorldEnv(task_types="grow-plant", list_actions=False)
    env.reset(options={"task": "grow-plant/0"})
    plan = env.hindsight().plan
    at = next(i for i, action in enumerate(plan) if action.isdigit())
    assert "seed" in plan[at - 1]
    assert "seedling" not in plan[at - 1]


def test_what_cannot_be_done_has_no_plan() -> None:
    env = ScienceWorldEnv(task_types="power-component", list_actions=False)
    env.reset(options={"task": "power-component/0"})
    env.step("focus on agent")
    known = env.hindsight()
    assert (known.plan, known.distance) == ((), None)
    assert env.expert("oracle") is None


def test_two_things_put_into_each_other_are_out_of_the_world_and_the_plan_goes_on_without_them() -> None:
    env = ScienceWorldEnv(task_types="find-non-living-thing", simplifications="easy", list_actions=False)
    env.reset(options={"task": "find-non-living-thing/0"})
    for action in (
        "go to hallway",
        "go to living room",
        "focus on chair",
        "move chair to couch",
        "move couch to chair",
    ):
        assert env.step(action)[4]["valid_action"]
    assert "chair" not in env.step("look around")[0]
    assert env.hindsight().distance is None


def test_a_plan_is_made_again_only_when_something_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(native, "plan_from", lambda session: made.append(1) or plan_from(session))
    env = ScienceWorldEnv(task_types="find-plant", simplifications="easy", list_actions=False)
    env.reset(options={"task": "find-plant/0"})
    plan = env.hindsight().plan
    assert made == [1]
    env.step("focus on the moon")
    assert env.hindsight().plan == plan
    env.step(plan[0])
    assert env.hindsight().plan == plan[1:]
    assert made == [1]
    env.step("wait1")
    env.hindsight()
    assert made == [1, 1]
    env.step("focus on door")  # a question: which one
    env.step("0")
    after = env.hindsight()
    assert len(made) == 3
    assert after.lost or after.plan


def test_that_there_is_no_plan_is_worked_out_once_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(native, "plan_from", lambda session: made.append(1))
    env = ScienceWorldEnv(task_types="find-plant", simplifications="easy", list_actions=False)
    env.reset(options={"task": "find-plant/0"})
    for _ in range(3):
        assert env.hindsight().distance is None
        env.step("look around")
    assert made == [1]
    env.step("wait1")
    env.hindsight()
    assert made == [1, 1]


def test_a_plan_that_did_not_lead_to_the_goal_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is random, as the way of a bee, may have gone another way than in the copy."""
    monkeypatch.setattr(native, "plan_from", lambda session: ("wait1",))
    env = ScienceWorldEnv(task_types="find-plant", simplifications="easy", list_actions=False)
    env.reset(options={"task": "find-plant/0"})
    assert env.hindsight().plan == ("wait1",)
    env.step("wait1")
    env.step("look around")
    assert env.hindsight().plan == ("wait1",)
