"""Weights in a folder say how their agent was prompted, and whoever plays them does so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.harness.cli.app import main
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import ConfigError, load_config, parse_config
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.manifest import MANIFEST
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


def best_files() -> list[str]:
    return ["config.json", "generation_config.json", "model.safetensors", "rlsd.json", "tokenizer.json"]


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def readers(run: Path, tmp_path: Path) -> dict[str, list[str]]:
    """Every command that reads the best weights of a run."""
    warm = tmp_path / "warm.yaml"
    warm.write_text(yaml.safe_dump({**CONFIG, "model": {"path": str(run)}}))
    keys = ["eval", "--env", "rlsd/Keys-v0", "--arg", "max_steps=2", "--episodes", "1"]
    return {
        "eval of the run": ["eval", str(run), "--episodes", "1"],
        "eval of the folder": [*keys, "--agent", f"hf:{run / 'best'}"],
        "export": ["export", str(run), str(tmp_path / "out")],
        "a run that starts from it": ["train", str(warm), "--run", str(tmp_path / "second"), "--quiet"],
        "a server": ["serve", "policy", str(run / "best"), "--show"],
        "going on": ["train", str(run), "--quiet", "--set", "iterations=2"],
    }


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert error.count("\n") == 1, error
    return error


def test_best_weights_have_a_manifest_of_every_file_and_exports_none(run: Path, tmp_path: Path) -> None:
    listed = json.loads((run / "best" / MANIFEST).read_text())
    assert set(listed) == {p.name for p in (run / "best").iterdir()} - {MANIFEST}
    assert set(best_files()) <= set(listed)
    export_run(run, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(listed)
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


READERS = ["eval of the run", "eval of the folder", "export", "a run that starts from it", "a server", "going on"]


@pytest.mark.parametrize("reader", READERS)
def test_damaged_best_weights_are_one_line_for_everybody_who_reads_them(
    reader: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = readers(copy, tmp_path)[reader]
    path = copy / "best" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)
    error = told(arguments, capsys)
    assert f"{copy / 'best'} is damaged: model.safetensors is corrupt (SHA-256 differs" in error
    assert not (tmp_path / "out").exists()
    path.unlink()
    assert f"{copy / 'best'} lacks model.safetensors" in told(arguments, capsys)


@pytest.mark.parametrize("name", best_files())
def test_every_file_of_the_best_weights_counts(
    name: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "best" / name
    path.write_bytes(path.read_bytes() + b" ")
    assert f"{name} is corrupt" in told(["export", str(copy), str(tmp_path / "out")], capsys)


def test_what_the_lines_advise_works(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "best" / "extra.json").write_text("{}")
    assert "holds extra.json, which is not in its MANIFEST.json" in told(["eval", str(copy)], capsys)
    export_run(copy, tmp_path / "last", last=True)
    shutil.rmtree(copy / "best")
    capsys.readouterr()
    train(parse_config({**CONFIG, "iterations": 2}), copy, progress=Progress())
    assert "is gone; the next evaluation writes it again" in " ".join(capsys.readouterr().err.split())
    export_run(copy, tmp_path / "best")
    assert noted_agent(tmp_path / "best") == AGENT


def test_best_weights_of_an_earlier_version_are_read(copy: Path, tmp_path: Path) -> None:
    (copy / "best" / MANIFEST).unlink()
    export_run(copy, tmp_path / "out")
    train(parse_config({**CONFIG, "iterations": 2}), copy)


def test_an_export_leaves_a_folder_of_its_former_working_name_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis").write_text("mine")
    export_run(run, tmp_path / "out")
    assert (tmp_path / "out.partial" / "thesis").read_text() == "mine"
