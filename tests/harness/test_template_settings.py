"""Settings of the chat template: in the config, in the run directory, beside the weights, and in every prompt."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.agents.hf.models import load_policy, save_policy, tiny_policy
from rlsd.agents.memory import Message
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import ConfigError, load_config, parse_config
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.iteration.parts import chat_format, settled
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.weights import NOTE, noted_agent
from rlsd.harness.train import train
from tests.support.chat_families import FAMILIES
from tests.support.chat_tokenizers import tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose template tells the date."""
    folder = tmp_path_factory.mktemp("model") / "dated"
    save_policy(tiny_policy(tokenizer(FAMILIES["llama-3.1"]), layers=1, dim=16, heads=2, context=512), folder)
    return folder


def config(model: Path, **agent: Any) -> dict[str, Any]:
    return {
        "iterations": 1,
        "algorithm": "grpo",
        "env": {"id": "rlsd/Keys-v0", "kwargs": {"max_steps": 2}, "valid_split": "test"},
        "model": {"path": str(model)},
        "agent": {"format": "compact", "memory": "full", "max_new_tokens": 3, **agent},
        "rollout": {"tasks_per_iteration": 1, "group_size": 2},
        "eval": {"every": 1, "episodes": 1, "at_start": False},
        "tensorboard": False,
    }


def test_the_date_is_frozen_in_the_run_and_beside_its_weights(model: Path, tmp_path: Path) -> None:
    given = {"enable_thinking": False, "strftime_now": "2024-07-26"}
    run = tmp_path / "run"
    train(parse_config(config(model, template_kwargs=given)), run, progress=Progress(quiet=True))
    assert yaml.safe_load((run / "config.yaml").read_text())["agent"]["template_kwargs"] == given
    export_run(run, tmp_path / "weights")
    assert json.loads((tmp_path / "weights" / NOTE).read_text())["agent"]["template_kwargs"] == given
    assert noted_agent(tmp_path / "weights")["template_kwargs"] == given


def test_a_template_that_asks_for_today_gets_the_runs_first_day(model: Path, tmp_path: Path) -> None:
    plain = parse_config(config(model))
    assert settled(plain).agent.template_kwargs == {"strftime_now": date.today().isoformat()}
    run = tmp_path / "run"
    run.mkdir()
    earlier = parse_config(config(model, template_kwargs={"strftime_now": "2024-07-26"}))
    (run / "config.yaml").write_text(yaml.safe_dump(earlier.model_dump(mode="json")))
    assert settled(plain, run) == earlier
    assert settled(earlier) == earlier


def test_weights_are_played_with_the_date_in_their_note(model: Path) -> None:
    noted = {"format": "compact", "max_new_tokens": 3, "template_kwargs": {"strftime_now": "2024-07-26"}}
    (model / NOTE).write_text(json.dumps({"agent": noted}))
    try:
        request = EvalRequest(env="rlsd/Keys-v0", agent=f"hf:{model}", episodes=1, env_kwargs={"max_steps": 1})
        result, _ = run_eval(request, quiet=True)
    finally:
        (model / NOTE).unlink()
    prompt = result.trajectories[0].turns[0].action.prompt
    assert prompt is not None
    assert "Today Date: 26 Jul 2024" in tokenizer(FAMILIES["llama-3.1"]).decode(list(prompt.ids))


def test_a_model_whose_template_has_no_date_gets_none(tmp_path: Path) -> None:
    save_policy(tiny_policy(tokenizer(FAMILIES["chatml"]), layers=1, dim=16, heads=2, context=512), tmp_path / "model")
    plain = parse_config(config(tmp_path / "model"))
    assert settled(plain) == plain


def test_settings_reach_the_prompt(tmp_path: Path) -> None:
    save_policy(tiny_policy(tokenizer(FAMILIES["qwen3"]), layers=1, dim=16, heads=2, context=512), tmp_path / "model")
    policy = load_policy(tmp_path / "model")
    for thinking, end in ((True, "assistant\n"), (False, "assistant\n<think>\n\n</think>\n\n")):
        agent = parse_config(config(tmp_path, template_kwargs={"enable_thinking": thinking})).agent
        prompt = chat_format(policy, agent).prompt([Message(role="user", text="a")], [])
        assert policy.tokenizer.decode(list(prompt.ids)).endswith(end)
    kept = parse_config(config(tmp_path, keep_thoughts=True)).agent
    assert chat_format(policy, kept).extends
    assert not chat_format(policy, parse_config(config(tmp_path)).agent).extends


def test_an_unquoted_date_of_yaml_is_the_same_setting(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {path: m}\nagent: {template_kwargs: {strftime_now: 2024-07-26}}\n")
    assert load_config(file, []).agent.template_kwargs == {"strftime_now": "2024-07-26"}


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"add_generation_prompt": False}, "cannot set 'add_generation_prompt'"),
        ({"tools": {1, 2}}, "expected values that JSON can hold"),
    ],
)
def test_settings_that_cannot_be(kwargs: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config(config(Path("m"), template_kwargs=kwargs))
