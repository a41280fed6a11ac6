"""Groups without contrast give their places to mixed groups of extra tasks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.iteration.refill import is_mixed, raw_outcome, refill
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train
from tests.harness.scoring.test_tables import episode
from tests.support.smallest_run import small_run
from tests.support.two_processes import assert_same_weights, together

COIN = {"id": "tests.support.plain_worlds:Coin", "kwargs": {"tasks": 12}}
RUN = small_run(
    iterations=4,
    algorithm="dapo",
    env=COIN,
    rollout={"tasks_per_iteration": 4, "group_size": 3, "refill": "mixed", "refill_cap": 2.0},
    checkpoint_every=1,
    keep_checkpoints=9,
    save_rollouts_every=1,
    threads=1,
)
del RUN["reward"]
RUN["env"] = COIN  # `small_run` adds to ALFWorld's arguments


def changed(**rollout: Any) -> dict[str, Any]:
    return {**RUN, "rollout": {**RUN["rollout"], **rollout}}


def group(name: int, *rewards: Sequence[float]) -> Group:
    turn = {"seen": "a room", "ids": (5, 6), "span": (0, 1)}
    members = tuple(episode(name, i, *({**turn, "reward": r} for r in turns)) for i, turns in enumerate(rewards))
    return Group(task=members[0].task, trajectories=members)


def names(groups: Sequence[Group]) -> list[str]:
    return [g.task.task_id for g in groups]


FLAT, MIXED = [(1.0,), (0.0, 1.0)], [(1.0,), (0.0,)]


def test_the_raw_outcome_is_the_sum_of_the_environments_rewards() -> None:
    assert raw_outcome(group(0, (0.25, 0.5)).trajectories[0]) == 0.75
    assert is_mixed(group(0, *MIXED))
    assert not is_mixed(group(0, *FLAT))
    assert not is_mixed(group(0, (0.1, 0.2), (0.2, 0.1))), "the same rewards in another order"
    assert not is_mixed(group(0, (1.0,)))


def from_list(extra: list[Group], asked: list[tuple[int, int]]) -> Callable[[int, int], list[Group]]:
    def play(first: int, count: int) -> list[Group]:
        asked.append((first, count))
        return extra[first : first + count]

    return play


def test_places_are_filled_in_order_and_each_round_plays_what_is_still_open() -> None:
    own = [group(0, *FLAT), group(1, *MIXED), group(2, *FLAT), group(3, *FLAT)]
    extra = [group(10, *FLAT), group(11, *MIXED), group(12, *MIXED), group(13, *FLAT), group(14, *MIXED)]
    asked: list[tuple[int, int]] = []
    done = refill(own, from_list(extra, asked), limit=9)
    assert asked == [(0, 3), (3, 1), (4, 1)]
    assert names(done.groups) == ["t11", "t1", "t12", "t14"]
    assert names(done.dropped) == ["t10", "t0", "t2", "t13", "t3"]
    counts = done.metrics()
    assert (counts["refilled_groups"], counts["extra_episodes"]) == (3, 10)
    assert counts["dropped_tokens"] == 5 * 3 * 2, "five groups of three turns of two tokens"
    assert counts["own_mixed_groups"] == 0.25


def test_the_limit_leaves_places_as_they_were() -> None:
    own = [group(0, *FLAT), group(1, *FLAT)]
    asked: list[tuple[int, int]] = []
    done = refill(own, from_list([group(10, *FLAT), group(11, *MIXED), group(12, *FLAT)], asked), limit=3)
    assert asked == [(0, 2), (2, 1)]
    assert names(done.groups) == ["t11", "t1"]
    assert done.metrics()["refilled_groups"] == 1


def trained(folder: Path, data: dict[str, Any]) -> list[dict[str, Any]]:
    train(parse_config(data), folder)
    return [{k: v for k, v in r.items() if k != "timing"} for r in read_metrics(folder / "metrics.jsonl")]


def keys(run: Path, step: int) -> list[tuple[int, str]]:
    """(number of the group, task) of each trained episode."""
    with gzip.open(run / "rollouts" / f"step-{step:06d}.jsonl.gz", "rt") as file:
        return [(r["key"][2], r["task"]["task_id"]) for r in map(json.loads, file)]


def test_a_run_trains_on_mixed_groups_and_counts_what_it_dropped(tmp_path: Path) -> None:
    found = trained(tmp_path / "run", RUN)
    plain = trained(tmp_path / "plain", changed(refill="none"))
    assert sum(r["refilled_groups"] for r in found) > 0
    assert all("extra_episodes" not in r for r in plain)
    for r in found:
        assert r["episodes"] == 12
        assert 0 < r["extra_episodes"] <= 2 * 4 * 3
        assert r["mixed_groups"] >= r["own_mixed_groups"]
        assert r["decoded_tokens"] == r["tokens"] + r["dropped_tokens"]
    total, played = 0, []
    for r in found:
        total += 12 + r["extra_episodes"]
        played.append(total)
    assert [r["played_episodes"] for r in found] == played
    assert found[0]["own_success"] == plain[0]["success"], "the iteration's own tasks and seeds are the same"
    own = [(g, t) for step in range(4) for g, t in keys(tmp_path / "run", step) if g < 4]
    assert own
    assert set(own) <= {(g, t) for step in range(4) for g, t in keys(tmp_path / "plain", step)}, "the same order"
    assert any(g >= 4 for step in range(4) for g, _ in keys(tmp_path / "run", step))


def test_a_resumed_run_refills_alike(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", RUN)
    trained(tmp_path / "run", {**RUN, "iterations": 2})
    assert trained(tmp_path / "run", RUN) == whole
    assert_same_weights(tmp_path / "run", tmp_path / "whole", 4)


def test_refill_with_rollouts_ahead_replaces_places_now(tmp_path: Path) -> None:
    data = {**changed(async_steps=1), "algorithm": {"name": "dapo", "loss": {"tis_cap": 2.0}}}
    found, again = (trained(tmp_path / name, data) for name in ("run", "again"))
    assert found == again
    assert sum(r["refilled_groups"] for r in found) > 0
    assert any(0 < r["staleness"]["mean"] < 1 for r in found), "extra groups are played with the newest weights"
    assert found[0]["own_success"] == trained(tmp_path / "now", RUN)[0]["own_success"]


def test_the_raw_outcome_decides_whatever_a_users_reward_says(tmp_path: Path) -> None:
    data = {**RUN, "reward": "tests.support.plain_worlds:odd_tokens"}
    mine, plain = trained(tmp_path / "mine", data), trained(tmp_path / "plain", RUN)
    assert mine[0]["refilled_groups"] == plain[0]["refilled_groups"] > 0
    assert mine[0]["returns"] != plain[0]["returns"]


def test_a_run_ends_before_it_exceeds_its_episodes(tmp_path: Path) -> None:
    data = {**RUN, "iterations": 50, "max_episodes": 70, "eval": {"every": 50, "episodes": 1, "at_start": False}}
    found = trained(tmp_path / "run", data)
    rounds = [r for r in found if r["kind"] == "train"]
    assert len(rounds) < 6
    assert 70 - 12 < rounds[-1]["played_episodes"] <= 70
    assert found[-1]["kind"] == "eval", "the last iteration is evaluated"
    assert trained(tmp_path / "run", data) == found, "a finished run stays finished"


def test_two_processes_refill_as_one(tmp_path: Path) -> None:
    done = together(tmp_path / "two", RUN)
    assert done.returncode == 0, done.stderr[-3000:]
    train(parse_config(RUN), tmp_path / "one")
    assert_same_weights(tmp_path / "two" / "run", tmp_path / "one", 4)
    for name in ("two/run", "one"):
        path = tmp_path / name / "metrics.jsonl"
        assert sum(r["refilled_groups"] for r in read_metrics(path)) > 0
    mine, theirs = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("two/run", "one"))
    for key in ("refilled_groups", "extra_episodes", "dropped_tokens", "played_episodes", "decoded_tokens"):
        assert [r[key] for r in mine] == [r[key] for r in theirs]


@pytest.mark.parametrize(
    "data, message",
    [
        ({**RUN, "max_episodes": 11}, r"max_episodes is 11, less than one iteration: .* = 12"),
        ({**RUN, "algorithm": "sft"}, "rollout.refill chooses among sampled groups, and sft samples none"),
        ({**changed(refill="none"), "algorithm": "sft", "max_episodes": 99}, "max_episodes counts sampled episodes"),
        (changed(refill_cap=0), "greater than 0"),
        (changed(level_every=3), "rollout.level_every needs rollout.task_sampler: by_level, got 'uniform'"),
    ],
)
def test_refused_in_one_line(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(data)
