"""Trackers get every number; one that fails costs a warning; one that is not there is one line before a model loads."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.runs.metrics import MetricsLog, read_metrics
from rlsd.harness.runs.trackers import DOORS, IN_A_ROW, Guarded, Tracker, check_tracker, open_tracker
from rlsd.harness.train import train
from tests.support.smallest_run import BASE

STARTED = """
calls = []
class Run:
    def log(self, values, step): calls.append((step, values))
    def finish(self): calls.append("end")
def init(**settings):
    calls.append(settings)
    return Run()
"""
"""A package whose `init` returns the run."""
FAKES = {
    "wandb": STARTED,
    "trackio": STARTED,
    "swanlab": '''
calls = []
def init(**settings): calls.append(settings)
def log(values, step): calls.append((step, values))
def finish(): calls.append("end")
''',
    "mlflow": '''
from types import SimpleNamespace as Plain
calls = []
utils = Plain(time=Plain(get_current_time_millis=lambda: 7))
entities = Plain(Metric=lambda key, value, timestamp, step: (key, value, step))
def set_experiment(name): calls.append({"project": name})
def get_experiment_by_name(name): return Plain(experiment_id="1")
class MlflowClient:
    def create_run(self, experiment, run_name): return Plain(info=Plain(run_id="run" + experiment))
    def log_dict(self, run_id, values, file): calls[-1].update(config=values, id=run_id)
    def log_batch(self, run_id, metrics): calls.append((metrics[0][2], {k: v for k, v, _ in metrics}))
    def set_terminated(self, run_id): calls.append("end")
''',
}  # fmt: skip
"""Stand-ins for the packages: what is called, in order."""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    kept = {name: sys.modules.pop(name, None) for name in FAKES}
    for name, text in FAKES.items():
        (folder / f"{name}.py").write_text(text)
    yield folder
    for name, module in kept.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


class Own:
    """A tracker of one's own that keeps what it gets."""

    made: list[Own] = []  # noqa: RUF012

    def __init__(self, *, folder: Path, config: dict[str, Any], fail: str = "") -> None:
        if fail == "start":
            raise OSError("no network")
        self.folder, self.config, self.fail = folder, config, fail
        self.got: list[tuple[int, Mapping[str, float]]] = []
        self.asked, self.closed = 0, False
        Own.made.append(self)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.asked += 1
        if self.fail == "log" or self.fail == f"log {self.asked}":
            raise SystemExit("quota used up")
        self.got.append((step, values))

    def close(self) -> None:
        self.closed = True
        if self.fail == "close":
            raise RuntimeError("cannot close")


OWN = f"{__name__}:Own"


def run(folder: Path, **blocks: Any) -> Own:
    """A run of two iterations with one's own tracker."""
    config = parse_config({**BASE, "iterations": 2, "tracker": OWN, "eval": {"every": 2, "episodes": 1}, **blocks})
    train(config, folder)
    return Own.made[-1]


def test_a_tracker_of_ones_own_gets_every_number_of_a_run(tmp_path: Path) -> None:
    tracker = run(tmp_path / "run")
    assert isinstance(tracker, Tracker)
    assert (tracker.folder, tracker.closed) == (tmp_path / "run", True)
    assert tracker.config["iterations"] == 2
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [step for step, _ in tracker.got] == [record["step"] + 1 for record in records] == [0, 1, 2, 2]
    for (_, values), record in zip(tracker.got, records):
        assert values[f"{record['kind']}/success"] == record["success"]
        assert all(isinstance(value, float) for value in values.values())
    assert tracker.got[1][1]["train/credit/lam"] == records[1]["credit"]["lam"]
    assert "train/timing/iteration_s" in tracker.got[1][1]


