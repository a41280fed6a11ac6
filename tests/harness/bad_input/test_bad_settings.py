"""Config files, overrides, names and game files that are wrong end in one clear line and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.smallest_run import Cli

# ---------------------------------------------------------------------- config files and overrides


@pytest.mark.parametrize(
    "override, expected",
    [
        ("learner.lrr=1", ["learner.lrr", "Did you mean 'lr'?"]),
        ("iteration=3", ["iteration", "Did you mean 'iterations'?"]),
        ("model.tiny.layer=3", ["model.tiny.layer", "'layers'"]),
        ("algorithm=rlds", ["'rlds'", "Did you mean 'rlsd'?"]),
        ("algorithm=opd", ["weights is external", "--set algorithm.teacher.path=FOLDER"]),
        ("algorithm={name: opd, teacher: {path: nowhere/at/all}}", ["no tokenizer", "'nowhere/at/all'"]),
        ("algorithm.teacher.path=nowhere", ["path names an external teacher", "given 'live'"]),
        ("algorithm={name: srpo, loss: {distill: {route: failures}}}", ["'failures'", "Did you mean 'failure'?"]),
        ("algorithm.credit.levle=token", ["levle", "'level'"]),
        ("algorithm.credit.level=tokens", ["tokens", "'token'"]),
        ("algorithm.contexts=[plann]", ["plann", "Did you mean 'plan'?"]),
        ("algorithm.contexts=[nowhere:thing]", ["nowhere:thing", "cannot import"]),
        ("env.id=rlsd/ALFWrld-v0", ["rlsd/ALFWrld-v0", "rlsd/ALFWorld-v0"]),
        ("env.id=nowhere:Env", ["nowhere", "cannot be imported"]),
        ("env.kwargs.gamse=gen-tiny", ["gamse", "Did you mean 'games'?"]),
        ("env.kwargs.games=gen-tyni", ["gen-tyni", "Did you mean 'gen-tiny'?"]),
        ("env.train_split=trian", ["trian", "'train'"]),
        ("env.valid_split=vald", ["vald", "'valid'"]),
        ("learner.lr=-1", ["learner.lr", "-1"]),
        ("learner.lr=fast", ["learner.lr", "fast"]),
        ("model.tiny.heads=3", ["model.tiny.dim", "model.tiny.heads"]),
        ("model.path=somewhere", ["model.path", "model.tiny"]),
        ("sampler.top_p=0.9", ["sampler.top_p", "training", "set it to 1"]),
        ("hindsight.max_tokens=1", ["hindsight.max_tokens", "raise it"]),
        ("hindsight.max_tokens=500", ["leave", "of 512 context tokens"]),
        ("learner.device=cuda", ["learner.device", "CUDA"]),
        ("reward=nowhere:reward", ["reward", "cannot import 'nowhere:reward'"]),
        ("reward=math:cosinus", ["reward", "cosinus"]),
        ("reward=math:pi", ["reward", "float", "expected a function"]),
        ("reward=math", ["expected module:function"]),
        ("reward=:cos", ["expected module:function"]),
        ("learner.lr", ["expected name=value"]),
        ("=1", ["expected name=value"]),
        ("learner.lr=[1", ["learner.lr=[1", "not YAML"]),
        ("sampler.urls=[127.0.0.1:8000]", ["'127.0.0.1:8000'", "http://127.0.0.1:8000"]),
        ("sampler.urls=[http://a:1,http://a:1]", ["names http://a:1 more than once"]),
        ("env.id=http://127.0.0.1:9", ["http://127.0.0.1:9 takes no", "--set env.kwargs={}"]),
        ("iterations.more=1", ["'iterations' is a value, not a block"]),
        ("sft.trajectories=nowhere.jsonl", ["sft.trajectories", "nowhere.jsonl"]),
    ],
)
def test_override(fails: Cli, config: Path, tmp_path: Path, override: str, expected: list[str]) -> None:
    if "cuda" in override:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    error = fails("train", config, "--run", tmp_path / "run", "--quiet", "--set", override)
    assert all(part in error for part in expected), error
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_context_too_small_for_a_single_prompt(fails: Cli, config: Path, tmp_path: Path) -> None:
    error = fails(
        *("train", config, "--run", tmp_path / "run", "--quiet", "--set", "agent.context=64"),
        *("--set", "hindsight.max_tokens=30", "--set", "eval.every=0"),
    )
    assert "none of 2 episodes got as far as one action" in error
    assert "agent.context" in error


@pytest.mark.parametrize(
    "override, expected",
    [
        ("algorithm.contexts=[plann]", "Did you mean 'plan'?"),
        ("reward=math:cosinus", "cosinus"),
        ("env.kwargs.games=gen-tyni", "Did you mean 'gen-tiny'?"),
    ],
)
def test_names_are_checked_before_a_model_loads(
    fails: Cli, config: Path, tmp_path: Path, override: str, expected: str
) -> None:
    model = ("--set", "model.tiny=null", "--set", f"model.path={tmp_path}/none")
    assert "there is no folder" in fails("train", config, "--run", tmp_path / "run", *model)
    assert expected in fails("train", config, "--run", tmp_path / "run", *model, "--set", override)


def test_reward_module_that_breaks_on_import(fails: Cli, config: Path, tmp_path: Path) -> None:
    (tmp_path / "broken_reward.py").write_text("def reward(:\n")
    sys.path.insert(0, str(tmp_path))
    try:
        error = fails("train", config, "--run", tmp_path / "run", "--set", "reward=broken_reward:reward")
    finally:
        sys.path.remove(str(tmp_path))
    assert "SyntaxError" in error


@pytest.mark.parametrize(
    "text, expected",
    [
        ("- a\n- b\n", "expected a mapping"),
        ("a: [1\n", "not YAML"),
        ("", "expected a mapping"),
        ("iterations: 1\n", "model"),
        ("model: {}\n", "model.tiny"),
        (b"\xff\xfe\x00", "no text file"),
    ],
)
def test_config_file(fails: Cli, tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert expected in fails("train", path, "--run", tmp_path / "run")


def test_no_config_file(fails: Cli, tmp_path: Path) -> None:
    assert "No such file" in fails("train", tmp_path / "none.yaml")
    (tmp_path / "empty").mkdir()
    assert "empty" in fails("train", tmp_path / "empty")


# ---------------------------------------------------------------------- environments and agents by name


def test_unknown_environment_and_agent(fails: Cli) -> None:
    assert "rlsd/ALFWorld-v0" in fails("eval", "--env", "rlsd/AlfWorld-v0")
    assert "Did you mean 'explorer'?" in fails("eval", "--env", "rlsd/Keys-v0", "--agent", "explorerr")
    assert "give a config file" in fails("eval")
    assert "expected name=value" in fails("eval", "--env", "rlsd/Keys-v0", "--arg", "games")
    assert "not YAML" in fails("eval", "--env", "rlsd/Keys-v0", "--arg", "games=[")
    assert "Did you mean" in fails("check-env", "rlsd/Key-v0")


def test_a_config_is_not_evaluated_with_another_agent(fails: Cli, config: Path) -> None:
    """Its own model would have been silently evaluated under the config's name."""
    assert "--agent vllm:http://a:1 belongs to --env" in fails("eval", config, "--agent", "vllm:http://a:1")
    assert "--arg belongs to --env" in fails("eval", config, "--arg", "games=gen-tiny")


