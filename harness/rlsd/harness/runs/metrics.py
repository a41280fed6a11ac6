"""Metrics as JSON lines (and TensorBoard): one record per line, readable even if a crash cuts the last line.

A record is `{"step": 12, "kind": "train", …, "timing": {…}}`. Everything outside `timing` is repeatable; seconds
and rates are inside it.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from rlsd.envs.redact import hidden_in
from rlsd.harness import fail_points
from rlsd.harness.runs.rundir import RunError


class MetricsLog:
    """Appends to `metrics.jsonl` of a run.

    Args:
        folder: the run directory; None writes nothing (all processes but the first).
        resume_step: records of later steps, and a last line cut in half, are dropped; they are written again.
        tensorboard: also write event files under `tensorboard/`.
    """

    def __init__(self, folder: Path | None, *, resume_step: int = -1, tensorboard: bool = False) -> None:
        self._file: Any = None
        self._board: Any = None
        if folder is None:
            return
        self.path = folder / "metrics.jsonl"
        kept = [r for r in read_metrics(self.path) if r["step"] <= resume_step]
        fresh = self.path.with_suffix(".jsonl.partial")
        fresh.write_text("".join(json.dumps(r) + "\n" for r in kept))
        os.replace(fresh, self.path)
        self._file = self.path.open("a")
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
        line = json.dumps(record) + "\n"
        if fail_points.armed("mid-metrics-line"):
            self._push(line[: len(line) // 2])
            fail_points.kill()
        self._push(line)
        if self._board is not None:
            for name, value in _scalars({**values, "timing": timing or {}}):
                self._board.add_scalar(f"{kind}/{name}", value, step)
            self._board.flush()
        return record

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _push(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole records of a metrics file; [] if there is none. A last line cut in half is left out.

    Raises:
        RunError: another line is no record; names it.
    """
    if not path.is_file():
        return []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            records.append({"step": int(record["step"]), **record})
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"line {number} of {path} is damaged; fix or delete it ({error})") from error
    return records


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
