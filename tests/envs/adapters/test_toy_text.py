"""Gymnasium's toy text behind the contract: words for states and actions, its own rewards, an exact plan."""

from __future__ import annotations

from collections import deque

import pytest

from rlsd.envs import EnvError, TaskError, make
from rlsd.envs.adapters.toy_games import GAMES
from rlsd.envs.adapters.toy_text import ToyTextEnv
from rlsd.envs.checker import check_env
from rlsd.envs.opened_checks import Opener


def follow(env: ToyTextEnv, task: str) -> tuple[float, bool, int]:
    """Return, success and steps of an episode that the oracle plays."""
    env.reset(seed=0, options={"task": task})
    total, ended, truncated, steps, info = 0.0, False, False, 0, {}
    while not (ended or truncated):
        _, reward, ended, truncated, info = env.step(env.expert("oracle") or "")
        total, steps = total + reward, steps + 1
    return total, info["success"], steps


@pytest.mark.parametrize(
    "kwargs",
    [*({"game": name} for name in GAMES), {"game": "frozenlake", "slippery": True}, {"game": "frozenlake", "size": 6}],
    ids=lambda kwargs: "-".join(map(str, kwargs.values())),
)
def test_the_contract_holds(kwargs: dict[str, object]) -> None:
    findings = check_env(Opener(open=lambda: make("rlsd/ToyText-v0", **kwargs)))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


@pytest.mark.parametrize(
    ("game", "counts"),
    [
        ("frozenlake", [1000, 100, 100]),
        ("taxi", [225, 37, 38]),
        ("cliffwalking", [27, 5, 5]),
        ("blackjack", [1000, 100, 100]),
    ],
)
def test_splits_share_no_content(game: str, counts: list[int]) -> None:
    contents = []
    for split in ("train", "valid", "test"):
        env = ToyTextEnv(game=game, split=split)
        contents.append({env.content(task.task_id) for task in env.tasks()})
    assert [len(c) for c in contents] == counts
    assert len(set.union(*contents)) == sum(counts)


@pytest.mark.parametrize("game", ["frozenlake", "taxi", "cliffwalking"])
def test_the_plan_is_as_short_as_the_shortest_path_in_gymnasiums_table(game: str) -> None:
    env = ToyTextEnv(game=game, split="test")
    for task in env.tasks()[:20]:
        env.reset(options={"task": task.task_id})
        table, start = env._game.env.P, int(env._game.env.s)
        steps, queue, shortest = {start: 0}, deque([start]), None
        while queue and shortest is None:
            here = queue.popleft()
            for action in table[here]:
                ((_, to, reward, done),) = table[here][action]
                if done and (reward > 0 or game == "cliffwalking"):
                    shortest = steps[here] + 1
                    break
                if not done and reward > -10 and to not in steps:
                    steps[to] = steps[here] + 1
                    queue.append(to)
        assert env.hindsight().distance == shortest
        assert len(env.hindsight().plan) == shortest


@pytest.mark.parametrize(("game", "wins"), [("frozenlake", 100), ("taxi", 38), ("cliffwalking", 5)])
def test_the_oracle_wins_every_test_task_of_a_game_without_luck(game: str, wins: int) -> None:
    env = ToyTextEnv(game=game, split="test")
    assert sum(follow(env, task.task_id)[1] for task in env.tasks()) == wins


def test_the_plan_on_slippery_ice_knows_where_each_step_will_slide() -> None:
    env = ToyTextEnv(slippery=True, split="test")
    for task in env.tasks()[:20]:
        env.reset(options={"task": task.task_id})
        plan = env.hindsight().plan
        distance = env.hindsight().distance
        for action in plan:
            *_, info = env.step(action)
        assert info["success"] is (distance == len(plan) > 0)


def test_a_hand_of_blackjack_is_planned_with_the_cards_that_come() -> None:
    env = ToyTextEnv(game="blackjack", split="test")
    won = 0
    for task in env.tasks():
        env.reset(options={"task": task.task_id})
        known = env.hindsight()
        assert known.whereabouts[0].startswith("the dealer holds ")
        won += bool(known.plan)
        assert (known.distance == float("inf")) is (not known.plan)
        total, success, _ = follow(env, task.task_id)
        assert success is bool(known.plan)
        assert env._info()["score"] == (total + 1) / 2
    assert won == 62


def test_rewards_are_gymnasiums_and_a_word_it_does_not_know_costs_a_step() -> None:
    env = ToyTextEnv(game="taxi", split="test")
    env.reset(options={"task": env.tasks()[0].task_id})
    assert env.step("fly")[1] == -1.0
    _, reward, _, _, info = env.step("drop off")
    assert (reward, info["valid_action"]) == (-10.0, False)
    _, reward, _, _, info = env.step(info["admissible_actions"][0].upper())
    assert (reward, info["valid_action"]) == (-1.0, True)


def test_a_fall_from_the_cliff_goes_on_at_the_start() -> None:
    env = ToyTextEnv(game="cliffwalking")
    env.reset(options={"task": env.tasks()[0].task_id})
    env._game.env.s = 36
    observation, reward, ended, _, info = env.step("right")
    assert (observation, reward, ended, info["valid_action"]) == ("You are in row 4, column 1.", -100.0, False, True)


def test_a_hole_ends_the_episode_and_the_goal_is_out_of_reach() -> None:
    env = ToyTextEnv(split="test")
    for task in env.tasks():
        env.reset(options={"task": task.task_id})
        if env._game.map[1][0] == "H":
            observation, reward, ended, truncated, info = env.step("down")
            assert observation.startswith("You are in row 2, column 1. You fall into a hole.\nSF")
            assert (reward, ended, truncated, info["success"]) == (0.0, True, False, False)
            assert env.hindsight().plan == ()
            assert env.hindsight().distance == float("inf")
            assert env.step("down")[0] == "The episode is over."
            return
    raise AssertionError("no test map has a hole below the start")


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"game": "frozenlakes"}, "unknown game 'frozenlakes'. Did you mean 'frozenlake'?"),
        ({"split": "tests"}, "unknown split 'tests'. Did you mean 'test'?"),
        ({"game": "taxi", "size": 5}, "size=5 is for frozenlake alone"),
        ({"size": 2}, "size must be a whole number from 3 to 10, got 2"),
        ({"size": "4"}, "size must be a whole number from 3 to 10, got '4'"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
        ({"game": "blackjack", "slippery": True}, "false for blackjack"),
        ({"slipery": True}, "no such argument. Did you mean 'slippery'?"),
    ],
)
def test_wrong_arguments_are_one_clear_line(kwargs: dict[str, object], words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make("rlsd/ToyText-v0", **kwargs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_task_names_the_closest() -> None:
    with pytest.raises(TaskError, match="Did you mean 'taxi/test/"):
        ToyTextEnv(game="taxi", split="test").reset(options={"task": "taxi/tests/1"})