@pytest.mark.parametrize("fail", ["start", "log", "log 2", "close"])
def test_a_tracker_that_fails_never_ends_a_run_and_is_warned_of_once(
    fail: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlsd.harness.runs.progress import Progress

    config = {**BASE, "iterations": 2, "tracker": OWN, "tracker_options": {"fail": fail}}
    train(parse_config(config), tmp_path / "run", progress=Progress(total=2))
    assert [r["step"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "train"] == [0, 1]
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("the tracker") == 1
    assert "the run goes on, metrics.jsonl has all numbers" in told
    assert {"start": "OSError: no network", "close": "RuntimeError: cannot close"}.get(fail, "quota used up") in told


def test_a_tracker_that_fails_again_and_again_is_left_alone() -> None:
    told: list[str] = []
    broken = Own(folder=Path(), config={}, fail="log")
    guarded = Guarded("mine", lambda: broken, told.append)
    for step in range(9):
        guarded.log({"a": 1.0}, step)
    guarded.close()
    assert (broken.asked, broken.closed, len(told)) == (IN_A_ROW, True, 1)
    once = Own(folder=Path(), config={}, fail="log 2")
    guarded = Guarded("mine", lambda: once, told.append)
    for step in range(9):
        guarded.log({"a": 1.0}, step)
    assert [step for step, _ in once.got] == [0, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("name", DOORS)
def test_every_door_starts_logs_ends_and_goes_on(name: str, fakes: Path, tmp_path: Path) -> None:
    config = parse_config({**BASE, "tracker": name, "tracker_options": {"project": "mine"} if name != "mlflow" else {}})
    (tmp_path / "run").mkdir()
    warned: list[str] = []
    for step in (0, 1):
        log = MetricsLog(
            tmp_path / "run", resume_step=step - 1, tracker=open_tracker(config, tmp_path / "run", warned.append)
        )
        log.write(step=step, kind="train", timing={"update_s": 2.0}, loss=0.5, name="x")
        log.close()
    assert warned == []
    module = sys.modules[name]
    assert module.__file__ == str(fakes / f"{name}.py")
    first, logged, end, again, later, _ = module.calls
    numbers = {"train/loss": 0.5, "train/timing/update_s": 2.0}
    assert (logged, later, end) == ((1, numbers), (2, numbers), "end")
    assert first == again, "the same run of the tracker"
    assert first["project"] == ("rlsd" if name == "mlflow" else "mine")
    assert first["config"]["iterations"] == 1


def test_secrets_do_not_reach_a_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"id": "rlsd/Keys-v0", "kwargs": {"token": "hunter22hunter22"}}
    config = parse_config({**BASE, "env": env, "tracker": OWN})
    open_tracker(config, tmp_path, print)
    assert "hunter22" not in json.dumps(Own.made[-1].config)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wandbb", "unknown tracker 'wandbb'. Did you mean 'wandb'? Known: mlflow, swanlab, trackio, wandb. Name your"),
        ("nowhere:Tracker", "tracker: cannot import 'nowhere:Tracker': ModuleNotFoundError"),
        (f"{__name__}:OWN", "is a str, expected a function"),
    ],
)
def test_a_tracker_that_cannot_be_is_one_line_before_a_model_loads(name: str, told: str, tmp_path: Path) -> None:
    config = parse_config({**BASE, "tracker": name, "model": {"path": str(tmp_path / "no model")}})
    with pytest.raises(ConfigError) as refused:
        train(config, tmp_path / "run")
    assert told in str(refused.value)


@pytest.mark.parametrize("name", DOORS)
def test_a_missing_package_is_one_line_that_names_the_extra(name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed here")
    with pytest.raises(ConfigError) as refused:
        check_tracker(name)
    assert str(refused.value) == f"tracker: {name} needs the package {name}: pip install 'rlsd[{name}]'"


def test_every_door_has_an_extra_and_is_short() -> None:
    import inspect
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    for name, door in DOORS.items():
        assert project["optional-dependencies"][name][0].startswith(f"{name}>=")
        assert len(inspect.getsource(door).splitlines()) <= 20
