"""Which tasks an iteration plays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.core import Task
from rlsd.envs.errors import EnvError
from rlsd.envs.registry import make
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.iteration.tasks import ByLevel, NearHalf, Uniform
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.scoring.tables import epochs
from rlsd.harness.train import train
from tests.harness.iteration.test_refill import RUN
from tests.harness.scoring.test_tables import episode


def task(number: int, kind: str = "k", level: int | None = None) -> Task:
    return Task(env_id="e", task_id=f"t{number}", split="train", task_type=kind, level=level)


def outcome(of: Task, won: int, lost: int) -> Group:
    turn = {"seen": "a room", "ids": (5,), "span": (0, 1)}
    members = [episode(0, i, turn, success=i < won) for i in range(won + lost)]
    return Group(task=of, trajectories=tuple(members))


TASKS = [task(i) for i in range(10)]
LEVELS = [task(i, level=1 + i % 3) for i in range(12)]


def test_uniform_is_the_seeded_permutation() -> None:
    sampler = Uniform(TASKS, seed=3)
    for step in range(5):
        assert sampler.draw(4, step, "tasks") == epochs(TASKS, 4, step, seed=3, name="tasks")
    assert [sampler.draw(10, 0, name) for name in ("tasks", "refill")] != 2 * [sampler.draw(10, 0, "tasks")]


def test_levels_get_equal_shares_and_the_remainder_takes_turns() -> None:
    sampler = ByLevel(LEVELS, seed=0)
    drawn = [sampler.draw(4, step, "tasks") for step in range(3)]
    assert Counter(t.level for part in drawn for t in part) == {1: 4, 2: 4, 3: 4}
    assert [t.level for t in drawn[0]] == [1, 2, 3, 1]
    assert drawn == [sampler.draw(4, step, "tasks") for step in range(3)]
    assert all(len({t.task_id for t in part}) == 4 for part in drawn)


def test_levels_open_one_after_another() -> None:
    sampler = ByLevel(LEVELS, seed=0, every=2)
    assert [sorted({t.level or 0 for t in sampler.draw(6, step, "tasks")}) for step in (0, 1, 2, 3, 4, 99)] == [
        [1], [1], [1, 2], [1, 2], [1, 2, 3], [1, 2, 3],
    ]  # fmt: skip


def test_alfworlds_presets_take_turns_and_levels_are_known() -> None:
    env = make("rlsd/ALFWorld-v0", split="valid", games=["gen-level-1", "gen-level-3"])
    tasks = env.tasks()
    assert [t.task_id for t in tasks[:3]] == ["gen-level-1/valid/0", "gen-level-3/valid/0", "gen-level-1/valid/1"]
    assert [t.level for t in tasks[:2]] == [1, 3]
    assert len(tasks) == 240
    assert env.reset(options={"task": "gen-level-3/valid/0"})[1]["task_id"] == "gen-level-3/valid/0"
    with pytest.raises(EnvError, match=r"'gen-level-9' is no preset\. Did you mean 'gen-level-8'"):
        make("rlsd/ALFWorld-v0", games=["gen-level-9"])
    with pytest.raises(EnvError, match="each once"):
        make("rlsd/ALFWorld-v0", games=["gen-tiny", "gen-tiny"])


def test_a_task_without_a_level_says_so_and_one_with_it_survives_json() -> None:
    assert "level" not in task(0).to_json()
    assert Task.from_json(task(0, level=4).to_json()) == task(0, level=4)
    with pytest.raises(ConfigError, match=r"'t0' of e has none, only a type \(k\).*gen-level-1.*near_half"):
        ByLevel(TASKS, seed=0)


def test_rates_by_hand() -> None:
    a, b, c = task(0, "easy"), task(1, "easy"), task(2, "hard")
    sampler = NearHalf([a, b, c], seed=0)
    assert [sampler.rate(t) for t in (a, b, c)] == [0.5, 0.5, 0.5]
    assert sampler.weight(a) == 0.27
    sampler.observe([outcome(a, 4, 0), outcome(c, 0, 2)])
    assert sampler.rate(b) == pytest.approx(5 / 6), "its type's, (4 + 1) / (4 + 2)"
    assert sampler.rate(a) == pytest.approx((4 + 2 * 5 / 6) / 6)
    assert sampler.rate(c) == pytest.approx((0 + 2 * 0.25) / 4)
    sampler.observe([])
    assert sampler.seen["t0"] == (pytest.approx(3.8), pytest.approx(3.8)), "outcomes age by 5 %"


def test_tasks_near_one_half_are_drawn_more_often() -> None:
    tasks = [task(i, f"kind{i % 3}") for i in range(300)]
    sampler = NearHalf(tasks, seed=0)
    sampler.observe([outcome(tasks[0], 0, 400), outcome(tasks[1], 200, 200), outcome(tasks[2], 400, 0)])
    drawn = [t for step in range(100) for t in sampler.draw(10, step, "tasks")]
    share = {kind: count / 1000 for kind, count in Counter(t.task_type for t in drawn).items()}
    low = 0.02 + 401 * 1 / 402**2
    expected = 0.27 / (0.27 + 2 * low)
    assert share["kind1"] == pytest.approx(expected, abs=0.04)
    assert share["kind0"] == pytest.approx(share["kind2"], abs=0.04)
    assert all(len({t.task_id for t in sampler.draw(10, step, "tasks")}) == 10 for step in range(20))
    assert len(sampler.draw(700, 0, "tasks")) == 700, "more than there are"


def test_state_restores_the_draws() -> None:
    tasks = [task(i, f"kind{i % 3}") for i in range(30)]
    one, two = NearHalf(tasks, seed=5), NearHalf(tasks, seed=5)
    one.observe([outcome(t, i % 5, 4 - i % 5) for i, t in enumerate(tasks)])
    assert [one.draw(6, s, "tasks") for s in range(9)] != [two.draw(6, s, "tasks") for s in range(9)]
    two.load_state(one.state())
    assert [one.draw(6, s, "tasks") for s in range(9)] == [two.draw(6, s, "tasks") for s in range(9)]


def records(folder: Path, data: dict[str, Any]) -> list[dict[str, Any]]:
    train(parse_config(data), folder)
    return [{k: v for k, v in r.items() if k != "timing"} for r in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize("sampler, ahead", [("near_half", 0), ("by_level", 0), ("near_half", 1)])
def test_a_run_repeats_and_resumes(tmp_path: Path, sampler: str, ahead: int) -> None:
    rollout = {**RUN["rollout"], "task_sampler": sampler, "async_steps": ahead}
    data = {**RUN, "rollout": rollout, "algorithm": {"name": "dapo", "loss": {"tis_cap": 2.0}}}
    whole = records(tmp_path / "whole", data)
    if ahead:  # a resumed run starts without prefetching, so only repeating is exact
        assert records(tmp_path / "again", data) == whole
        return
    records(tmp_path / "run", {**data, "iterations": 2})
    assert records(tmp_path / "run", data) == whole
    uniform = records(tmp_path / "uniform", {**data, "rollout": {**rollout, "task_sampler": "uniform"}})
    assert uniform != whole
