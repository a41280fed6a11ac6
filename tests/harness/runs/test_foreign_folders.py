"""`--run` on a folder of something else is refused before anything in it changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.runs.rundir import LOCK, MARK, RunDir, RunError
from rlsd.harness.train import train
from tests.support.smallest_run import BASE

CONFIG = {**BASE, "eval": {"every": 0, "at_start": False}}


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def foreign(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("config.yaml", "film.partial", "sub/thesis.partial", "data.partial/a", "best.old/z", "best/mine"),
        ("thesis.txt",),
        (".hidden",),
        ("metrics.jsonl",),
        ("checkpoints/step-000001/notes",),
        (LOCK, "config.yaml"),
    ],
)
def test_a_folder_of_something_else_stays_as_it_is(
    names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = foreign(tmp_path / "theirs", *names)
    before = content(folder)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(tmp_path / "run.yaml"), "--run", str(folder)])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith(f"RunError: {folder} is not a run of rlsd (it holds")
    assert error.count("\n") == 1
    assert content(folder) == before


def test_a_config_of_ours_alone_makes_no_run(tmp_path: Path) -> None:
    """A folder of configs is not overwritten, comments and all."""
    (tmp_path / "config.yaml").write_text("# mine\n" + yaml.safe_dump(CONFIG))
    with pytest.raises(RunError, match=r"not a run of rlsd \(it holds 'config.yaml'\)"):
        RunDir(tmp_path).open(parse_config(CONFIG))


def test_an_empty_folder_a_new_one_and_a_run_are_taken(tmp_path: Path) -> None:
    config, empty = parse_config(CONFIG), tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "new" / "deep"):
        for _ in range(2):
            run = RunDir(folder)
            run.open(config)
            run.close()
        assert (folder / LOCK).read_text() == MARK


def test_a_real_run_resumes_also_one_of_an_earlier_version_and_a_copy_without_hidden_files(tmp_path: Path) -> None:
    train(parse_config(CONFIG), tmp_path / "run")
    for i, lock in enumerate((MARK, "", None), start=2):
        folder = Path(shutil.copytree(tmp_path / "run", tmp_path / f"copy-{i}"))
        (folder / LOCK).unlink()
        if lock is not None:
            (folder / LOCK).write_text(lock)
        (folder / "notes.txt").write_text("mine")
        (folder / "film.partial").write_text("mine")
        (folder / "metrics.jsonl.partial").write_text("what a killed run left")
        train(parse_config({**CONFIG, "iterations": 2}), folder)
        assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-000001", "step-000002"]
        assert (folder / "notes.txt").read_text() == (folder / "film.partial").read_text() == "mine"
        assert not (folder / "metrics.jsonl.partial").exists()


def test_a_link_to_other_weights_is_replaced_and_they_stay(tmp_path: Path) -> None:
    from rlsd.harness.runs.rundir import replace_folder

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w").write_text("theirs")
    (tmp_path / "best").symlink_to(tmp_path / "elsewhere")
    for text in ("first", "second"):
        (tmp_path / "best.partial").mkdir()
        (tmp_path / "best.partial" / "w").write_text(text)
        replace_folder(tmp_path / "best.partial", tmp_path / "best")
    assert (tmp_path / "best" / "w").read_text() == "second"
    assert (tmp_path / "elsewhere" / "w").read_text() == "theirs"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "elsewhere"]
