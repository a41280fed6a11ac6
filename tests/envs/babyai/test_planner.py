"""Plans are as short as a search over all that the engine does, and hindsight says what they say."""

from __future__ import annotations

import math
import random
from collections import deque

import pytest

pytest.importorskip("minigrid", reason="needs minigrid: pip install 'rlsd[babyai]'")

from rlsd.envs.babyai.env import BabyAIEnv
from rlsd.envs.babyai.levels import make_world
from rlsd.envs.babyai.planner import plan
from rlsd.envs.babyai.routes import route
from rlsd.envs.babyai.words import COMMANDS
from rlsd.envs.babyai.world import TOGGLE, State, World


def searched(world: World, start: State) -> int:
    """Fewest actions to success, by brute force in the engine."""
    frontier, seen = deque([(start, 0)]), {key(start)}
    while frontier:
        state, length = frontier.popleft()
        for action in range(6):
            world.restore(state)
            world.act(action)
            if world.won:
                return length + 1
            after = world.save()
            if key(after) not in seen and not after.lost:
                seen.add(key(after))
                frontier.append((after, length + 1))
    raise AssertionError("no plan")


def key(state: State) -> tuple[object, ...]:
    return state.at, state.facing, state.carried, state.cells, state.things, state.clauses, state.done


@pytest.mark.parametrize(
    "level, layouts",
    [("GoToObjS4", 12), ("GoToLocalS5N2", 10), ("GoToRedBallNoDists", 6), ("OpenRedDoor", 4), ("PickupDistDebug", 2)],
)
def test_plans_to_go_open_and_pick_up_are_the_shortest_there_are(level: str, layouts: int) -> None:
    for seed in range(layouts):
        world = make_world(level, seed)
        start = world.save()
        found = plan(world, start, at_most=world.limit)
        assert found is not None
        assert len(found) == searched(world, start), world.content()


def test_no_plan_is_longer_than_the_bots() -> None:
    from rlsd.envs.babyai.bot import bot_plan

    for level in (
        "PutNextLocal",
        "BlockedUnlockPickup",
        "UnlockToUnlock",
        "KeyCorridorS3R2",
        "MiniBossLevel",
        "GoToSeq",
    ):
        for seed in range(3):
            world = make_world(level, seed)
            start = world.save()
            ours, theirs = (f(world, start, at_most=world.limit) for f in (plan, bot_plan))
            assert ours is not None
            assert theirs is None or len(ours) <= len(theirs), (level, seed)


@pytest.mark.parametrize("level", ["GoToLocal", "PutNextS5N2Carrying", "UnlockLocal", "OpenDoorsOrderN4", "SynthS5R2"])
def test_the_oracle_nears_the_goal_by_one_at_every_step_and_always_arrives(level: str) -> None:
    env = BabyAIEnv(level=level, split="test")
    for task in env.tasks()[:12]:
        for kind in ("oracle", "explorer"):
            _, info = env.reset(options={"task": task.task_id})
            terminated = truncated = False
            while not (terminated or truncated):
                before, action = env.hindsight().distance, env.expert(kind)
                assert action is not None
                _, _, terminated, truncated, info = env.step(action)
                if kind == "oracle":
                    assert info["valid_action"]
                    assert env.hindsight().distance == (before or 0) - 1
            assert info["success"] or kind == "explorer", task.task_id


@pytest.mark.parametrize("level", ["KeyCorridorS3R2", "MiniBossLevel", "UnlockPickupDist", "PutNextS6N3"])
def test_one_who_strays_and_comes_back_to_the_plan_still_wins(level: str) -> None:
    draw = random.Random(level)
    env = BabyAIEnv(level=level, split="test", max_steps=1000)
    for task in env.tasks()[:3]:
        env.reset(options={"task": task.task_id})
        ended, strayed, info = False, 0, {}
        while not ended:
            known = env.hindsight()
            assert known.plan
            assert known.distance == len(known.plan)
            stray = strayed < 12 and draw.random() < 0.5
            strayed += stray
            action = draw.choice(COMMANDS[:5]) if stray else known.plan[0]  # nothing is opened astray
            *_, ended, _, info = env.step(action)
        assert info["success"]


