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
from safetensors.numpy import save_file

from rlsd.harness.config import parse_config
from rlsd.harness.config.yaml_text import write_yaml
from tests.support.smallest_run import small_run

PIECES = {5: "well,", 6: " go", 7: " <b>1</b>\n"}


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


def write_tokens(path: Path, records: list[dict[str, Any]]) -> None:
    """Tokens' credit beside `records`: token i of an episode has Δ = 0.1 (i − 2), m = 1 + Δ / 2, A = its first turn's
    credit; the first turn of each has no hindsight."""
    turns = [t for r in records for t in r["turns"]]
    lengths = [len(t["token_ids"]) for t in turns]
    places = np.concatenate([np.arange(sum(len(t["token_ids"]) for t in r["turns"])) for r in records])
    hinted = np.concatenate([np.full(n, k % 2 == 1) for k, n in enumerate(lengths)])
    gap = np.where(hinted, 0.1 * (places - 2.0), 0.0).astype(np.float32)
    base = np.concatenate([np.full(6, r["turn_credit"][0]) for r in records]).astype(np.float32)
    weight = (1 + gap / 2).astype(np.float32)
    student = np.full(len(gap), -1.0, dtype=np.float32)
    columns = {
        "episode_start": np.cumsum([0, *(len(r["turns"]) for r in records)]).astype(np.int32),
        "turn_start": np.cumsum([0, *lengths]).astype(np.int32),
        "action_span": np.array([t["action_span"] for t in turns], dtype=np.int32),
        "thought_span": np.array([t["thought_span"] for t in turns], dtype=np.int32),
        "ids": np.array([i for t in turns for i in t["token_ids"]], dtype=np.int32),
        "sampler_logp": student,
        "student_logp": student,
        "teacher_logp": np.where(hinted, student + gap, np.nan).astype(np.float32),
        "gap": gap,
        "base": base,
        "weight": weight,
        "advantage": base * weight,
    }
    save_file(columns, path, {"rlsd": json.dumps({"pieces": PIECES})})


def write_run(folder: Path, method: str, steps: dict[int, list[dict[str, Any]]], *, success: float = 0.5) -> Path:
    """A run directory as training leaves it: config, metrics, and the episodes of some iterations, from 0."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(write_yaml(parse_config(small_run(algorithm=method)).model_dump(mode="json")))
    metrics = [
        {"step": step, "kind": "train", "success": success, "loss": 0.1 * step, "failed_episodes": 1,
         "failures": {"timeout": 1}, "timing": {"iteration_s": 2.0}}
        for step in range(1 + max(steps))
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    for step, records in steps.items():
        path = write_records(folder / "rollouts" / f"step-{step:06d}.jsonl.gz", records)
        write_tokens(path.with_name(f"step-{step:06d}.tokens.safetensors"), [r for r in records if r["error"] is None])
    return folder


def write_evaluation(folder: Path, records: list[dict[str, Any]], *, agent: str = "explorer") -> Path:
    """A folder of `rlsd eval --keep`: the first half of its episodes is won."""
    write_records(folder / "rollouts" / "step-000000.jsonl.gz", records)
    panel = {"env": "x", "split": "test", "tasks": len(records), "digest": "0123"}
    by_type = {"kind-0": {"success": 0.5, "interval": [0.1, 0.9], "episodes": len(records)}}
    about = {"agent": agent, "panel": panel, "success": 0.5, "interval": [0.1, 0.9], "score": 0.5, "seed": 0,
             "episodes": len(records), "by_type": by_type, "errors": 1, "failures": {"agent.refused": 1}}  # fmt: skip
    (folder / "about.json").write_text(json.dumps(about))
    return folder
