"""What `examples/` shows works: the environment of the docs, and the loop without the trainer."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlsd.envs import check_env, make
from rlsd.harness.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
COIN = f"{ROOT / 'examples' / 'coin_env.py'}:CoinEnv"
GARDEN = f"{ROOT / 'examples' / 'garden_env.py'}:GardenEnv"


def _module(name: str) -> Any:
    spec = spec_from_file_location(f"examples_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_coin_env_keeps_the_contract() -> None:
    assert [f for f in check_env(make(COIN)) if not f.ok] == []


def test_coin_env_fits_in_forty_lines_and_stands_in_the_docs() -> None:
    text = (ROOT / "examples" / "coin_env.py").read_text()
    assert len(text.splitlines()) <= 40
    assert text.strip() in (ROOT / "docs" / "environments.md").read_text()


def test_coin_env_hindsight_solves_every_task() -> None:
    env = make(COIN, split="test")
    for task in env.tasks():
        env.reset(options={"task": task.task_id})
        assert env.hindsight().distance == 1
        _, reward, terminated, truncated, info = env.step(env.hindsight().plan[0])
        assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
        assert env.hindsight().plan == ()


def test_coin_env_splits_are_disjoint() -> None:
    train, test = ({t.task_id for t in make(COIN, split=s).tasks()} for s in ("train", "test"))
    assert train
    assert test
    assert not train & test


def test_check_env_command_takes_the_file() -> None:
    done = CliRunner().invoke(app, ["check-env", COIN])
    assert done.exit_code == 0, done.output
    assert "FAIL" not in done.output


def test_a_random_agent_is_evaluated_on_it() -> None:
    done = CliRunner().invoke(app, ["eval", "--env", COIN, "--agent", "random", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output.splitlines()[-1])
    assert found["episodes"] == 12
    assert 0 < found["success"] < 1
    assert found["errors"] == 0


def test_garden_env_keeps_the_contract_in_few_lines() -> None:
    assert [f for f in check_env(make(GARDEN)) if not f.ok] == []
    assert len((ROOT / "examples" / "garden_env.py").read_text().splitlines()) <= 84


def test_garden_env_has_other_layouts_in_every_split() -> None:
    ids = {split: {t.task_id for t in make(GARDEN, split=split).tasks()} for split in ("train", "valid", "test")}
    layouts = {split: {name.partition(": ")[2] for name in names} for split, names in ids.items()}
    assert {split: (len(ids[split]), len(layouts[split])) for split in ids} == {
        "train": (1200, 80),
        "valid": (300, 20),
        "test": (300, 20),
    }
    assert len(set().union(*layouts.values())) == 120


@pytest.mark.parametrize(("kind", "longest"), [("oracle", 6), ("explorer", 10)])
def test_garden_envs_experts_win_and_what_the_plan_names_reduces_the_distance(kind: str, longest: int) -> None:
    env = make(GARDEN, split="test")
    turns = []
    for task in env.tasks():
        env.reset(options={"task": task.task_id})
        won, played = False, 0
        while not won:
            before, action = env.hindsight(), env.expert(kind)
            assert action is not None
            *_, won, truncated, info = env.step(action)
            assert not truncated
            assert info["valid_action"]
            if action == before.plan[0]:
                assert env.hindsight().distance == (before.distance or 0) - 1
            played += 1
        assert env.hindsight().plan == ()
        assert env.expert(kind) is None
        turns.append(played)
    assert max(turns) == longest


def test_garden_env_can_be_lost() -> None:
    """A can emptied over another plant, and a wrong tool, cost turns; the plan leads out of both."""
    env: Any = make(GARDEN, split="test")
    task = next(t for t in env.tasks() if t.task_type == "water")
    env.reset(options={"task": task.task_id})
    wrong = next(bed for plant, bed in env.where.items() if plant != env.x)
    plant = next(p for p, bed in env.where.items() if bed == wrong)
    for action in ("go to shed", "take can", "go to pond", "fill can", f"go to {wrong}", f"water {plant}"):
        *_, won, _, info = env.step(action)
        assert (won, info["valid_action"]) == (False, True)
    assert env.hindsight().plan[:2] == ("go to pond", "fill can")
    for action in ("go to shed", "take spade", "water the fern", f"dig {env.x}"):
        text, *_, info = env.step(action)
    assert (text, info["valid_action"]) == ("You cannot do that.", False)
    assert env.hindsight().plan[0] == "take can"
    ends = [env.step("go to shed")[2:4] for _ in range(6)]
    assert ends == [*[(False, False)] * 5, (False, True)]


def test_plain_loop_runs(capsys: pytest.CaptureFixture[str]) -> None:
    wins = _module("plain_loop").main(warm_steps=25, steps=2)
    assert len(wins) == 2
    assert all(0 <= w <= 1 for w in wins)
    assert capsys.readouterr().out.count("mean |m - 1|") == 2
