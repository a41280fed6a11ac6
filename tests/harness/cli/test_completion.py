"""TAB in a shell completes commands and options, once `rlsd --install-completion` has been run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALL = "import sys; sys.argv[0] = 'rlsd'; from rlsd.harness.cli.app import main; main()"


def called(*arguments: str, home: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CALL, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(home), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_for_a_shell(shell: str, tmp_path: Path) -> None:
    out = called("--install-completion", shell, home=tmp_path)
    assert f"{shell} completion installed in" in " ".join(out.split())
    assert any(path.is_file() and "_RLSD_COMPLETE" in path.read_text() for path in tmp_path.rglob("*"))
    assert "_RLSD_COMPLETE" in called("--show-completion", shell, home=tmp_path)


def test_commands_and_options_are_completed(tmp_path: Path) -> None:
    asked = {"_RLSD_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert called(home=tmp_path, COMP_WORDS="rlsd warm", **asked).split() == ["warm-start"]
    asked["COMP_CWORD"] = "2"
    assert "--lora" in called(home=tmp_path, COMP_WORDS="rlsd warm-start --l", **asked).split()
