"""MyWorld keeps the contract, its experts win, and a model trains in it."""

from pathlib import Path

import pytest
from my_world import SPLITS, MyWorld

from rlsd.envs import check_env
from rlsd.harness.config import load_config
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train

HERE = Path(__file__).parent


@pytest.mark.parametrize("split", SPLITS)
def test_the_contract_holds(split):
    assert [f"{f.name}: {f.message}" for f in check_env(lambda: MyWorld(split)) if not f.ok] == []


def test_no_two_splits_share_a_task():
    ids = [task.task_id for split in SPLITS for task in MyWorld(split).tasks()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", ["explorer", "oracle"])
def test_an_expert_wins_every_task_and_the_distance_counts_down(kind):
    env = MyWorld("test")
    for task in env.tasks():
        env.reset(options={"task": task.task_id})
        done, info = False, {}
        while not done:
            before, action = env.hindsight(), env.expert(kind)
            *_, terminated, truncated, info = env.step(action)
            if action == before.plan[0]:
                assert env.hindsight().distance == before.distance - 1
            done = terminated or truncated
        assert info["success"], task.task_id


def test_a_model_trains_in_it(tmp_path):
    """One iteration of train.yaml, with a model made here."""
    tiny = "model={tiny: {layers: 1, dim: 32, heads: 2, vocab: 400, context: 1024, text_episodes: 8}}"
    settings = [tiny, "iterations=1", "rollout.tasks_per_iteration=2", "rollout.group_size=2", "eval.every=0"]
    config = load_config(
        HERE / "train.yaml", [*settings, f"env.id={HERE / 'my_world.py'}:MyWorld", "eval.at_start=false"]
    )
    train(config, tmp_path / "run")
    (record,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert record["episodes"] == 4
    assert record["failed_episodes"] == 0
