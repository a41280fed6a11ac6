"""Opening environments by name, and what importing the package costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs.registration import register as gym_register
from gymnasium.envs.registration import registry

from rlsd.envs import EnvError, known, make, register
from rlsd.envs.key_door import KeysEnv

FORTY_LINES = '''
from rlsd.envs import Task, TextEnv

class Echo(TextEnv):
    """Say what you are told to say."""

    def tasks(self):
        return [Task(env_id="echo", task_id=w, split="train", task_type="echo") for w in ("yes", "no")]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task, self.left = self.pick_task(options), 3
        return f"Say {self.task.task_id}.", self.info(True, False)

    def step(self, action):
        self.left -= 1
        valid, won = action in ("yes", "no"), action == self.task.task_id
        return "Hm.", float(won), won, self.left <= 0 and not won, self.info(valid, won)

    def info(self, valid, won):
        return {"task_id": self.task.task_id, "task_type": "echo", "goal": "obey", "admissible_actions": ["yes", "no"],
                "valid_action": valid, "success": won, "score": float(won), "feedback": ""}

class NotAnEnv:
    pass
'''


@pytest.fixture
def echo_file(tmp_path: Path) -> Path:
    path = tmp_path / "echo.py"
    path.write_text(FORTY_LINES)
    return path


def test_shipped_ids_are_registered() -> None:
    assert {"rlsd/ALFWorld-v0", "rlsd/Keys-v0"} <= set(known())
    assert isinstance(gymnasium.make("rlsd/Keys-v0"), KeysEnv)
    assert isinstance(make("rlsd/Keys-v0", rooms=3), KeysEnv)
    assert isinstance(make("rlsd.envs.key_door:KeysEnv", rooms=3), KeysEnv)


def test_a_file_with_a_class_is_opened_and_passes_the_checks(echo_file: Path) -> None:
    from rlsd.envs import check_env

    findings = check_env(lambda: make(f"{echo_file}:Echo"))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rlsd/Key-v0", "Did you mean 'rlsd/Keys-v0'"),
        ("no.such.module:Env", "no.such.module cannot be imported"),
        ("rlsd.envs.key_door:KeyEnv", "Did you mean 'KeysEnv'"),
        ("no_such_file.py:Env", "no file"),
        ("CartPole-v1", "expected an rlsd.envs.TextEnv"),
        ("rlsd.envs.key_door:ENV_ID", "expected a TextEnv class"),
    ],
)
def test_errors_name_the_fix(name: str, words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make(name)
    assert words in str(caught.value)


def test_a_class_that_is_no_environment(echo_file: Path) -> None:
    with pytest.raises(EnvError, match="made a NotAnEnv"):
        make(f"{echo_file}:NotAnEnv")


def test_wrong_arguments_of_a_class(echo_file: Path) -> None:
    with pytest.raises(EnvError, match="cannot be opened with"):
        make(f"{echo_file}:Echo", size=3)


def test_a_value_that_the_class_looks_up_and_lacks_is_named_another_key_is_a_fault_of_the_class(tmp_path: Path) -> None:
    path = tmp_path / "splits.py"
    path.write_text("def env(split, other='train'):\n    return {'train': None}[other]\n")
    with pytest.raises(EnvError, match=r"cannot be opened with other='vlaid', split='train': KeyError: 'vlaid'"):
        make(f"{path}:env", split="train", other="vlaid")
    path.write_text("def env(split):\n    return {}['layout']\n")
    with pytest.raises(KeyError, match="layout"):
        make(f"{path}:env", split="train")


def test_register_and_time_limits() -> None:
    register("test/Short-v0", KeysEnv, rooms=3)
    try:
        env = make("test/Short-v0")
        assert isinstance(env, KeysEnv)
        assert env._rooms == 3
    finally:
        registry.pop("test/Short-v0")
    gym_register("test/Limited-v0", entry_point="rlsd.envs.key_door:KeysEnv", max_episode_steps=5)
    try:
        with pytest.raises(EnvError, match="max_episode_steps"):
            make("test/Limited-v0")
    finally:
        registry.pop("test/Limited-v0")


def test_advertised_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package on the path that advertises one sound and one broken environment."""
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rlsd.envs]\nacme/Keys-v0 = rlsd.envs.key_door:KeysEnv\nacme/Broken-v0 = acme_is_not_there:Env\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"acme/Keys-v0", "acme/Broken-v0"} <= set(known())
    assert isinstance(make("acme/Keys-v0", rooms=4), KeysEnv)
    with pytest.raises(EnvError, match=r"acme/Broken-v0.*acme_is_not_there.*cannot be loaded"):
        make("acme/Broken-v0")


def test_import_is_light() -> None:
    code = (
        "import sys, rlsd.envs; "
        "print(sorted({'torch', 'transformers', 'pydantic', 'rlsd.envs.alfworld.env'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


DATACLASS_ENV = """
from __future__ import annotations

from dataclasses import dataclass

from rlsd.envs.key_door import KeysEnv

OPENED = []


@dataclass
class State:
    n: int = 0
    known: State | None = None


class Mine(KeysEnv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        OPENED.append(State(len(OPENED)))
"""


def test_a_file_with_dataclasses_and_late_annotations_is_opened(tmp_path: Path) -> None:
    import pickle
    from typing import get_type_hints

    path = tmp_path / "mine.py"
    path.write_text(DATACLASS_ENV)
    module = sys.modules[type(make(f"{path}:Mine")).__module__]
    assert get_type_hints(module.State)["known"] == module.State | None
    assert pickle.loads(pickle.dumps(module.State(3))) == module.State(3)


def test_a_file_runs_once_until_it_changes_and_namesakes_are_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(DATACLASS_ENV)
    classes = [type(make(f"{path}:Mine")) for path in (first, first, second)]
    assert classes[0] is classes[1]
    assert classes[0].__module__ != classes[2].__module__
    assert [s.n for s in sys.modules[classes[0].__module__].OPENED] == [0, 1]
    first.write_text(DATACLASS_ENV + "class Other(Mine): ...\n")
    os.utime(first, ns=(1, 1))
    assert make(f"{first}:Other") is not None


def test_a_file_that_fails_leaves_no_module_behind(tmp_path: Path) -> None:
    path = tmp_path / "broken_here.py"
    path.write_text("1 / 0\n")
    with pytest.raises(EnvError, match="ZeroDivisionError"):
        make(f"{path}:Mine")
    assert not any("broken_here" in name for name in sys.modules)
