"""`rlsd new-env` and `rlsd new-method`: what they write works at once, and nothing that exists is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlsd.algorithms.credit import load_rule
from rlsd.envs import check_env, make
from rlsd.harness.cli.app import main
from rlsd.harness.cli.listing import method_text
from rlsd.harness.config import ConfigError, load_config
from rlsd.harness.new_package import FROM_SCRATCH, MODEL, TEMPLATES, class_name, write_package
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train

ROOT = Path(__file__).resolve().parents[3]
SHORT = ("iterations=2", "rollout.tasks_per_iteration=2", "rollout.group_size=4", "eval.every=0", "eval.at_start=false")


def written(kind: str, name: str, folder: Path) -> Path:
    with pytest.raises(SystemExit) as ended:
        main([f"new-{kind}", name, "--into", str(folder)])
    assert ended.value.code == 0
    return folder / name


def passes_its_tests(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_environment_passes_its_tests_and_the_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written("env", "light_switches", tmp_path)
    assert {p.name for p in folder.iterdir()} == {
        *("README.md", "pyproject.toml", "train.yaml"),
        *("light_switches.py", "test_light_switches.py"),
    }
    assert "rlsd check-env light_switches.py:LightSwitches" in capsys.readouterr().out
    for split in ("train", "valid", "test"):
        findings = check_env(lambda split=split: make(f"{folder}/light_switches.py:LightSwitches", split=split))
        assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []
    passes_its_tests(folder)


def test_a_new_environment_trains_the_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was written, in its folder."""
    folder = written("env", "lights", tmp_path)
    monkeypatch.chdir(folder)
    config = load_config("train.yaml", list(SHORT))
    assert Path(config.model.path or "").resolve() == ROOT / "checkpoints" / "warm_tiny"
    train(config, tmp_path / "run")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [(r["episodes"], r["failed_episodes"]) for r in records] == [(8, 0), (8, 0)]
    assert any(r["trained_tokens"] > 0 for r in records)


def test_a_new_method_passes_its_tests_and_trains_the_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written("method", "comes_nearer", tmp_path)
    passes_its_tests(folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    text = method_text("comes_nearer:METHOD")
    assert text.startswith("comes_nearer:METHOD\n  GRPO, weighted by hindsight in turns that brought the goal nearer\n")
    assert "rule: comes_nearer:weigh" in text
    train(load_config("train.yaml", [*SHORT, "rollout.group_size=6"]), tmp_path / "run")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["credit"]["lam"] for r in records] == [1.0, 1.0]
    assert any(r["credit"]["weight_shift"] > 0 for r in records)


def test_a_new_method_is_found_from_the_folder_that_holds_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/howto/method.md names it; its rule is looked up under the same name."""
    written("method", "come_closer", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = load_config(ROOT / "configs/quickstart.yaml", ["algorithm=come_closer.come_closer:METHOD"])
    assert config.algorithm.credit.rule == "come_closer.come_closer:weigh"
    assert load_rule(config.algorithm.credit.rule).__name__ == "weigh"


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("env", "3cups", "'3cups' cannot name a Python module here: expected letters, digits and _, a letter first"),
        ("env", "light-switches", "e.g. 'light_switches'"),
        ("env", "../up", "e.g. 'up'"),
        ("env", "lights_", "no _ last, and no word of the language, e.g. 'lights'"),
        ("env", "class", "e.g. 'my_class'"),
        ("env", "", "'' cannot name a Python module"),
        ("env", "json", "'json' would shadow a module that Python already finds under that name; take another, e.g. "),
        ("method", "torch", "'torch' would shadow a module"),
        ("env", "rlsd", "'rlsd' is taken: rlsd/ALFWorld-v0 is an environment here"),
        ("env", "tests", "'tests' would shadow a module"),
        ("method", "grpo", "'grpo' is a method of rlsd (rlsd methods grpo); take another name, e.g. 'my_grpo'"),
    ],
)
def test_a_name_that_will_not_do_is_one_line(kind: str, name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        write_package("env" if kind == "env" else "method", name, tmp_path)
    assert told in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_nothing_that_exists_is_overwritten(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "lights"
    if there == "folder":
        place.mkdir()
        (place / "lights.py").write_text("mine")
    elif there == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SystemExit) as ended:
        main(["new-env", "lights", "--into", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"ConfigError: {place} exists, and nothing in it was changed; give another name, or --into another folder\n"
    )
    if there == "folder":
        assert [p.name for p in place.iterdir()] == ["lights.py"]
        assert (place / "lights.py").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        write_package("env", "lights", tmp_path / "file")


def test_no_name_of_a_template_is_left_over(tmp_path: Path) -> None:
    for kind in ("env", "method"):
        for path in write_package(kind, f"own_{kind}", tmp_path):
            text = path.read_text() + path.name
            assert not any(word in text for word in ("my_world", "MyWorld", "my_method", "MyMethod")), path


def test_every_template_config_has_the_line_that_is_replaced_where_no_model_ships() -> None:
    for kind in ("env", "method"):
        text = (TEMPLATES / kind / "train.yaml").read_text()
        assert text.count(MODEL) == 1
        assert "tiny" in FROM_SCRATCH


@pytest.mark.parametrize(("name", "expected"), [("lights", "Lights"), ("a_b2", "AB2"), ("myWorld", "MyWorld")])
def test_a_class_is_called_as_its_module(name: str, expected: str) -> None:
    assert class_name(name) == expected
