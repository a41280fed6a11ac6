"""The toy world: contract, best return, experts, splits, hindsight."""

from __future__ import annotations

import pytest

from rlsd.envs import EnvError, TextEnv, check_env, make
from rlsd.envs.key_door import KeysEnv


def rollout(env: TextEnv, kind: str, task_id: str) -> tuple[float, int, bool]:
    env.reset(options={"task": task_id})
    total, steps = 0.0, 0
    while True:
        action = env.expert(kind)
        assert action is not None
        _, reward, terminated, truncated, _ = env.step(action)
        total, steps = total + reward, steps + 1
        if terminated or truncated:
            return total, steps, terminated


@pytest.mark.parametrize("split", ["train", "test"])
def test_contract(split: str) -> None:
    findings = check_env(lambda: make("rlsd/Keys-v0", split=split))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


def test_oracle_reaches_the_optimal_return_everywhere() -> None:
    env = KeysEnv(rooms=5, step_cost=0.01)
    for task in env.tasks():
        total, steps, won = rollout(env, "oracle", task.task_id)
        assert won
        assert steps == env.optimal_steps(task.task_id)
        assert total == pytest.approx(env.optimal_return(task.task_id))


def test_one_layout_by_hand() -> None:
    """Start in room 2, key in room 1, door in room 3: left, take, right, right, open = 5 steps, return 0.95."""
    env = KeysEnv(rooms=3, split="train")
    splits = {t.task_id.split("/")[-1] for t in env.tasks()}
    if "2-1-3" not in splits:
        env = KeysEnv(rooms=3, split="test")
    name = next(t.task_id for t in env.tasks() if t.task_id.endswith("/2-1-3"))
    assert env.optimal_steps(name) == 5
    assert env.optimal_return(name) == pytest.approx(0.95)
    env.reset(options={"task": name})
    assert env.hindsight().plan == ("go left", "take key", "go right", "go right", "open door")
    assert env.step("go left")[0] == "You are in room 1 of 3. A key lies here."


def test_explorer_wins_and_is_never_better_than_the_oracle() -> None:
    env = KeysEnv(rooms=5, max_steps=40)
    for task in env.tasks():
        _, steps, won = rollout(env, "explorer", task.task_id)
        assert won
        assert steps >= env.optimal_steps(task.task_id)


def test_splits_share_no_layout() -> None:
    train, test = KeysEnv(rooms=5), KeysEnv(rooms=5, split="test")
    layouts = [{env.content(t.task_id) for t in env.tasks()} for env in (train, test)]
    assert not layouts[0] & layouts[1]
    assert (len(layouts[0]), len(layouts[1])) == (93, 32)


def test_hindsight_counts_down() -> None:
    env = KeysEnv()
    env.reset(seed=3)
    distance = env.hindsight().distance
    assert distance is not None
    while env.hindsight().plan:
        env.step(env.hindsight().plan[0])
        distance -= 1
        assert env.hindsight().distance == distance
        assert "nearer to" in env.hindsight().feedback


def test_bad_arguments() -> None:
    with pytest.raises(EnvError, match="Did you mean 'train'"):
        KeysEnv(split="trian")
    with pytest.raises(EnvError, match="2 to 50 rooms"):
        KeysEnv(rooms=1)
