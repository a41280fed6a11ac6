"""Faults of files lose nothing, and no command goes on with a wrong result without a word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support import file_faults
from tests.support.file_faults import Fault, cut, fault, gone, table

FAULTS = table()


def test_there_are_many_and_each_has_a_name() -> None:
    assert len(FAULTS) >= 80
    assert [name for name, count in Counter((f.kind, f.name) for f in FAULTS).items() if count > 1] == []


@pytest.mark.parametrize("one", FAULTS, ids=lambda f: f"{f.kind}: {f.name}")
def test_a_fault_is_survived(one: Fault, tmp_path: Path) -> None:
    assert one.run(tmp_path) == "survived"


def test_the_judge_sees_what_is_lost_and_what_is_silent(tmp_path: Path) -> None:
    def crashes(run: Path) -> tuple[int, str, None]:
        return -1, "KeyError('x')", None

    def deletes(run: Path) -> tuple[int, str, None]:
        (run / "versions.json").unlink()
        return 2, "RunError: config.yaml\n", None

    def refuses_elsewhere(run: Path) -> tuple[int, str, None]:
        return 2, "RunError: something\n", None

    harm = gone("config.yaml")
    for i, use in enumerate((crashes, deletes, refuses_elsewhere)):
        (tmp_path / str(i)).mkdir()
        assert fault("x", "x", harm, use, "config.yaml").run(tmp_path / str(i)) == "lost"

    (tmp_path / "silent").mkdir()
    weights = cut("best/model.safetensors")

    def harmed(run: Path) -> None:
        weights(run)
        gone("best/MANIFEST.json")(run)
        gone("best/rlsd.json")(run)

    found = fault("x", "x", harmed, file_faults.export, "model.safetensors").run(tmp_path / "silent")
    assert found == "silent", "nothing tells cut weights without their manifest from whole ones"
