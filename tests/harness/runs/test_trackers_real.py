"""The doors of the trackers with the packages themselves, offline; each test needs its package, an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.config import parse_config
from rlsd.harness.runs.metrics import MetricsLog
from rlsd.harness.runs.trackers import open_tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # their own and their dependencies'


def logged(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Path:
    """A run that logs two steps, resumed in between."""
    pytest.importorskip(name, reason=f"needs the extra {name}")
    monkeypatch.chdir(folder)
    run = folder / "runs" / "mine"
    run.mkdir(parents=True)
    config = parse_config({"model": {"path": "x"}, "tracker": name, "tracker_options": options})
    warned: list[str] = []
    for step in (0, 1):
        tracker = open_tracker(config, run, warned.append)
        log = MetricsLog(run, resume_step=step - 1, tracker=tracker)
        log.write(step=step, kind="train", loss=0.5 + step, credit={"lam": 1.0})
        log.close()
    assert warned == []
    return run


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = logged("wandb", tmp_path, monkeypatch)
    files = [path.name for path in run.glob("wandb/offline-run-*/run-*.wandb")]
    assert len(files) == 2
    assert len(set(files)) == 1, "both parts are one run, by its id"


def test_mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions ask for it
    logged("mlflow", tmp_path, monkeypatch)
    import mlflow  # pyright: ignore[reportMissingImports]

    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("rlsd").experiment_id])
    assert found.info.status == "FINISHED"
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 1.5)]


def test_trackio_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    logged("trackio", tmp_path, monkeypatch)
    assert (tmp_path / "trackio" / "rlsd.db").stat().st_size > 0


def test_swanlab_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = logged("swanlab", tmp_path, monkeypatch, mode="offline")
    assert list(run.glob("swanlab/run-*/*.swanlab"))