def test_an_episode_and_its_hindsight_read_like_this() -> None:
    env = BabyAIEnv(level="UnlockLocal", split="test")
    observation, info = env.reset(options={"task": "UnlockLocal/test/1"})
    assert observation == (
        "You see a green key 2 steps right; a locked green door 1 step forward and 3 steps right.\n"
        "Walls: 2 steps forward, 3 steps right.\n"
        "You carry nothing."
    )
    assert info == {
        "task_id": "UnlockLocal/test/1",
        "task_type": "UnlockLocal",
        "goal": "open the door.",
        "admissible_actions": ["turn left", "turn right", "go forward"],
        "valid_action": True,
        "success": False,
        "score": 0.0,
        "feedback": "",
    }
    start = env.hindsight()
    assert start.plan == start.demonstration == (
        "turn right", "go forward", "pick up", "turn left", "go forward", "turn right", "go forward", "toggle",
    )  # fmt: skip
    assert (start.distance, start.distance_before, start.changed, start.feedback) == (8.0, None, (), "")
    assert start.missing == ("you carry the green key", "you have opened the door")
    assert start.whereabouts == (
        "a locked green door is 1 step forward and 3 steps right",
        "a green key is 2 steps right",
    )
    observation, _, _, _, info = env.step("turn left")
    assert observation == "You see no things.\nWalls: 4 steps forward, 2 steps right.\nYou carry nothing."
    after = env.hindsight()
    assert after.plan == ("turn left", "turn left", *start.plan[1:])
    assert (after.distance, after.distance_before) == (9.0, 8.0)
    assert after.changed == ("you now look to what was on your left",)
    assert after.whereabouts[1] == "a green key is 2 steps back"
    assert after.feedback == "The last action brought you farther from the end of the mission (8 -> 9 steps left)."
    observation, *_, info = env.step("toggle")
    assert observation.startswith("There is nothing in front of you to open or close.\nYou see no things.")
    assert not info["valid_action"]
    for action in (*after.plan[:4], "pick up"):
        observation, *_, info = env.step(action)
    assert observation.startswith("You carry a green key already.\n")
    assert observation.endswith("You carry a green key.")
    known = env.hindsight()
    assert known.missing == ("you have opened the door",)
    assert known.whereabouts[-1] == "you carry a green key"
    for action in known.plan:
        assert env.hindsight().distance
        *_, info = env.step(action)
    assert info["success"]
    done = env.hindsight()
    assert (done.distance, done.plan, done.missing) == (0.0, (), ())
    assert done.changed == ("the green door is now open",)


def test_a_box_that_is_opened_is_lost() -> None:
    env = BabyAIEnv(level="PickupLoc", split="test")
    for task in env.tasks():
        _, info = env.reset(options={"task": task.task_id})
        if info["goal"].split(" box")[0] in ("pick up the red", "pick up the grey", "pick up the blue"):
            break
    colour = info["goal"].split()[3]
    plan = env.hindsight().plan
    for action in (*plan[:-1], "toggle"):
        env.step(action)
    known = env.hindsight()
    assert known.changed == (f"the {colour} box has been opened and is gone",)
    assert known.lost == (f"the {colour} box, opened",)
    assert (known.distance, known.plan) == (None, ())
    assert known.feedback == "No way to the end of the mission is known after the last action."


def test_a_mission_that_is_broken_is_out_of_reach() -> None:
    env = BabyAIEnv(level="OpenDoorDebug", split="test")
    for task in env.tasks():
        _, info = env.reset(options={"task": task.task_id})
        saved = env.save()
        doors = [thing for thing in env._episode().things if thing.type == "door"]
        wrong = [door for door in doors if door not in env._episode().clauses[0].desc.obj_set]
        way = wrong and route(env._episode(), {env._episode().where(wrong[0])})
        if way and TOGGLE not in way:
            break
    env.restore(saved)
    for action in way:
        env.step(COMMANDS[action])
    _, reward, terminated, truncated, info = env.step("toggle")
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)
    assert env.hindsight().distance == math.inf
    assert env.hindsight().feedback == "The last action broke the mission's order."


def test_hindsight_does_not_depend_on_when_it_is_asked_for() -> None:
    asked, unasked = (BabyAIEnv(level="UnlockPickupDist", split="valid") for _ in range(2))
    task = asked.tasks()[4].task_id
    for env in (asked, unasked):
        env.reset(options={"task": task})
    for action in [*asked.hindsight().plan[:9], "turn left", "drop", "toggle", "go forward", "dance", "pick up"]:
        assert asked.step(action) == unasked.step(action)
        asked.hindsight()
    assert asked.hindsight() == unasked.hindsight()
