"""The folder of an evaluation's episodes.

    FOLDER/about.json                        what was evaluated, and the result's summary
    FOLDER/rollouts/step-000000.jsonl.gz     the episodes as a run keeps its own, with prompts, responses and usage
    FOLDER/timings.jsonl                     seconds of each turn, one line an episode, written as they end
    FOLDER/calls.jsonl                       answers of a chat endpoint (`rlsd.agents.api.calls`)

Two equal evaluations write the same bytes, but for timings and calls.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

from rlsd.envs.hiding import hidden_in
from rlsd.harness.evals.evaluate import EvalResult
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.records import record_of
from rlsd.harness.runs.rundir import write_atomic

ABOUT, TIMINGS, CALLS = "about.json", "timings.jsonl", "calls.jsonl"
EPISODES = "rollouts/step-000000.jsonl.gz"


class KeptEpisodes:
    """Writes the times of episodes while they are played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._timings = (folder / TIMINGS).open("a+b")
        self._timings.seek(0)
        whole = self._timings.read().rfind(b"\n") + 1
        self._timings.truncate(whole)  # a killed process may have cut the last line

    def timed(self, trajectory: Trajectory) -> None:
        """Keep the times of an episode that has ended."""
        times = {name: [round(getattr(t, name), 4) for t in trajectory.turns] for name in ("act_s", "step_s")}
        self._timings.write(json.dumps({"key": list(trajectory.key), **times}).encode() + b"\n")
        self._timings.flush()

    def close(self) -> None:
        self._timings.close()


def keep_episodes(folder: Path | None, result: EvalResult, about: dict[str, Any]) -> None:
    """Write the episodes of a finished evaluation, and what they are of; nothing where there is no folder."""
    if folder is None:
        return
    path = folder / EPISODES
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as raw, gzip.GzipFile("", "wb", 5, raw, mtime=0) as file:
        for trajectory in result.trajectories:
            record = record_of(trajectory, [0.0] * len(trajectory.turns), prompts=True)
            file.write(json.dumps(hidden_in(record)).encode() + b"\n")
    os.replace(partial, path)
    write_atomic(folder / ABOUT, json.dumps(hidden_in(about), indent=1) + "\n")
