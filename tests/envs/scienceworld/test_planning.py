"""Plans: what goes wrong on the way is put right, what is alike is told apart by its number."""

from __future__ import annotations

from rlsd.envs.scienceworld.env import ScienceWorldEnv


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
