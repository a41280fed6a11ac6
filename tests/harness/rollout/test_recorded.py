"""Episodes from a file: what cannot be is named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.config import ConfigError
from rlsd.harness.rollout.recorded import read_trajectories

EPISODE: dict[str, Any] = {"goal": "g", "turns": [{"observation": "o", "action": "a"}]}


@pytest.mark.parametrize(
    "change",
    [
        {"score": float("nan")},
        {"episode_return": "high"},
        {"turns": [{"observation": "o", "action": "a", "reward": float("inf")}]},
        {"success": "false"},
        {"turns": [{"observation": "o", "action": "a", "action_span": []}]},
        {"turns": [3]},
        {"turns": 3},
    ],
)
def test_an_episode_that_cannot_be_is_one_line_with_its_place(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(EPISODE) + "\n")
    assert len(read_trajectories(path, "mine")) == 1
    path.write_text(json.dumps(EPISODE) + "\n" + json.dumps({**EPISODE, **change}) + "\n")
    with pytest.raises(ConfigError, match=r"line 2 of .*mine\.jsonl is no episode"):
        read_trajectories(path, "mine")
