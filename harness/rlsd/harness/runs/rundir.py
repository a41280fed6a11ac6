"""The run directory: config, results and checkpoints of a run.

config.yaml        the resolved config          metrics.jsonl     one record a line
versions.json      packages and panel hashes     rollouts/         trajectories with the credit of turns and tokens
checkpoints/       the newest few                best/             transformers folder, best on the valid panel
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlsd.envs.errors import RlsdError
from rlsd.envs.hiding import hidden_in
from rlsd.harness.config import ConfigError, RunConfig, parse_config
from rlsd.harness.config.masked import comparable, masked
from rlsd.harness.config.yaml_text import read_yaml, write_yaml
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.records import record_of

MAY_CHANGE = (
    "iterations",
    "checkpoint_every",
    "keep_checkpoints",
    "save_rollouts_every",
    "save_token_credit",
    "tensorboard",
    "tracker",
    "tracker_options",
    "eval.every",
    "learner.processes",
    "learner.parallel",
    "learner.tensor_parallel",
    "learner.cpu_offload",
    "learner.gradient_checkpointing",
    "learner.timeout_s",
)
"""Settings that may change when a run is resumed, because they do not change what is learned at a given step."""
LOCK = ".lock"
MARK = "rlsd run directory\n"
"""Text of a run's lock file, by which its folder is known."""
PARTS = ("versions.json", "metrics.jsonl", "checkpoints", LOCK)
"""What stands beside config.yaml in a run of an earlier version, whose lock file is empty."""
PARTIAL = (
    *(f"{name}.partial" for name in ("config.yaml", "versions.json", "metrics.jsonl", "report.html", "best")),
    "checkpoints/step-*.partial",
    "rollouts/step-*.partial",
)
"""What a killed process may leave behind."""
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
            RunError: another process trains here, the folder holds something else, or it cannot be used.
            ConfigError: the folder's config differs in a setting that matters; names it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if other := _foreign(self.path):
                raise RunError(
                    f"{self.path} is not a run of rlsd (it holds {other!r}) and stays as it is; give a new or an empty "
                    "folder with --run"
                )
            self._lock = (self.path / LOCK).open("a+")  # "w" would empty the lock of a process that trains here
        except OSError as error:
            raise RunError(f"cannot use {self.path} as a run directory: {error.strerror}") from error
        _take(self._lock, f"another process is training in {self.path}")
        if not _marked(self.path):
            self._lock.write(MARK)
            self._lock.flush()
        self._sweep()
        config_file = self.path / "config.yaml"
        if config_file.is_file() and self._begun():
            _same(load_run_config(self.path), config, self.path)
        write_atomic(config_file, write_yaml(masked(config.model_dump(mode="json"))))

    def _begun(self) -> bool:
        """Whether something was trained or evaluated here; a start that failed may be repeated with another config."""
        metrics = self.path / "metrics.jsonl"
        return (metrics.is_file() and metrics.stat().st_size > 0) or any(self.checkpoints.glob("step-*"))

    def _sweep(self) -> None:
        """Clean up after a killed process; only while holding the lock."""
        for partial in (path for pattern in PARTIAL for path in self.path.glob(pattern)):
            remove(partial)
        old = self.best.with_name(self.best.name + ".old")
        if old.is_dir() and not self.best.exists():
            os.rename(old, self.best)
        remove(old)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_versions(self, panels: dict[str, Any]) -> None:
        write_atomic(self.path / "versions.json", json.dumps({**versions(), "panels": panels}, indent=1))

    def rollouts(self, step: int) -> Path:
        """The file of an iteration's trajectories, in a folder that is there.

        Raises:
            RunError: there is no such folder, and none can be made.
        """
        folder = self.path / "rollouts"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written: {error.strerror}; it is the folder of kept episodes"
            ) from error
        return folder / f"step-{step:06d}.jsonl.gz"

    def write_rollouts(
        self,
        step: int,
        trajectories: Sequence[Trajectory],
        credit: Sequence[Sequence[float]],
        hindsight: Mapping[tuple[int, int], str],
    ) -> None:
        """Save an iteration's trajectories with the credit of each turn, and the hindsight that the teacher read.

        Args:
            hindsight: its text by (trajectory, turn).

        Raises:
            RunError: there is no such folder, and none can be made.
        """
        final = self.rollouts(step)
        partial = final.with_name(final.name + ".partial")
        with gzip.open(partial, "wt", compresslevel=5) as file:
            for n, (trajectory, turns) in enumerate(zip(trajectories, credit)):
                read = [hindsight.get((n, k)) for k in range(len(trajectory.turns))]
                file.write(json.dumps(hidden_in(record_of(trajectory, turns, read))) + "\n")
        os.replace(partial, final)


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
        return parse_config(read_yaml((path / "config.yaml").read_text(), "it"))
    except OSError as error:
        raise RunError(f"{path} is no run directory: it has no config.yaml") from error
    except (UnicodeDecodeError, ConfigError) as error:
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
    remove(old)
    if final.exists() or final.is_symlink():
        os.rename(final, old)
    os.rename(partial, final)
    remove(old)


def remove(path: Path) -> None:
    """Delete a file, a link (not what it points to) or a folder, if it is there; a folder as far as it can be."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _marked(path: Path) -> bool:
    try:
        return (path / LOCK).read_text(errors="replace") == MARK
    except OSError:
        return False


def _foreign(path: Path) -> str | None:
    """Something in the folder that shows that it holds no run; None if it is a run's or empty."""
    names = sorted(entry.name for entry in path.iterdir() if entry.name != LOCK)
    if not names or _marked(path):
        return None
    if any((path / part).exists() for part in PARTS):
        with contextlib.suppress(RunError):
            load_run_config(path)
            return None
    return names[0]


def _same(stored: RunConfig, requested: RunConfig, path: Path) -> None:
    found = differences(comparable(stored.model_dump()), comparable(requested.model_dump()))
    differing = [k for k in found if k not in MAY_CHANGE]
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
