"""Models, episodes and files given to a command: what is wrong with them is one line, never in a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.hf.models import ModelError, load_policy
from rlsd.harness.cli.app import main
from rlsd.harness.runs import checkpoint
from tests.support.smallest_run import Cli

# ---------------------------------------------------------------------- models


def test_no_model_folder(fails: Cli, config: Path, tmp_path: Path) -> None:
    error = fails(
        "train", config, "--run", tmp_path / "run", "--set", "model.tiny=null", "--set", f"model.path={tmp_path}/no"
    )
    assert "there is no folder" in error
    (tmp_path / "bare").mkdir()
    error = fails("eval", "--env", "rlsd/Keys-v0", "--agent", f"hf:{tmp_path / 'bare'}")
    assert "no config.json" in error


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_one_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def untie(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "tie_word_embeddings": False}))


def other_width(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "hidden_size": 32}))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    "harm, expected",
    [
        (without("model.safetensors"), "model.safetensors"),
        (without("tokenizer.json"), ""),
        (without("chat_template.jinja"), "no chat template"),
        (cut_weights, "cannot load a model"),
        (drop_one_weight, "lacks 1 weights that its config requires, e.g. 'model.norm.weight'"),
        (untie, "lm_head.weight"),
        (other_width, "cannot load a model"),
        (no_json, "cannot load a model"),
    ],
)
def test_damaged_model_folder(
    fails: Cli, trained: Path, tmp_path: Path, harm: Callable[[Path], None], expected: str
) -> None:
    folder = Path(shutil.copytree(trained / "best", tmp_path / "model"))
    (folder / "MANIFEST.json").unlink()  # it would find all of these first
    load_policy(folder)
    harm(folder)
    error = fails("eval", "--env", "rlsd/Keys-v0", "--agent", f"hf:{folder}")
    assert error.startswith("ModelError")
    assert expected in error
    with pytest.raises(ModelError):
        load_policy(folder)


# ---------------------------------------------------------------------- own episodes, comparing, exporting


GOOD_LINE = json.dumps({"goal": "g", "turns": [{"observation": "o", "action": "a"}]})


@pytest.mark.parametrize(
    "line", ["{", "[]", '"text"', "{}", '{"goal": "g", "turns": []}', '{"goal": "g", "turns": [{"action": "a"}]}', "3"]
)
def test_broken_line_of_own_episodes(fails: Cli, config: Path, tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{GOOD_LINE}\n\n{line}\n")
    error = fails(
        *("train", config, "--run", tmp_path / "run"),
        *("--set", "algorithm=sft", "--set", f"sft.trajectories={path}"),
    )
    assert f"line 3 of {path}" in error
    assert '"goal"' in error


def test_own_episodes_that_are_no_text(fails: Cli, config: Path, tmp_path: Path) -> None:
    for name, content in (("a.jsonl.gz", b"no gzip"), ("b.jsonl", b"\xff\xfe"), ("c.jsonl", b"")):
        (tmp_path / name).write_bytes(content)
        error = fails("train", config, "--run", tmp_path / "run", "--set", f"sft.trajectories={tmp_path / name}")
        assert "sft.trajectories" in error


def test_compare(fails: Cli, tmp_path: Path) -> None:
    def write(name: str, data: Any) -> Path:
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    good = write("a.json", {"panel": {"digest": "aa"}, "wins": {"t1": True, "t2": False}})
    other = write("b.json", {"panel": {"digest": "bb"}, "wins": {"t1": True, "t2": False}})
    error = fails("compare", good, other)
    assert "different panels" in error
    assert "aa" in error
    assert "bb" in error
    for i, bad in enumerate(["{", "[]", {"panel": {}, "wins": {}}, {"panel": "x", "wins": {}}, {"wins": {}}]):
        assert "rlsd eval --save" in fails("compare", good, write(f"bad{i}.json", bad))
    fewer = write("c.json", {"panel": {"digest": "aa"}, "wins": {"t1": True}})
    assert "same tasks" in fails("compare", good, fewer)
    empty = write("d.json", {"panel": {"digest": "aa"}, "wins": {}})
    assert "same tasks" in fails("compare", empty, empty)
    assert "rlsd eval --save" in fails("compare", good, tmp_path / "none.json")


def test_export(fails: Cli, run: Path, tmp_path: Path) -> None:
    assert "exists already" in fails("export", run, tmp_path)
    assert "is no run directory" in fails("export", tmp_path, tmp_path / "new")
    assert "not trained with LoRA" in fails("export", run, tmp_path / "new", "--adapter")
    shutil.rmtree(run / "best")
    assert "use --last" in fails("export", run, tmp_path / "new")
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in fails("export", run, tmp_path / "new", "--last")
    assert not (tmp_path / "new").exists()


def test_looking_for_checkpoints_leaves_unfinished_ones_alone(run: Path) -> None:
    """`rlsd export --last` may look while the run is being trained."""
    partial = run / "checkpoints" / "step-000009.partial"
    partial.mkdir()
    latest = checkpoint.latest(run / "checkpoints")
    assert latest is not None
    assert latest.name == "step-000001"
    assert partial.is_dir()


def test_evaluating_a_run_that_has_no_weights(fails: Cli, run: Path) -> None:
    shutil.rmtree(run / "best")
    shutil.rmtree(run / "checkpoints")
    assert "neither best/ nor a checkpoint" in fails("eval", run)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("rlsd/Keys-v0", "--arg", "roms=3"), "no such argument. Did you mean 'rooms'?"),
        (("rlsd/Keys-v0", "--arg", "rooms=many"), "'rlsd/Keys-v0' cannot be opened with rooms='many'"),
        (("FrozenLake-v1",), "'FrozenLake-v1' made a FrozenLakeEnv, expected an rlsd.envs.TextEnv"),
        (("FrozenLake-v1", "--arg", "is_slippery=false"), "expected an rlsd.envs.TextEnv"),
        (("CartPole-v1",), "expected an rlsd.envs.TextEnv"),
        (("FrozenLake8x8-v1",), "expected an rlsd.envs.TextEnv"),
        (("tests.support.plain_worlds:Plain", "--arg", "task=3"), "Did you mean 'tasks'?"),
    ],
)
def test_wrong_environments_and_arguments(fails: Cli, arguments: tuple[str, ...], words: str) -> None:
    assert words in fails("eval", "--env", *arguments)


def test_fetching_something_unknown(fails: Cli) -> None:
    assert "smollm2" in fails("fetch", "smollm")


# ---------------------------------------------------------------------- the same through a process of its own


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["train", "run.yaml", "--set", "learner.lrr=1"], "Did you mean 'lr'?"),
        (["eval", "--env", "rlsd/Keys-v0", "--agent", "explrer"], "Did you mean 'explorer'?"),
    ],
)
def test_in_a_process_of_its_own(config: Path, arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlsd", *arguments], cwd=config.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["trian"], ["train"], ["train", "x.yaml", "--sett", "a=1"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
