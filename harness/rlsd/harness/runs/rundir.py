"""The run directory: config, results and checkpoints of a run.

config.yaml        the resolved config          metrics.jsonl     one record a line
versions.json      packages and panel hashes     rollouts/         trajectories with turn credit, gzip JSON lines
checkpoints/       the newest few                best/             transformers folder, best on the valid panel
"""

from __future__ import annotations

import fcntl
import gzip
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rlsd.envs.errors import RlsdError
from rlsd.harness.config import ConfigError, RunConfig, parse_config
from rlsd.harness.rollout.trajectory import Trajectory

MAY_CHANGE = (
    "iterations",
    "checkpoint_every",
    "keep_checkpoints",
    "save_rollouts_every",
    "tensorboard",
    "eval.every",
    "learner.processes",
    "learner.parallel",
    "learner.cpu_offload",
    "learner.gradient_checkpointing",
    "learner.timeout_s",
)
"""Settings that may change when a run is resumed, because they do not change what is learned at a given step."""
PACKAGES = ("rlsd", "torch", "transformers", "tokenizers", "accelerate", "gymnasium", "numpy", "peft")


class RunError(RlsdError):
    """A run directory, or a record in it, that cannot be used."""


class RunDir:
    """One run's folder, locked while a process trains in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.path / "best"

    def open(self, config: RunConfig) -> None:
        """Create the folder, or check that it holds the same run.

        Raises:
            RunError: another process trains here, or the folder cannot be used.
            ConfigError: the folder's config differs in a setting that matters; names it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise RunError(f"cannot use {self.path} as a run directory: {error.strerror}") from error
        _take(self._lock, f"another process is training in {self.path}")
        self._sweep()
        config_file = self.path / "config.yaml"
        if config_file.is_file() and self._begun():
            _same(load_run_config(self.path), config, self.path)
        write_atomic(config_file, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))

    def _begun(self) -> bool:
        """Whether something was trained or evaluated here; a start that failed may be repeated with another config."""
        metrics = self.path / "metrics.jsonl"
        return (metrics.is_file() and metrics.stat().st_size > 0) or any(self.checkpoints.glob("step-*"))

    def _sweep(self) -> None:
        """Clean up after a killed process; only while holding the lock."""
        for partial in (*self.path.glob("*.partial"), *self.path.glob("*/*.partial")):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)
        old = self.best.with_name(self.best.name + ".old")
        if old.is_dir() and not self.best.exists():
            os.rename(old, self.best)
        shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_versions(self, panels: dict[str, Any]) -> None:
        write_atomic(self.path / "versions.json", json.dumps({**versions(), "panels": panels}, indent=1))

    def write_rollouts(self, step: int, trajectories: Sequence[Trajectory], credit: Sequence[Sequence[float]]) -> None:
        """Save an iteration's trajectories with the credit of each turn."""
        folder = self.path / "rollouts"
        folder.mkdir(exist_ok=True)
        partial = folder / f"step-{step:06d}.jsonl.gz.partial"
        with gzip.open(partial, "wt", compresslevel=5) as file:
            for trajectory, turns in zip(trajectories, credit):
                record = {**trajectory.to_json(), "turn_credit": [round(x, 6) for x in turns]}
                file.write(json.dumps(record) + "\n")
        os.replace(partial, folder / f"step-{step:06d}.jsonl.gz")


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold a lock while the block runs.

    Raises:
        RunError: another process holds it; says `message`.
    """
    with path.open("w") as file:
        _take(file, message)
        yield


def _take(file: Any, message: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RunError(message) from error


def load_run_config(path: Path) -> RunConfig:
    """The config of a run directory.

    Raises:
        RunError: there is no run, or its config cannot be used.
    """
    try:
        return parse_config(yaml.safe_load((path / "config.yaml").read_text()))
    except OSError as error:
        raise RunError(f"{path} is no run directory: it has no config.yaml") from error
    except (yaml.YAMLError, ConfigError) as error:
        raise RunError(f"{path}/config.yaml cannot be used: {' '.join(str(error).split())}") from error


def versions() -> dict[str, str]:
    """Versions of Python and of the packages results depend on."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def write_atomic(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new text, never a part."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def replace_folder(partial: Path, final: Path) -> None:
    """Replace an older folder by a finished one."""
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    os.rename(partial, final)
    shutil.rmtree(old, ignore_errors=True)


def _same(stored: RunConfig, requested: RunConfig, path: Path) -> None:
    differing = [k for k in differences(stored.model_dump(), requested.model_dump()) if k not in MAY_CHANGE]
    if differing:
        raise ConfigError(
            f"{path} holds a run with another {differing[0]!r}; give another folder, or take the change back"
            + (f" (and {len(differing) - 1} more)" if len(differing) > 1 else "")
        )


def differences(a: Any, b: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two nested mappings differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        out: list[str] = []
        for key in {**a, **b}:
            out += differences(a.get(key), b.get(key), f"{prefix}{key}.")
        return out
    return [] if a == b else [prefix.rstrip(".")]
