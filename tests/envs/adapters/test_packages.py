"""A package that is missing, too old, too new or broken is refused in one line with the command that mends it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from rlsd.envs.adapters.own_random import OwnRandom
from rlsd.envs.adapters.packages import needed
from rlsd.envs.errors import EnvError


def package(folder: Path, name: str, version: str, code: str = "") -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / f"{name}.py").write_text(code)


@pytest.mark.parametrize(
    ("version", "code", "told"),
    [
        ("1.6.9", "", "worldgames_a 1.6.9 is installed, expected worldgames_a>=1.7,<2: pip install -U 'rlsd[games]'"),
        ("2.0", "", "worldgames_a 2.0 is installed, expected worldgames_a>=1.7,<2: pip install -U 'rlsd[games]'"),
        ("1.7", "1 / 0", "`import worldgames_a` raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_and_how_to_mend_it(
    version: str, code: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "worldgames_a", version, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvError) as caught:
        needed("worldgames_a", extra="games", at_least="1.7", below="2")
    assert told in str(caught.value)


def test_one_that_fits_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "worldgames_b", "1.10.0rc1", "answer = 42")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert needed("worldgames_b", extra="games", at_least="1.7").answer == 42


def test_one_that_is_missing_names_the_extra() -> None:
    with pytest.raises(EnvError, match=r"no_such_games is not installed: pip install 'rlsd\[games\]'"):
        needed("no_such_games", extra="games", at_least="1")


def test_foreign_draws_have_a_state_of_their_own_and_leave_the_global_one_alone() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    untouched = random.random(), float(np.random.random())  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    one, other = OwnRandom(1), OwnRandom(1)
    drawn: dict[str, list[float]] = {"one": [], "other": []}
    for _ in range(3):
        with one:
            drawn["one"] += [random.random(), float(np.random.random())]  # noqa: NPY002
        with other:
            drawn["other"] += [random.random(), float(np.random.random())]  # noqa: NPY002
    assert drawn["one"] == drawn["other"]
    assert len(set(drawn["one"])) == 6
    assert (random.random(), float(np.random.random())) == untouched  # noqa: NPY002
