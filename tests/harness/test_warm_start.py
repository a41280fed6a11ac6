"""`rlsd warm-start`: one command from an environment to a model that reads hindsight, or the reason why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.errors import EnvError
from rlsd.harness.cli.app import main
from rlsd.harness.config import ConfigError, EnvConfig, load_config
from rlsd.harness.fail_points import VARIABLE
from rlsd.harness.iteration.parts import settled
from rlsd.harness.rollout.environments import open_valid
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.session import open_session
from rlsd.harness.warm_start.recipe import look, rlsd_config, warm_config
from rlsd.harness.warm_start.run import RECORD, is_ready, line, why_not

ROOT = Path(__file__).resolve().parents[2]
DOORS = "tests.support.doors:Doors"
TINY = (
    *("--set", "model.tiny.layers=2", "--set", "model.tiny.dim=64", "--set", "model.tiny.vocab=300"),
    *("--set", "model.tiny.context=256", "--set", "learner.lr.peak=1e-2", "--set", "learner.lr.warmup_updates=5"),
    *("--set", "rollout.tasks_per_iteration=16", "--set", "tensorboard=false", "--set", "checkpoint_every=5"),
    *("--every", "5", "--episodes", "16"),
)


def run(folder: Path, *options: str, env: str = DOORS) -> int:
    """The exit code of `rlsd warm-start`."""
    with pytest.raises(SystemExit) as ended:
        main(["warm-start", env, "--run", str(folder), *options])
    return int(ended.value.code or 0)


def record(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / RECORD).read_text())


def test_a_model_that_reads_hindsight_in_one_command_that_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two parts are the whole, bit for bit; the whole ends as soon as the model is ready, and is then left alone."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, *TINY, "--iterations", "60") == 0
    told = capsys.readouterr()
    last = record(whole)[-1]
    assert last["readable"]
    assert last["student_success"] >= 0.3
    assert last["step"] < 60
    assert f"{whole}: hindsight is readable after {last['step']} iterations: AUC " in told.out
    assert told.err.count("AUC of Δ") == told.err.count("  loss ") == len(record(whole)) == last["step"] // 5

    assert run(parts, *TINY, "--iterations", "7") == 1
    assert "all 7 iterations are used up at AUC" in capsys.readouterr().out
    assert [d["step"] for d in record(parts)] == [5, 7]
    kept = record(parts)
    (parts / RECORD).unlink()
    assert run(parts, *TINY, "--iterations", "7") == 1
    assert record(parts) == kept[1:], "a record that is gone is measured again"
    assert run(parts, *TINY, "--iterations", "60") == 0
    without = [[{k: v for k, v in r.items() if k != "timing"} for r in read_metrics(f / "metrics.jsonl")] for f in
               (whole, parts)]  # fmt: skip
    assert [r for r in without[0] if r["kind"] == "train"] == [r for r in without[1] if r["kind"] == "train"]
    assert record(parts)[-1] == last

    before = (whole / "metrics.jsonl").read_bytes()
    assert run(whole, *TINY, "--iterations", "60") == 0
    assert (whole / "metrics.jsonl").read_bytes() == before

    following = load_config(whole / "rlsd.yaml")
    assert following.model.path == str(whole)
    assert following.algorithm.name == "rlsd"
    assert following.agent == load_config(whole / "config.yaml").agent
    best = json.loads((whole / "best" / "rlsd.json").read_text())
    assert best["step"] == last["step"], "the weights that were diagnosed"


def test_a_killed_warm_start_can_end_at_its_checkpoint_with_weights_to_train_from(tmp_path: Path) -> None:
    """As it does when its last diagnosis is enough for a lower --success."""
    command = ["-m", "rlsd", "warm-start", DOORS, "--run", str(tmp_path), *TINY]
    killed = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, VARIABLE: "after-checkpoint:1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "best").exists()
    for _ in range(2):  # and only once
        with open_session(settled(load_config(tmp_path / "config.yaml"), tmp_path), tmp_path, None) as session:
            session.end_here()
        assert json.loads((tmp_path / "best" / "rlsd.json").read_text())["step"] == 5
        assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "eval"] == [4]


def test_an_adapter_on_a_model_that_exists_says_what_it_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(ROOT / "checkpoints" / "warm_tiny")
    options = ("--model", model, "--lora", "--iterations", "1", "--episodes", "4", "--set", "tensorboard=false")
    assert run(tmp_path / "run", *options) == 1
    assert "not ready: " in capsys.readouterr().out
    config = load_config(tmp_path / "run" / "config.yaml")
    assert config.model.lora is not None
    assert config.agent.max_new_tokens == 12, "as the note beside the weights says"
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "rlsd.yaml").exists()
    assert rlsd_config(config, tmp_path)["model"] == {"path": str(tmp_path), "lora": {}}


@pytest.mark.parametrize(
    ("env", "kwargs", "told"),
    [
        (
            "examples/coin_env.py:CoinEnv",
            {},
            "has no expert to imitate: expert('explorer') and expert('oracle')",
        ),
        (DOORS, {"silent": ["plan"]}, "gives no hindsight.plan at the start of train-0, which the teacher reads: fill"),
        (
            DOORS,
            {"silent": ["distance"]},
            "gives no hindsight.distance at the start of train-0, which says which",
        ),
        (
            DOORS,
            {"foolish": True},
            "the explorer of tests.support.doors:Doors wins none of its first 24 train",
        ),
    ],
)
def test_a_world_that_cannot_be_learned_so_is_one_sentence(env: str, kwargs: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        look(EnvConfig(id=env.replace("examples", str(ROOT / "examples")), kwargs=kwargs))
    assert told in str(refused.value)


def test_a_world_without_a_validation_split_is_told_which_one_to_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run", *TINY, env="rlsd/Keys-v0") == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("EnvError")]
    assert told == (
        "EnvError: rlsd/Keys-v0 cannot open its split 'valid' (EnvError: unknown split 'valid'. Known: test, train.): "
        "write one, or evaluate on another while training: --set env.valid_split=test"
    )
    with open_valid(EnvConfig(id="rlsd/Keys-v0", valid_split="test")) as env:
        assert env.tasks()[0].split == "test"

    (tmp_path / "one.py").write_text(
        "from tests.support.doors import Doors\n\n\nclass One(Doors):\n    def __init__(self, split):\n"
        "        super().__init__(split={'train': 'train'}[split])\n"
    )
    alone = EnvConfig(id=f"{tmp_path}/one.py:One")
    with pytest.raises(EnvError, match=r"KeyError: 'valid'.*=train --set eval.on_training_tasks=true$"):
        open_valid(alone)
    with pytest.raises(EnvError, match="KeyError: 'valid'"):  # no split opens
        open_valid(EnvConfig(id=alone.id, train_split="nothing"))


def test_an_auc_is_told_with_the_number_of_actions_that_it_rests_on() -> None:
    """One action that reduced the distance makes any AUC."""
    actions = {"nearer": 1, "not_nearer": 751}
    last = {
        "step": 25,
        "auc": [1.0, 1.0, 1.0],
        "auc_other": [1.0, 1.0, 1.0],
        "actions": actions,
        "student_success": 0.0,
    }
    assert line(last, 400) == (
        "step 25/400  AUC of Δ 1.00 own hindsight, 1.00 another task's (1 of 752 actions brought the goal nearer)  "
        "student wins 0 %"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--lora",), "ConfigError: --lora trains an adapter of a model: give one with --model FOLDER\n"),
        (("--expert", "genius"), "ConfigError: --expert 'genius': expected explorer or oracle\n"),
        (("--set", "lerner.lr=1"), "ConfigError: unknown config key 'lerner'. Did you mean 'learner'?"),
    ],
)
def test_a_wrong_option_is_one_line(
    options: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run", *options) == 2
    assert capsys.readouterr().err.startswith(told)
    assert not (tmp_path / "run").exists()


def test_the_recipe_leaves_room_for_the_longest_action_and_episode() -> None:
    seen = look(EnvConfig(id=DOORS))
    assert (seen.expert, seen.format, seen.longest_action) == ("explorer", "compact", len("right"))
    config = warm_config(EnvConfig(id=DOORS), seen, model=None, lora=False, iterations=9, episodes=3)
    assert config["agent"] == {"format": "compact", "memory": "full", "max_new_tokens": 12}
    assert config["model"]["tiny"]["context"] == 512
    wide = look(EnvConfig(id="rlsd/ALFWorld-v0", kwargs={"games": "gen-tiny"}))
    assert wide.new_tokens > 12
    assert wide.tokens > seen.tokens


GOOD: dict[str, Any] = {
    "step": 50,
    "auc": [0.6, 0.5, 0.7],
    "auc_other": [0.55, 0.5, 0.6],
    "counts": {"given": 90, "missing": 5, "too_long": 5},
    "actions": {"nearer": 40, "not_nearer": 50},
    "readable": False,
    "student_success": 0.5,
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "all 50 iterations are used up at AUC 0.60 with its own and 0.55 with another task's (needed: 0.65, and"),
        ({"counts": {"given": 2, "missing": 0, "too_long": 8}}, "hindsight is too long in 8 of 10 turns: raise hindsi"),
        ({"counts": {"given": 2, "missing": 8, "too_long": 0}}, "hindsight says nothing in 8 of 10 turns: give a plan"),
        (
            {"actions": {"nearer": 0, "not_nearer": 9}},
            "none of the student's 9 actions reduced the distance to the goal after",
        ),
        (
            {"actions": {"nearer": 9, "not_nearer": 0}},
            "all of the student's 9 actions reduced the distance to the goal",
        ),
        ({"student_success": 0.95}, "the student wins 95 % of its episodes without hindsight, which tells it little"),
        ({"readable": True, "student_success": 0.1}, "the student wins 10 % of its episodes, less than --success 0.3"),
        ({"auc": [None, None, None]}, "used up at AUC unknown with its own"),
    ],
)
def test_why_a_model_is_not_ready(changed: dict[str, Any], told: str) -> None:
    assert told in why_not({**GOOD, **changed}, 50, 0.3)


@pytest.mark.parametrize(
    ("readable", "student_success", "ready"), [(True, 0.3, True), (True, 0.29, False), (False, 0.9, False)]
)
def test_a_model_is_ready_if_it_reads_and_wins(readable: bool, student_success: float, ready: bool) -> None:
    assert is_ready({**GOOD, "readable": readable, "student_success": student_success}, 0.3) is ready
