"""SIGKILL anywhere, start again: metrics and weights are those of an uninterrupted run."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.harness.fail_points import POINTS, VARIABLE
from tests.support.smallest_run import small_run

REWARDS = '''
def odd_tokens(trajectory):
    """Mixed within every group, whatever an untrained model says, so that updates really happen."""
    return float(sum(i % 2 for turn in trajectory.turns for i in turn.action.token_ids))
'''
RL = small_run(
    iterations=4,
    env={"kwargs": {"games": "gen-tiny", "max_steps": 4}},
    agent={"max_new_tokens": 6},
    rollout={"max_concurrent": 3},
    hindsight={"max_tokens": 128, "max_items": 3},
    learner={"micro_batch_tokens": 1024, "minibatches": 2},
    eval={"every": 2, "episodes": 3, "temperature": 1.0, "at_start": True},
    reward="rewards:odd_tokens",
    checkpoint_every=1,
    save_rollouts_every=1,
    threads=1,
)
SFT: dict[str, Any] = {
    **{k: v for k, v in RL.items() if k != "reward"},
    "algorithm": "sft",
    "sft": {"noise": 0.1, "only_success": False},
    "learner": {"micro_batch_tokens": 1024},
    "checkpoint_every": 2,
}


@dataclass
class Runs:
    """One config in one folder, run as often as needed."""

    folder: Path
    config: dict[str, Any]

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rewards.py").write_text(REWARDS)
        (self.folder / "run.yaml").write_text(yaml.safe_dump(self.config))

    def start(self, name: str, *, kill_at: str | None = None) -> int:
        """Exit code of `rlsd train` on run directory `name`."""
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        env.pop(VARIABLE, None)
        if kill_at is not None:
            env[VARIABLE] = kill_at
        command = [sys.executable, "-m", "rlsd", "train", "run.yaml", "--run", name, "--quiet"]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    def kill(self, name: str, kill_at: str) -> None:
        assert self.start(name, kill_at=kill_at) == -signal.SIGKILL, f"the run never came by {kill_at}"

    def finish(self, name: str) -> Path:
        assert self.start(name) == 0
        return self.folder / name


def records(run: Path) -> list[dict[str, Any]]:
    """Metrics without timings; every line must be whole."""
    return [
        {k: v for k, v in json.loads(line).items() if k != "timing"}
        for line in (run / "metrics.jsonl").read_text().splitlines()
    ]


def weights(run: Path) -> dict[str, bytes]:
    """Every tensor file of every checkpoint kept and of the best weights."""
    found = {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*.safetensors")}
    assert any(name.endswith("optimizer.safetensors") for name in found)
    assert "best/model.safetensors" in found
    return found


def rollouts(run: Path) -> dict[str, bytes]:
    return {
        p.name: gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes()
        for p in sorted((run / "rollouts").iterdir())
    }


def assert_same(run: Path, untouched: Path) -> None:
    assert records(run) == records(untouched)
    assert weights(run) == weights(untouched)
    assert rollouts(run) == rollouts(untouched)
    assert list(run.rglob("*.partial*")) == []


@pytest.fixture(scope="module")
def rl(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("rl"), RL)
    runs.finish("untouched")
    return runs


def test_the_run_learns_something(rl: Runs) -> None:
    """Otherwise equal weights would show nothing."""
    trained = [r for r in records(rl.folder / "untouched") if r["kind"] == "train"]
    assert [r["step"] for r in trained] == [0, 1, 2, 3]
    assert all(r["updates"] == 2 and r["grad_norm"] > 0 for r in trained)
    assert [r["step"] for r in records(rl.folder / "untouched") if r["kind"] == "eval"] == [-1, 1, 3]


def test_one_kill_at_every_point(rl: Runs) -> None:
    """A chain: each start goes on from what the last kill left."""
    chain = [
        ("mid-evaluation", 2),  # before anything was written
        ("mid-metrics-line", 2),  # the first iteration's record is cut in half
        ("mid-rollout", 6),  # second iteration; the first one's checkpoint holds
        ("mid-update", 1),
        ("before-rename", 1),  # a whole checkpoint that still has its working name
        ("after-checkpoint", 2),
    ]
    assert {name for name, _ in chain} == set(POINTS)
    run = rl.folder / "chain"
    for name, count in chain:
        rl.kill("chain", f"{name}:{count}")
        if name == "mid-metrics-line":
            assert not (run / "metrics.jsonl").read_text().endswith("\n")
        if name == "before-rename":
            assert (run / "checkpoints" / "step-000002.partial" / "MANIFEST.json").is_file()
            for place in ("best.partial", "checkpoints/step-000003.partial"):
                (run / place).mkdir(exist_ok=True)
                (run / place / "junk.safetensors").write_bytes(b"half a file")
            for place in ("config.yaml.partial", "metrics.jsonl.partial", "rollouts/step-000002.jsonl.gz.partial"):
                (run / place).write_bytes(b"half a file")
    assert_same(rl.finish("chain"), rl.folder / "untouched")


def test_killed_supervised_run_equals_an_untouched_one(tmp_path: Path) -> None:
    runs = Runs(tmp_path, SFT)
    untouched = runs.finish("untouched")
    assert [r["updates"] for r in records(untouched) if r["kind"] == "train"] == [1] * 4
    runs.kill("killed", "mid-update:4")  # the newest checkpoint is an iteration and a half behind
    runs.kill("killed", "mid-metrics-line:1")
    run = runs.finish("killed")
    assert records(run) == records(untouched)
    assert weights(run) == weights(untouched)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["rlsd", "ema", "sft"])
def test_many_kills_at_seeded_points(tmp_path: Path, every: int, algorithm: str) -> None:
    """At least 4 kills in each of nine runs, points and counts drawn with a seed."""
    config = {**(SFT if algorithm == "sft" else RL), "checkpoint_every": every, "iterations": 5}
    if algorithm == "ema":
        config["algorithm"] = {"name": "rlsd", "teacher": {"weights": "ema", "tau": 0.3}, "loss": {"kl_coef": 0.1}}
    runs = Runs(tmp_path, config)
    untouched = runs.finish("untouched")
    rng = random.Random(f"{algorithm}{every}")
    points = [p for p in POINTS if not (algorithm == "sft" and p == "mid-rollout")]
    most = {"mid-rollout": 9, "mid-update": 5, "before-rename": 2, "mid-metrics-line": 5, "after-checkpoint": 1}
    kills = tries = 0
    while kills < 4:
        name = rng.choice(points)
        done = runs.start(f"killed-{tries}", kill_at=f"{name}:{rng.randint(1, most.get(name, 5))}")
        kills += done == -signal.SIGKILL
        if done == 0:  # it finished before it came by so often
            assert_same(tmp_path / f"killed-{tries}", untouched)
            tries += 1
    assert_same(runs.finish(f"killed-{tries}"), untouched)
