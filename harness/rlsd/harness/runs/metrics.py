"""Metrics as JSON lines (and TensorBoard): one record per line, readable even if a crash cuts the last line.

A record is `{"step": 12, "kind": "train", …, "timing": {…}}`. Everything outside `timing` is repeatable; seconds
and rates are inside it. In the file each record also has `check`: its number and a checksum of what is outside
`timing`, so that a changed digit or a record that is gone does not pass unnoticed.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from pathlib import Path
from typing import Any

from rlsd.envs.hiding import hidden_in
from rlsd.harness import fail_points
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.runs.trackers import Tracker


class MetricsLog:
    """Appends to `metrics.jsonl` of a run.

    Args:
        folder: the run directory; None writes nothing (all processes but the first).
        resume_step: records of later steps, and a last line cut in half, are dropped; they are written again.
        tensorboard: also write event files under `tensorboard/`.
        tracker: also gets every number, by the iterations that are done.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        resume_step: int = -1,
        tensorboard: bool = False,
        tracker: Tracker | None = None,
    ) -> None:
        self._tracker = tracker
        self._file: Any = None
        self._board: Any = None
        self.lost: str | None = None
        """What is missing of the records up to `resume_step`, as a line; None if nothing is."""
        if folder is None:
            return
        self.path = folder / "metrics.jsonl"
        kept = [r for r in _read(self.path) if r["step"] <= resume_step]
        self.lost = lost_records(self.path, kept, resume_step)
        fresh = self.path.with_suffix(".jsonl.partial")
        fresh.write_text("".join(json.dumps(r) + "\n" for r in kept))
        os.replace(fresh, self.path)
        self._file = self.path.open("a")
        self._next = 1 + max((r["check"][0] for r in kept if "check" in r), default=len(kept) - 1)
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def write(self, *, step: int, kind: str, timing: dict[str, float] | None = None, **values: Any) -> dict[str, Any]:
        """Append one record and push it to disk; NaN is written as null."""
        record: dict[str, Any] = {
            "step": step,
            "kind": kind,
            **_clean(hidden_in(values)),
            "timing": _clean(timing or {}),
        }
        if self._file is None:
            return record
        line = json.dumps({**record, "check": [self._next, _checksum(record)]}) + "\n"
        self._next += 1
        if fail_points.armed("mid-metrics-line"):
            self._push(line[: len(line) // 2])
            fail_points.kill()
        self._push(line)
        scalars = [(f"{kind}/{name}", value) for name, value in _scalars({**values, "timing": timing or {}})]
        if self._board is not None:
            for name, value in scalars:
                self._board.add_scalar(name, value, step)
            self._board.flush()
        if self._tracker is not None:
            self._tracker.log(dict(scalars), step + 1)
        return record

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()
        if self._tracker is not None:
            self._tracker.close()

    def _push(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole records of a metrics file, without `check`; [] if there is none. A last line cut in half is left out.

    Raises:
        RunError: the file cannot be read; another line is no record, or one of another run: steps never go back, and
            each has one record of a kind. Names the line.
    """
    return [{k: v for k, v in record.items() if k != "check"} for record in _read(path)]


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        if path.is_symlink() or path.exists():
            raise RunError(f"{path} is no file, or a link to none: put it back, or delete it to begin without records")
        return []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    records: list[dict[str, Any]] = []
    seen: set[tuple[int, Any]] = set()
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            if number < len(lines):
                raise RunError(f"line {number} of {path} is damaged; fix or delete it (a stray line break)")
            break
        try:
            record = json.loads(line, parse_constant=_no_number)
            _check(record, records[-1]["step"] if records else None, seen)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise RunError(f"line {number} of {path} is damaged; fix or delete it ({reason})") from error
        records.append(record)
    return records


def lost_records(path: Path, records: list[dict[str, Any]], last: int | None = None) -> str | None:
    """A line about iterations up to step `last` (default: that of the last record) without a training record, or about
    a last line that is cut and belongs to them; None if all are there."""
    have = {r["step"] for r in records if r.get("kind") == "train"}
    end = max(have, default=-1) if last is None else last
    if missing := [step + 1 for step in range(end + 1) if step not in have]:
        return f"{path} has no record of {len(missing)} iterations, {missing[0]} to {missing[-1]}"
    whole = _read(path)
    if whole and "check" in whole[-1] and (gone := whole[-1]["check"][0] + 1 - len(whole)):
        return f"{path} has lost {gone} of its records"
    tail = path.read_bytes().rpartition(b"\n")[2] if path.is_file() else b""
    step = re.match(rb'\{"step": (-?\d+),', tail)
    if tail and (last is None or (step is not None and int(step[1]) <= last)):
        return f"the last line of {path} is cut and left out"
    return None


def _check(record: Any, before: int | None, seen: set[tuple[int, Any]]) -> None:
    """
    Raises:
        ValueError, KeyError, TypeError: the reason why this is not the next record.
    """
    step, kind = record["step"], record.get("kind")
    if isinstance(step, bool) or not isinstance(step, int):
        raise ValueError(f"its step is {step!r}")
    if kind not in (None, "train", "eval"):
        raise ValueError(f"its kind is {kind!r}")
    if before is not None and step < before:
        raise ValueError(f"step {step} after step {before}")
    if kind is not None and (step, kind) in seen:
        raise ValueError(f"a second record of step {step}")
    seen.add((step, kind))
    if "check" in record and record["check"][1] != _checksum(record):
        raise ValueError("it was changed: its checksum is another")


def _checksum(record: dict[str, Any]) -> str:
    """Of everything outside `timing`, which does not repeat."""
    text = json.dumps({k: v for k, v in record.items() if k not in ("timing", "check")}, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _clean(values: Any) -> Any:
    if isinstance(values, dict):
        return {k: _clean(v) for k, v in values.items()}
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    return values


def _scalars(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    out: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            out += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            out.append((prefix + name, float(value)))
    return out
