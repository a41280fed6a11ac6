"""Read what `rlsd eval --save` wrote, and gather the files of one agent."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlsd.envs.errors import RlsdError


class CompareError(RlsdError):
    """Files that cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One result file. Every task has the same number of samples."""

    path: Path
    agent: str
    digest: str
    """Of the panel."""
    wins: dict[str, tuple[bool, ...]]
    """Task id → its samples."""
    scores: dict[str, tuple[float, ...]]
    types: dict[str, str]
    """Task id → task type; {} in files of earlier versions."""
    data: dict[str, Any] = field(repr=False)
    """The whole file."""

    @property
    def samples(self) -> int:
        return len(next(iter(self.wins.values()), ()))

    def outcomes(self, measure: str) -> dict[str, tuple[float, ...]]:
        """Task id → wins as 0 and 1 ("success"), or scores ("score")."""
        return {t: tuple(map(float, x)) for t, x in (self.wins if measure == "success" else self.scores).items()}


def read_saved(path: Path) -> Saved:
    """
    Raises:
        CompareError: there is no such file, it is unreadable, or no result file.
    """
    if not path.exists():
        raise CompareError(f"there is no file {path}; `rlsd eval --save FILE` writes one")
    try:
        data = json.loads(path.read_text())
        outcomes = data.get("outcomes")
        if outcomes is None:  # of earlier versions
            wins = {str(task): (won,) for task, won in data["wins"].items()}
            given = data.get("scores", data["wins"])  # the earliest have none
            scores = {task: (float(given[task]),) for task in wins}
            types: dict[str, str] = {}
        else:
            wins = {str(task): tuple(o["wins"]) for task, o in outcomes.items()}
            scores = {str(task): tuple(float(x) for x in o["scores"]) for task, o in outcomes.items()}
            types = {str(task): str(o["type"]) for task, o in outcomes.items()}
        if not all(isinstance(won, bool) for samples in wins.values() for won in samples):
            raise ValueError("a win that is neither true nor false")
        if not all(math.isfinite(score) for samples in scores.values() for score in samples):
            raise ValueError("a score that is no finite number")
        if len({len(x) for x in (*wins.values(), *scores.values())}) > 1:
            raise ValueError("tasks with different numbers of samples")
        return Saved(
            path=path,
            agent=str(data.get("agent", path.stem)),
            digest=str(data["panel"]["digest"]),
            wins=wins,
            scores=scores,
            types=types,
            data=data,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompareError(f"{path} was not written by `rlsd eval --save` ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One agent of a comparison, with a file for each of its seeds."""

    name: str
    files: tuple[Saved, ...]

    @property
    def tasks(self) -> list[str]:
        return sorted(self.files[0].wins)

    @property
    def samples(self) -> int:
        return self.files[0].samples

    @property
    def types(self) -> dict[str, str]:
        return self.files[0].types

    def table(self, measure: str, tasks: Sequence[str] | None = None) -> np.ndarray:
        """(seeds, tasks): the mean of each task's samples under each seed."""
        found = [file.outcomes(measure) for file in self.files]
        return np.array([[float(np.mean(f[task])) for task in tasks or self.tasks] for f in found])

    def counts(self, tasks: Sequence[str] | None = None) -> list[list[int]]:
        """(seeds, tasks): wins among the samples."""
        return [[sum(file.wins[task]) for task in tasks or self.tasks] for file in self.files]


def entrants(arguments: Sequence[str]) -> list[Entrant]:
    """The agents that a command line names, each FILE, FOLDER (a file a seed), FILE,FILE,… or NAME= and one of these.

    Raises:
        CompareError: unreadable files, an empty folder, one name twice; different panels, tasks or numbers of samples.
    """
    found = [_entrant(argument) for argument in arguments]
    files = [file for entrant in found for file in entrant.files]
    for other in files[1:]:
        check_alike(files[0], other)
    names = [entrant.name for entrant in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        if len({str(f.path) for e in found if e.name == twice for f in e.files}) < names.count(twice):
            raise CompareError(f"{twice!r} stands there twice; name each agent's files once")
        found = [Entrant(name=_longer(e), files=e.files) if e.name == twice else e for e in found]
    return found


def _entrant(argument: str) -> Entrant:
    name, given = "", argument
    if "=" in argument and not Path(argument).exists():
        name, _, given = argument.partition("=")
    place = Path(given)
    if place.is_dir():
        paths = sorted(place.glob("*.json"))
        if not paths:
            raise CompareError(f"{place} has no *.json; expected files written by `rlsd eval --save`")
        name = name or place.name
    else:
        paths = [place] if place.exists() else [Path(part) for part in given.split(",") if part]
        name = name or (paths[0].stem if paths else given)
    files = tuple(read_saved(path) for path in paths)
    if not files:
        raise CompareError(f"{argument!r} names no file")
    for file in files[1:]:
        check_alike(files[0], file)
    if len({file.samples for file in files}) > 1:
        raise CompareError(f"{argument}: its files have different numbers of samples; evaluate all with one --samples")
    return Entrant(name=name, files=files)


def check_alike(first: Saved, other: Saved) -> None:
    """
    Raises:
        CompareError: the files are not of one panel, or do not list the same tasks.
    """
    a, b = first.path, other.path
    if first.digest != other.digest:
        raise CompareError(
            f"{a} and {b} are of different panels ({first.digest} and {other.digest}); evaluate both on one split"
        )
    if not first.wins or sorted(first.wins) != sorted(other.wins):
        raise CompareError(f"{a} and {b} do not list the same tasks; write both anew with `rlsd eval --save`")


def _longer(entrant: Entrant) -> str:
    """A name with the folder of its first file."""
    path = entrant.files[0].path
    return f"{path.parent.name}/{entrant.name}" if path.parent.name else str(path)
