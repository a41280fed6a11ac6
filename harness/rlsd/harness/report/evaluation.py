"""One page of an evaluation's episodes, from the folder in which a suite keeps them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlsd.harness.config.yaml_text import write_yaml
from rlsd.harness.evals.kept import ABOUT, EPISODES, TIMINGS
from rlsd.harness.report.episodes import Episode, episode_of, template, write_page
from rlsd.harness.runs.rundir import RunError

SHOWN = ("panel", "by_type", "failures", "usage", "interval")
"""Parts of the summary that the page shows in its own way."""


def is_evaluation(folder: Path) -> bool:
    """Whether a suite kept the episodes of an evaluation there."""
    return (folder / ABOUT).is_file()


def write_evaluation(folder: Path, out: Path | None = None, *, groups: int = 4) -> Path:
    """Write `report.html` into the folder, or to `out`.

    Args:
        groups: tasks whose episodes are shown.

    Raises:
        RunError: a damaged file; names it.
    """
    about = _about(folder / ABOUT)
    seconds = seconds_of(folder)
    page = template("evaluation.html").render(
        about=about,
        groups=_episodes(folder, seconds, groups),
        seconds=sum(map(sum, seconds.values())),
        credited=False,
        asked=write_yaml({key: value for key, value in about.items() if key not in SHOWN}),
    )
    return write_page(out or folder / "report.html", page)


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text())
        missing = {"agent", "panel", "success", "interval", "by_type", "seed"} - set(about)
        if missing:
            raise ValueError(f"no {sorted(missing)[0]}")
        return about
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); play the evaluation again") from error


def seconds_of(folder: Path) -> dict[tuple[Any, ...], list[float]]:
    """Key of an episode → seconds of each turn; a line that was cut is left out."""
    path = folder / TIMINGS
    found: dict[tuple[Any, ...], list[float]] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
            found[tuple(record["key"])] = [float(s) for s in record["act_s"]]
        except (ValueError, KeyError, TypeError):
            continue
    return found


@contextmanager
def kept_records(folder: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The episodes that an evaluation kept, one after another, while the block runs.

    Raises:
        RunError: the file is damaged, or a record lacks what the block asks of it.
    """
    path = folder / EPISODES
    try:
        with gzip.open(path, "rt") as file:
            yield map(json.loads, file)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({type(error).__name__}: {error}); play the evaluation again") from error


def _episodes(folder: Path, seconds: dict[tuple[Any, ...], list[float]], groups: int) -> list[list[Episode]]:
    by_task: dict[int, list[Episode]] = {}
    with kept_records(folder) as records:
        for record in records:
            if record["key"][2] not in by_task and len(by_task) >= groups:
                continue
            episode = episode_of(record, 0.0, seconds.get(tuple(record["key"]), ()))
            by_task.setdefault(record["key"][2], []).append(episode)
    return list(by_task.values())
