"""The sdist, and the wheel built from it: four packages under one namespace, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from rlsd.harness.config import load_config

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("envs", "agents", "algorithms", "harness")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    folder = tmp_path_factory.mktemp("dist")
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / Path(sdist).name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(source: Path) -> zipfile.ZipFile:
    (built,) = WheelBuilder(str(source)).build(directory=str(source.parent), versions=["standard"])
    return zipfile.ZipFile(built)


def _sources() -> set[str]:
    """Every file below the four layers, as the wheel names it."""
    return {
        str(path.relative_to(ROOT / layer))
        for layer in LAYERS
        for path in (ROOT / layer / "rlsd").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert names == _sources()
    assert {n.split("/")[1] for n in names} == {*LAYERS, "__main__.py"}
    assert "rlsd/__init__.py" not in names
    assert {n for n in names if n.endswith("py.typed")} == {f"rlsd/{layer}/py.typed" for layer in LAYERS}


def test_the_sdist_holds_what_a_reader_and_the_tests_need(source: Path) -> None:
    for name in (
        *("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"),
        *("Makefile", "constraints.txt", "pyproject.toml", "docs/generate.py", "results/README.md"),
        *("configs/quickstart.yaml", "examples/coin_env.py", "checkpoints/warm_tiny/model.safetensors"),
        *(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")),
        *("mkdocs.yml", "docs/site_hooks.py", "docs/notebooks/first_run.ipynb"),
    ):
        assert (source / name).is_file(), name
        assert (source / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_citation_names_this_version(source: Path) -> None:
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((source / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = {n.split(".dist-info/")[1]: n for n in wheel.namelist() if ".dist-info/" in n}
    assert "rlsd = rlsd.harness.cli.app:main" in wheel.read(info["entry_points.txt"]).decode()
    assert "licenses/LICENSE" in info
    assert "WebShop is NOT under the MIT License" in wheel.read(info["licenses/NOTICE"]).decode()
    assert "License-Expression: Apache-2.0" in wheel.read(info["METADATA"]).decode()


def test_the_unpacked_wheel_runs_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    out = called(tmp_path, "envs", "--no-hashes")
    assert out.startswith(str(tmp_path / "site"))
    assert "rlsd/Keys-v0" in out


def test_a_new_package_of_the_wheel_trains_a_model_of_its_own_because_none_ships(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path / "site")
    assert "lights/lights.py" in called(tmp_path, "new-env", "lights")
    config = load_config(tmp_path / "lights" / "train.yaml")
    assert config.model.path is None
    assert config.model.tiny is not None
    assert config.model.tiny.context == 1024


def called(folder: Path, *arguments: str) -> str:
    """What the command line of the package in `folder`/site prints: the module's file, then the rest."""
    code = "import rlsd.envs, rlsd.harness.cli.app as c, sys; print(c.__file__); sys.argv[0] = 'rlsd'; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "site"), "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
