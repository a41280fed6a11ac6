"""Checkpoints and run directories that are damaged, locked or of something else: one clear line, nothing lost."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.checkpoint import CheckpointError
from rlsd.harness.runs.rundir import RunDir, RunError
from tests.support.smallest_run import BASE, Cli


def checkpoint_files() -> list[str]:
    return ["model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"]


@pytest.mark.parametrize("name", checkpoint_files())
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_byte_in_a_checkpoint(fails: Cli, run: Path, name: str, place: float) -> None:
    path = run / "checkpoints" / "step-000001" / name
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)
    error = fails("train", run, "--quiet")
    assert error.startswith("CheckpointError")
    assert f"{name} is corrupt" in error


def test_a_checkpoint_holds_no_other_files(trained: Path) -> None:
    """Or a new kind of file would go untested above."""
    files = {p.name for p in (trained / "checkpoints" / "step-000001").iterdir()}
    assert files == {*checkpoint_files(), checkpoint.MANIFEST}


def test_every_flipped_byte_in_a_manifest_is_found(run: Path) -> None:
    folder = run / "checkpoints" / "step-000001"
    whole = (folder / checkpoint.MANIFEST).read_bytes()
    for i in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[i] ^= 0x10
        (folder / checkpoint.MANIFEST).write_bytes(damaged)
        if json_or_none(damaged) == json.loads(whole):
            continue  # white space: nothing changed
        with pytest.raises(CheckpointError):
            checkpoint.verify(folder)


def json_or_none(text: bytes | bytearray) -> Any:
    try:
        return json.loads(bytes(text))
    except ValueError:
        return None


def test_checkpoint_that_lacks_a_file_or_is_cut_short(fails: Cli, run: Path) -> None:
    folder = run / "checkpoints" / "step-000001"
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])
    assert "model.safetensors is corrupt" in fails("train", run, "--quiet")
    (folder / "model.safetensors").unlink()
    assert "lacks model.safetensors" in fails("train", run, "--quiet")
    (folder / checkpoint.MANIFEST).unlink()
    assert checkpoint.MANIFEST in fails("train", run, "--quiet")


def test_checkpoint_of_another_model(fails: Cli, run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("dim: 16", "dim: 32"))
    error = fails("train", run, "--quiet")
    assert "CheckpointError" in error
    assert "does not fit this config" in error


def test_older_checkpoint_is_used_when_the_damaged_one_is_deleted(run: Path, fails: Cli) -> None:
    """What the message advises works."""
    shutil.rmtree(run / "checkpoints" / "step-000001")
    with pytest.raises(SystemExit) as stop:
        main(["train", str(run), "--quiet"])
    assert not stop.value.code


def test_a_loss_that_is_no_number_ends_the_run_and_loses_nothing(fails: Cli, config: Path, tmp_path: Path) -> None:
    """A user's rewards are beyond all bounds in the second iteration: the first one's weights and records stay."""
    folder = tmp_path / "run"
    changed = ["reward=tests.support.plain_worlds:overflowing", "iterations=3", "checkpoint_every=1", "eval.every=0"]
    changed.append("algorithm.advantage.method=dr_grpo")  # which does not divide by the deviation
    arguments = ("train", config, "--run", folder, "--quiet", *(x for c in changed for x in ("--set", c)))
    for _ in range(2):  # started again, it stops at the same place
        error = fails(*arguments)
        assert "LossError" in error
        assert "no step was taken and the last checkpoint is sound" in error
        assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-000001"]
        kept, _ = checkpoint.load(folder / "checkpoints" / "step-000001")
        assert all(bool(weight.isfinite().all()) for weight in kept["model"].values())
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [r["step"] for r in records if r["kind"] == "train"] == [0]


def test_resume_with_another_config(fails: Cli, config: Path, run: Path) -> None:
    error = fails("train", config, "--run", run, "--set", "learner.lr=0.5", "--set", "seed=3")
    assert "another 'seed'" in error
    assert "1 more" in error
    with pytest.raises(SystemExit) as stop:  # how long it goes on may change
        main(["train", str(config), "--run", str(run), "--quiet", "--set", "iterations=2"])
    assert not stop.value.code


def test_locked_run_directory(fails: Cli, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    hold = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert "another process is training" in fails("train", config, "--run", folder)
        other.communicate("\n")


def test_two_runs_never_hold_one_directory(tmp_path: Path) -> None:
    settings = parse_config(BASE)
    first, second = RunDir(tmp_path), RunDir(tmp_path)
    first.open(settings)
    with pytest.raises(RunError, match="another process is training"):
        second.open(settings)
    second.close()
    first.close()
    second.open(settings)
    second.close()


def test_a_refused_run_leaves_no_lock_behind(fails: Cli, config: Path, run: Path) -> None:
    fails("train", config, "--run", run, "--set", "seed=3")
    with (run / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_run_directory_that_is_a_file_or_damaged(fails: Cli, config: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "run directory" in fails("train", config, "--run", tmp_path / "file")
    metrics = run / "metrics.jsonl"
    metrics.write_text("{broken\n" + metrics.read_text())
    assert "line 1" in fails("train", config, "--run", run)
    (run / "config.yaml").write_text("iterations: [\n")
    assert "config.yaml" in fails("train", config, "--run", run)
    assert "config.yaml" in fails("export", run, tmp_path / "new")
