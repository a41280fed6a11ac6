"""Weights in a folder say how their agent was prompted, and whoever plays them does so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.export import export_run
from rlsd.harness.config import ConfigError, load_config, parse_config
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.weights import NOTE, noted_agent
from rlsd.harness.train import train

ROOT = Path(__file__).parents[3]
AGENT = {"format": "compact", "memory": "full", "max_new_tokens": 5}
CONFIG: dict[str, Any] = {
    "iterations": 1,
    "algorithm": "grpo",
    "env": {"id": "rlsd/Keys-v0", "kwargs": {"max_steps": 3}, "valid_split": "test"},
    "model": {"tiny": {"layers": 1, "dim": 16, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 2}},
    "agent": AGENT,
    "rollout": {"tasks_per_iteration": 1, "group_size": 2},
    "eval": {"every": 1, "episodes": 1, "at_start": False},
    "tensorboard": False,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(parse_config(CONFIG), folder, progress=Progress(quiet=True))
    return folder


def played(folder: Path, *overrides: str) -> list[Any]:
    """(prompt, sampled ids) of every turn of two episodes."""
    request = EvalRequest(
        env="rlsd/Keys-v0", agent=f"hf:{folder}", episodes=2, env_kwargs={"max_steps": 3}, overrides=overrides
    )
    result, _ = run_eval(request, quiet=True)
    actions = [turn.action for t in result.trajectories for turn in t.turns]
    return [(a.prompt.ids if a.prompt else (), a.token_ids) for a in actions]


@pytest.mark.parametrize("last", [False, True])
def test_weights_are_played_as_they_were_trained(run: Path, tmp_path: Path, last: bool) -> None:
    folder = tmp_path / "weights"
    export_run(run, folder, last=last)
    assert noted_agent(folder) == noted_agent(run / "best") == AGENT
    found = played(folder)
    assert found == played(folder, *(f"agent.{k}={v}" for k, v in AGENT.items()))
    assert all(len(ids) <= AGENT["max_new_tokens"] for _, ids in found)


def test_settings_given_go_before_the_note(run: Path) -> None:
    prompts = [[prompt for prompt, _ in played(run / "best", *given)] for given in ((), ("agent.format=think",))]
    assert prompts[0] != prompts[1]
    assert max(len(ids) for _, ids in played(run / "best", "agent.max_new_tokens=2")) == 2


def test_weights_without_a_note_have_the_defaults(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    export_run(run, folder)
    (folder / NOTE).unlink()
    assert noted_agent(folder) == {}
    assert noted_agent("an/id-of-a-hub") == {}
    assert played(folder, "agent.max_new_tokens=5") == played(folder, "agent.format=think", "agent.max_new_tokens=5")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "is not a note of rlsd"),
        ('{"agent": 3}', "is not a note of rlsd"),
        ('{"agent": {"formt": "compact"}}', "Did you mean 'format'"),
    ],
)
def test_a_note_that_is_damaged(run: Path, tmp_path: Path, text: str, told: str) -> None:
    folder = tmp_path / "weights"
    export_run(run, folder)
    (folder / NOTE).write_text(text)
    with pytest.raises(ConfigError, match=told):
        played(folder)


@pytest.mark.parametrize(
    ("weights", "config"),
    [
        ("warm_tiny", "alfworld/warm_tiny"),
        ("warm_real", "alfworld/warm_real"),
        ("warm_searchqa", "searchqa/warm_tiny"),
        ("warm_webshop", "webshop/warm_tiny"),
    ],
)
def test_shipped_weights_say_what_their_config_says(weights: str, config: str) -> None:
    settings = load_config(ROOT / "configs" / f"{config}.yaml", [])
    assert noted_agent(ROOT / "checkpoints" / weights) == json.loads(
        settings.agent.model_dump_json(exclude_defaults=True)
    )
