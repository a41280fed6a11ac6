"""A command line that must fail in one line, and the smallest run to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from rlsd.harness.cli.app import main
from tests.support.smallest_run import BASE, Cli


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line, which must exit with 2 after one line on stderr; that line."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        error = capsys.readouterr().err
        assert stop.value.code == 2, error
        assert error.count("\n") == 1, error
        assert "Error: " in error
        return error

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(BASE))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a checkpoint and best weights; tests copy it before they break it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "run.yaml").write_text(yaml.safe_dump(BASE))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(folder / "run.yaml"), "--run", str(folder / "run"), "--quiet"])
    assert not stop.value.code
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))
