"""`rlsd eval` says which weights it plays, also of an adapter alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.hf.adapters import ADAPTER
from rlsd.agents.hf.models import ModelError, load_policy
from rlsd.harness.cli.app import main
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.evals.played import digest, told, weights_of
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.weights import NOTE
from rlsd.harness.train import train

CONFIG: dict[str, Any] = {
    "iterations": 2,
    "algorithm": "grpo",
    "env": {"id": "rlsd/Keys-v0", "kwargs": {"max_steps": 3}, "valid_split": "test"},
    "model": {
        "tiny": {"layers": 1, "dim": 16, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 2},
        "lora": {"rank": 2, "alpha": 64},
    },
    "agent": {"format": "compact", "memory": "full", "max_new_tokens": 5},
    "rollout": {"tasks_per_iteration": 1, "group_size": 2},
    "learner": {"lr": 0.05},
    "reward": "tests.support.plain_worlds:odd_tokens",
    "eval": {"every": 1, "episodes": 1, "at_start": True},
    "tensorboard": False,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(parse_config(CONFIG), folder, progress=Progress(quiet=True))
    return folder


def responses(folder: Path) -> list[Any]:
    request = EvalRequest(env="rlsd/Keys-v0", agent=f"hf:{folder}", episodes=3, env_kwargs={"max_steps": 3})
    result, _ = run_eval(request, quiet=True)
    return [turn.action.token_ids for t in result.trajectories for turn in t.turns]


def test_a_run_says_its_step_and_digest(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["eval", str(run), "--episodes", "1", "--json", "--save", str(tmp_path / "a.json")])
    assert not end.value.code
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    expected = {"folder": str(run / "best"), "step": 0, "digest": digest(run / "best")}
    assert summary["weights"] == expected == json.loads((tmp_path / "a.json").read_text())["weights"]
    assert told(expected) == f"weights: {run / 'best'}, step 0, digest {expected['digest']}"


def test_the_step_is_read_from_the_metrics_of_an_older_version(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    note = json.loads((copy / "best" / NOTE).read_text())
    assert note.pop("step") == 0
    (copy / "best" / NOTE).write_text(json.dumps(note))
    assert weights_of(copy / "best")["step"] == 0
    records = [{"step": s, "kind": "eval", "success": x} for s, x in ((-1, 0.1), (4, 0.5), (9, 0.5), (14, 0.2))]
    (copy / "metrics.jsonl").write_text("".join(json.dumps({**r, "timing": {}}) + "\n" for r in records))
    assert weights_of(copy / "best")["step"] == 5
    (copy / "metrics.jsonl").unlink()
    assert "step" not in weights_of(copy / "best")
    assert weights_of("an/id-of-a-hub") == {"name": "an/id-of-a-hub"}


def test_the_digest_changes_with_the_weights(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run / "best", tmp_path / "best"))
    (copy / "notes.txt").write_text("x")
    assert digest(copy) == digest(run / "best")
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    assert digest(copy) != digest(run / "best")


def test_an_exported_adapter_plays_as_the_merged_weights_do(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "merged", last=True)
    export_run(run, tmp_path / "adapter", adapter=True)
    assert not (tmp_path / "adapter" / "config.json").exists()
    assert responses(tmp_path / "adapter") == responses(tmp_path / "merged")
    assert responses(tmp_path / "adapter") != responses(tmp_path / "adapter" / "base"), "the adapter does something"
    assert weights_of(tmp_path / "adapter")["step"] == weights_of(tmp_path / "merged")["step"] == 2
    moved = Path(shutil.move(tmp_path / "adapter", tmp_path / "elsewhere"))
    assert responses(moved) == responses(tmp_path / "merged")


@pytest.mark.parametrize(
    ("named", "words"),
    [(None, "without the name of its base model"), ("/no/such/folder", "is an adapter of /no/such/folder")],
)
def test_an_adapter_without_its_base_is_one_clear_error(
    run: Path, tmp_path: Path, named: str | None, words: str
) -> None:
    folder = tmp_path / "adapter"
    export_run(run, folder, adapter=True)
    settings = json.loads((folder / ADAPTER).read_text())
    (folder / ADAPTER).write_text(json.dumps({**settings, "base_model_name_or_path": named}))
    with pytest.raises(ModelError, match=words):
        load_policy(folder)
    (folder / ADAPTER).write_text(json.dumps({**settings, "base_model_name_or_path": "base"}))
    (folder / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="cannot load the adapter"):
        load_policy(folder)


def test_a_run_without_best_weights_plays_its_newest_checkpoint_and_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "best")
    request = EvalRequest(config=copy, episodes=3)
    result, name = run_eval(request)
    newest = copy / "checkpoints" / "step-000002"
    assert name == "run"
    assert result.weights == {"folder": str(newest), "step": 2, "digest": digest(newest, "model*")}
    assert str(newest) in capsys.readouterr().err.replace("\n", "")
    export_run(run, tmp_path / "last", last=True)
    assert [turn.action.token_ids for t in result.trajectories for turn in t.turns] == responses(tmp_path / "last")


def test_a_run_without_any_weights_is_an_error_that_says_how_to_get_some(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "best")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(ConfigError, match="neither best/ nor a checkpoint yet: train it for longer"):
        run_eval(EvalRequest(config=copy, episodes=1), quiet=True)
