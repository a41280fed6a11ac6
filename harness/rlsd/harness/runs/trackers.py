"""Trackers: where a run's numbers go besides `metrics.jsonl`. A door each; your own is a class with two methods.

A tracker that fails costs a warning, never the run. Keys and addresses of servers stand where each package looks for
them (WANDB_API_KEY, WANDB_MODE, MLFLOW_TRACKING_URI, …), not in a config.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rlsd.envs.errors import closest
from rlsd.harness.config import ConfigError, RunConfig, import_function
from rlsd.harness.config.masked import masked

PROJECT = "rlsd"
NOTE = "tracked.json"
"""File of a run by which it goes on in the same place of its tracker."""
IN_A_ROW = 5
"""Failures in a row after which a tracker is left alone."""


@runtime_checkable
class Tracker(Protocol):
    """What receives numbers. A class of your own is made with `folder`, `config` and `tracker_options`."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name, as in `train/loss`, after `step` iterations."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """A tracker made of two functions."""

    log: Callable[..., Any]
    close: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """The run, as a door sees it."""

    folder: Path
    config: dict[str, Any]
    """Without secrets."""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def kept(self, key: str, make: Callable[[], str]) -> str:
        """A value that stays the same when the run goes on, made once."""
        path = self.folder / NOTE
        note = json.loads(path.read_text()) if path.is_file() else {}
        if key not in note:
            note[key] = make()
            path.write_text(json.dumps(note) + "\n")
        return note[key]

    @property
    def id(self) -> str:
        """Sixteen hex digits of this run alone."""
        return self.kept("id", lambda: uuid.uuid4().hex[:16])


def wandb(run: Tracked) -> Tracker:
    settings = {"project": PROJECT, "name": run.name, "id": run.id, "resume": "allow", "dir": str(run.folder)}
    started = importlib.import_module("wandb").init(**{**settings, "config": run.config, **run.options})
    return Calls(log=lambda values, step: started.log(dict(values), step=step), close=started.finish)


def mlflow(run: Tracked) -> Tracker:
    package = importlib.import_module("mlflow")
    package.set_experiment(run.options.get("experiment_name", PROJECT))
    client = package.MlflowClient()
    experiment = package.get_experiment_by_name(run.options.get("experiment_name", PROJECT)).experiment_id
    run_id = run.kept("mlflow", lambda: client.create_run(experiment, run_name=run.name).info.run_id)
    client.log_dict(run_id, run.config, "config.json")

    def log(values: Mapping[str, float], step: int) -> None:
        now = package.utils.time.get_current_time_millis()
        client.log_batch(run_id, [package.entities.Metric(k, v, now, step) for k, v in values.items()])

    return Calls(log=log, close=lambda: client.set_terminated(run_id))


def trackio(run: Tracked) -> Tracker:
    settings = {"project": PROJECT, "name": f"{run.name}-{run.id[:6]}", "resume": "allow"}
    started = importlib.import_module("trackio").init(**{**settings, "config": run.config, **run.options})
    return Calls(log=lambda values, step: started.log(dict(values), step=step), close=started.finish)


def swanlab(run: Tracked) -> Tracker:
    settings = {"project": PROJECT, "name": run.name, "id": run.id, "resume": "allow"}
    settings["log_dir"] = str(run.folder / "swanlab")
    package = importlib.import_module("swanlab")
    package.init(**{**settings, "config": run.config, **run.options})
    return Calls(log=lambda values, step: package.log(dict(values), step=step), close=package.finish)


DOORS: dict[str, Callable[[Tracked], Tracker]] = {f.__name__: f for f in (wandb, mlflow, trackio, swanlab)}
"""Named as their packages and extras."""


class Guarded:
    """A tracker whose failures become one warning.

    Args:
        name: what `tracker` says in the config.
        start: makes the tracker.
        warn: called once, with a line.
    """

    def __init__(self, name: str, start: Callable[[], Tracker], warn: Callable[[str], None]) -> None:
        self.name = name
        self._warn: Callable[[str], None] | None = warn
        self._failed = 0
        self._tracker: Tracker | None = None
        self._tracker = self._tried(start)

    def log(self, values: Mapping[str, float], step: int) -> None:
        tracker = self._tracker
        if tracker is not None and self._failed < IN_A_ROW:
            self._tried(lambda: tracker.log(values, step))

    def close(self) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            self._tried(tracker.close)

    def _tried(self, call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except (Exception, SystemExit) as error:  # whatever a foreign package does
            self._failed += 1
            if self._warn is not None:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                self._warn(f"the tracker {self.name} failed ({reason}); the run goes on, metrics.jsonl has all numbers")
                self._warn = None
            return None
        self._failed = 0
        return result


def check_tracker(name: str | None) -> None:
    """Refuse a tracker that cannot be there, before a model loads.

    Raises:
        ConfigError: an unknown name (with the closest), a missing package (with its extra), a class that cannot be
            imported.
    """
    if name is None:
        return
    if ":" in name:
        import_function(name, "tracker")
    elif name not in DOORS:
        raise ConfigError(f"unknown tracker {name!r}{closest(name, DOORS)} Name your own as module:Class.")
    elif importlib.util.find_spec(name) is None:
        raise ConfigError(f"tracker: {name} needs the package {name}: pip install 'rlsd[{name}]'")


def open_tracker(config: RunConfig, folder: Path, warn: Callable[[str], None]) -> Guarded | None:
    """The tracker that a config names; None if it names none.

    Raises:
        ConfigError: as `check_tracker`.
    """
    check_tracker(config.tracker)
    if config.tracker is None:
        return None
    run = Tracked(folder=folder, config=masked(config.model_dump(mode="json")), options=dict(config.tracker_options))
    if ":" in config.tracker:
        made = import_function(config.tracker, "tracker")
        return Guarded(config.tracker, lambda: made(folder=run.folder, config=run.config, **run.options), warn)
    door = DOORS[config.tracker]
    return Guarded(config.tracker, lambda: door(run), warn)
