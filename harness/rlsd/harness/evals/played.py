"""Which weights an evaluation plays: their folder, training step and digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rlsd.harness.manifest import sha256
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.weights import noted_step

ENDINGS = (".safetensors", ".bin")
"""Files of weights."""


def weights_of(folder: str | Path) -> dict[str, Any]:
    """`{"folder": …, "step": iterations of training, "digest": …}` of a folder of weights; a hub name has its name
    alone, and a folder whose step nobody noted has none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        return {"name": str(folder)}
    out: dict[str, Any] = {"folder": str(folder)}
    step = noted_step(path)
    if step is None and path.name == "best":
        step = _best_step(path.parent)
    if step is not None:
        out["step"] = step
    return {**out, "digest": digest(path)}


def digest(folder: Path, stem: str = "*") -> str:
    """SHA-256 of a folder's weight files whose stem fits the pattern, with their names, shortened to 12 hex digits."""
    whole = hashlib.sha256()
    for path in sorted(p for ending in ENDINGS for p in folder.glob(stem + ending)):
        whole.update(f"{path.name}\0{sha256(path)}\n".encode())
    return whole.hexdigest()[:12]


def told(weights: dict[str, Any]) -> str:
    """One line for a person.

    >>> told({"folder": "runs/a/best", "step": 40, "digest": "0a1b2c3d4e5f"})
    'weights: runs/a/best, step 40, digest 0a1b2c3d4e5f'
    """
    first = next(iter(weights.values()))
    rest = [f"{name} {value}" for name, value in list(weights.items())[1:]]
    return "weights: " + ", ".join([str(first), *rest])


def _best_step(run: Path) -> int | None:
    """Of a run whose version did not note it: the iterations before the first of its best evaluations."""
    try:
        records = [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "eval"]
        best = max(records, key=lambda r: (r["success"], -r["step"]))
        return int(best["step"]) + 1
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError):
        return None
