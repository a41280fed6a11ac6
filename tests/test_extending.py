"""docs/extending.md works: every Python block runs, and a run comes in by every door that a config has."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd.algorithms import AlgorithmError
from rlsd.envs import check_env, make
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FILES = {match[1]: text for text in BLOCKS if (match := re.match(r"# (\w+\.py)\n", text))}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files in a folder that Python imports from."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_every_block_names_its_file() -> None:
    assert len(FILES) == len(BLOCKS) > 6


@pytest.mark.parametrize("name", FILES)
def test_every_block_runs(files: Path, name: str) -> None:
    assert runpy.run_path(str(files / name), run_name="__main__")


def test_the_environment_keeps_the_contract(files: Path) -> None:
    assert [f for f in check_env(make(f"{files}/my_env.py:HigherLower")) if not f.ok] == []


def test_a_run_takes_environment_reward_and_context_and_hands_its_numbers_to_a_tracker(files: Path) -> None:
    config = parse_config(
        {
            "iterations": 1,
            "algorithm": {"name": "rlsd", "contexts": ["plan", "my_context:LOST"]},
            "env": {"id": f"{files}/my_env.py:HigherLower"},
            "model": {"path": str(ROOT / "checkpoints" / "warm_tiny")},
            "agent": {"format": "compact", "memory": "full", "max_new_tokens": 4},
            "rollout": {"tasks_per_iteration": 1, "group_size": 2},
            "hindsight": {"max_tokens": 64},
            "reward": "my_reward:short_wins",
            "eval": {"every": 0, "at_start": False},
            "tensorboard": False,
            "tracker": "my_tracker:Lines",
            "tracker_options": {"name": "mine.txt"},
        }
    )
    train(config, files / "run")
    (record,) = read_metrics(files / "run" / "metrics.jsonl")
    assert record["returns"] == pytest.approx(record["success"] - 0.02 * record["turns"])
    assert (files / "run" / "mine.txt").read_text() == f"# rlsd\n1 {record['returns']}\n"


def smallest(files: Path, algorithm: Any) -> list[dict[str, Any]]:
    """The records of two iterations on generated games, with the shipped tiny model."""
    config = parse_config(
        {
            "iterations": 2,
            "algorithm": algorithm,
            "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny"}},
            "model": {"path": str(ROOT / "checkpoints" / "warm_tiny")},
            "agent": {"format": "compact", "memory": "full", "max_new_tokens": 12},
            "rollout": {"tasks_per_iteration": 2, "group_size": 3},
            "learner": {"lr": 1e-4},
            "eval": {"every": 0, "at_start": False},
            "tensorboard": False,
        }
    )
    train(config, files / "run")
    return [r for r in read_metrics(files / "run" / "metrics.jsonl") if r["kind"] == "train"]


@pytest.mark.parametrize(
    "algorithm",
    [
        "my_credit:GRPO_NEARER",
        {"name": "grpo", "contexts": ["plan"], "credit": {"rule": "my_credit:nearer", "lam": 1.0}},
    ],
)
def test_a_run_takes_a_method_and_a_credit_rule_of_ones_own(files: Path, algorithm: Any) -> None:
    records = smallest(files, algorithm)
    assert [r["credit"]["lam"] for r in records] == [1.0, 1.0]
    assert all(r["credit"]["weight_shift"] > 0 for r in records if r["mixed_groups"] > 0)
    assert any(r["mixed_groups"] > 0 for r in records)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        ("my_credit:NOTHING", "algorithm: cannot import 'my_credit:NOTHING': AttributeError"),
        ("my_credit:nearer", "expected a Method or an AlgorithmConfig, given 'my_credit:nearer', of type function"),
        ({"name": "grpo", "credit": {"rule": "nowhere:rule"}}, "algorithm.credit.rule: cannot import 'nowhere:rule'"),
        ({"name": "grpo", "credit": {"rule": "my_credit:GRPO_NEARER"}}, "expected a function, given 'my_credit:GRPO_N"),
    ],
)
def test_a_wrong_door_is_one_line(files: Path, algorithm: Any, message: str) -> None:
    with pytest.raises((ConfigError, AlgorithmError), match=re.escape(message)):
        smallest(files, algorithm)
