"""What a page of `rlsd report` holds, unpacked; and kept episodes made by hand."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Page:
    """The data of a page."""

    start: dict[str, Any]
    indexes: dict[tuple[int, int], dict[str, Any]]
    episodes: dict[tuple[int, int, int], dict[str, Any]]
    """By run, iteration and number in the iteration's file."""

    @classmethod
    def of(cls, path: Path) -> Page:
        text = path.read_text(encoding="utf-8")
        (start,) = re.findall(r'<script type="application/json" id="start">(.*?)</script>', text)
        indexes, episodes = {}, {}
        for name, packed in re.findall(r'<script type="text/plain" id="([\w-]+)">([\w+/=]*)</script>', text):
            kind, run, step, *_ = name.split("-")
            data = json.loads(gzip.decompress(base64.b64decode(packed)))
            if kind == "index":
                indexes[int(run), int(step)] = data
            else:
                episodes |= {(int(run), int(step), int(n)): e for n, e in data["episodes"].items()}
        return cls(json.loads(start), indexes, episodes)


def numbers(packed: str) -> list[float]:
    return np.frombuffer(base64.b64decode(packed), "<f4").tolist()


def record(sibling: int = 0, *, group: int = 0, credit: float = 0.5, **more: Any) -> dict[str, Any]:
    """An episode of two turns as a run keeps it, that won if its credit is positive."""
    turns = [
        {
            "observation": f"you see {k}",
            "action": f"go {k}",
            "format_ok": True,
            "response": f"well, go {k}",
            "token_ids": [5, 6, 7],
            "logps": [-0.5, -0.25, -1.0],
            "action_span": [1, 3],
            "thought_span": [0, 1],
            "finish": "eos",
            "policy_version": 0,
            "explored": False,
            "reward": 0.0,
            "next_observation": f"you see {k + 1}",
            "valid": k == 0,
            "feedback": "",
            "hindsight_before": {"plan": ["go 0", "go 1"], "distance": 2.0},
            "hindsight_after": {},
        }
        for k in range(2)
    ]
    return {
        "key": ["train", 0, group, sibling, 0],
        "task": {"env_id": "x", "task_id": f"task-{group}", "split": "train", "task_type": f"kind-{group % 3}"},
        "goal": f"goal number {group}",
        "stop": "terminated" if credit > 0 else "truncated",
        "success": credit > 0,
        "score": float(credit > 0),
        "episode_return": float(credit > 0),
        "error": None,
        "turns": turns,
        "turn_credit": [credit, credit / 2],
        **more,
    }


def write_records(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(r) + "\n" for r in records)
    return path
