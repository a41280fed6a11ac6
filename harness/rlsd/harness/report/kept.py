"""The kept episodes of one iteration, or of an evaluation: an index of all, and each one when it is asked for."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rlsd.harness.report.episodes import DAMAGE, episode_of, row_of
from rlsd.harness.report.lines import GzipLines
from rlsd.harness.runs.records import head_of
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.runs.token_credit import TokenFile, tokens_path

PLAIN = ("group", "sibling", "won", "score", "turns", "tokens", "invalid", "surprise")
"""Columns of the index that are numbers as they stand."""


def kept_steps(folder: Path) -> dict[int, Path]:
    """Iteration, counted from 1 → file of its episodes, of a run directory; an evaluation has one, 1."""
    files = {}
    for path in sorted((folder / "rollouts").glob("step-*")):
        if name := re.fullmatch(r"step-(\d+)\.jsonl\.gz", path.name):
            files[int(name[1]) + 1] = path
    return files


class KeptEpisodes:
    """Episodes of one file.

    Args:
        path: a file of a run's `rollouts/`; its tokens' credit stands beside it, or not.
        seconds: key of an episode → seconds of each turn.
        advice: what errors say can be done about a damaged file.
    """

    def __init__(
        self,
        path: Path,
        seconds: Mapping[tuple[Any, ...], Sequence[float]] | None = None,
        *,
        advice: str = "delete it, or give another --step",
    ) -> None:
        self.path = path
        self._seconds = seconds or {}
        self._advice = advice
        self._lines = GzipLines(path)
        self._stamp = _stamp(path)

    def unchanged(self) -> bool:
        """Whether the files are those that were there at first."""
        return self._stamp == _stamp(self.path)

    @cached_property
    def index(self) -> dict[str, Any]:
        """Columns of all episodes in the file's order; tasks, stop reasons and failures are numbers into lists.

        `gap` is the largest mean |Δ| of a turn in nats, None where there are no tokens.

        Raises:
            RunError: the file, or that of its tokens, is damaged; names it.
        """
        numbers: dict[str, dict[Any, int]] = {"task": {}, "stop": {}, "failure": {}}
        columns: dict[str, list[Any]] = {name: [] for name in (*PLAIN, *numbers)}
        try:
            for line in self._lines.scan():
                row = row_of(head_of(line))
                for name in PLAIN:
                    columns[name].append(row[name])
                for name, known in numbers.items():
                    value = tuple(row[name]) if name == "task" else row[name]
                    columns[name].append(known.setdefault(value, len(known)))
        except (OSError, EOFError, zlib.error, *DAMAGE) as error:
            raise self._damaged(error) from error
        lists = {f"{name}s": list(known) for name, known in numbers.items()}
        return {**columns, **lists, "gap": self._gaps(len(columns["task"]))}

    def episode(self, number: int) -> dict[str, Any]:
        """Everything about episode `number` of the file, counted from 0.

        Raises:
            RunError: the file is damaged; names it.
            IndexError: there is no such episode.
        """
        if number not in range(len(self.index["task"])):
            raise IndexError(f"episode {number} of {len(self.index['task'])}")
        try:
            record = json.loads(self._lines.line(number))
            tokens = self.tokens
            mine = tokens.turns(number) if tokens is not None and number < tokens.episodes else None
            seconds = self._seconds.get(tuple(record["key"]), ())
            return episode_of(record, mine, None if tokens is None else tokens.pieces, seconds)
        except (OSError, EOFError, zlib.error, *DAMAGE) as error:
            raise self._damaged(error) from error

    @cached_property
    def tokens(self) -> TokenFile | None:
        """The credit of the tokens, where it was kept."""
        path = tokens_path(self.path)
        return TokenFile(path) if path.exists() or path.is_symlink() else None

    def _gaps(self, episodes: int) -> list[float | None]:
        if self.tokens is None:
            return [None] * episodes
        starts, first = self.tokens.turn_start, self.tokens.episode_start
        sums = np.concatenate([[0.0], np.cumsum(np.abs(self.tokens.column("gap").astype(np.float64)))])
        means = np.diff(sums[starts]) / np.maximum(1, np.diff(starts))
        largest = [float(f"{means[a:b].max(initial=0.0):.6g}") for a, b in zip(first, first[1:])]  # noqa: RUF007 (arrays)
        if len(largest) > episodes:
            raise RunError(f"{self.tokens.path} has more episodes than {self.path.name}; delete it")
        return [*largest, *[None] * (episodes - len(largest))]

    def _damaged(self, error: BaseException) -> RunError:
        return RunError(f"{self.path} cannot be read ({type(error).__name__}: {error}); {self._advice}")


def _stamp(path: Path) -> list[tuple[int, int] | None]:
    """Size and time of a file of episodes and of that of its tokens; None for one that is not there."""
    found = [(p.stat() if p.is_file() else None) for p in (path, tokens_path(path))]
    return [None if stat is None else (stat.st_size, stat.st_mtime_ns) for stat in found]