def test_environment_without_the_expert_asked_for(fails: Cli, tmp_path: Path) -> None:
    error = fails("eval", "--env", "tests.support.plain_worlds:Plain", "--agent", "oracle")
    assert "Plain has no 'oracle' expert" in error


def test_settings_of_a_bare_model_folder(fails: Cli, trained: Path) -> None:
    agent = f"hf:{trained / 'best'}"
    error = fails("eval", "--env", "rlsd/Keys-v0", "--agent", agent, "--set", "agent.memry=full")
    assert "Did you mean 'memory'?" in error
    assert "agent.name=value" in fails("eval", "--env", "rlsd/Keys-v0", "--agent", agent, "--set", "learner.lr=1")


# ---------------------------------------------------------------------- game files


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe"])
def test_damaged_game_file(fails: Cli, config: Path, tmp_path: Path, content: bytes) -> None:
    game = tmp_path / "game.tw-pddl"
    game.write_bytes(content)
    for when in ("true", "false"):  # with and without an evaluation that would read the file first
        error = fails(
            *("train", config, "--run", tmp_path / "run", "--quiet"),
            *("--set", f"env.kwargs.games={game}", "--set", f"eval.at_start={when}", "--set", "eval.every=0"),
        )
        assert "game.tw-pddl" in error


def test_missing_game_file(fails: Cli, config: Path, tmp_path: Path) -> None:
    error = fails("train", config, "--run", tmp_path / "run", "--set", f"env.kwargs.games={tmp_path}/none.tw-pddl")
    assert "none.tw-pddl" in error
    (tmp_path / "bare").mkdir()
    error = fails("train", config, "--run", tmp_path / "run", "--set", f"env.kwargs.games={tmp_path}/bare")
    assert "bare" in error
