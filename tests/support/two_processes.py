"""Runs of two processes on CPU, and how they are compared with runs of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rlsd.harness.config import parse_config
from rlsd.harness.fail_points import VARIABLE
from rlsd.harness.runs import checkpoint
from rlsd.harness.train import train

ROOT = Path(__file__).parents[2]


def started(*words: str, kill_at: str | None = None, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """A module with its arguments, in two processes of torchrun or more."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env.pop(VARIABLE, None)
    if kill_at is not None:
        env[VARIABLE] = kill_at
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc_per_node", str(processes), "-m", "--"]
    return subprocess.run(
        [*launch, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=1500, check=False
    )


def together(folder: Path, config: dict[str, Any], *, kill_at: str | None = None) -> subprocess.CompletedProcess[str]:
    """`rlsd train` in two processes, as the README starts it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return started("rlsd", "train", str(folder / "run.yaml"), "--run", str(folder / "run"), "--quiet", kill_at=kill_at)


def alone(folder: Path, config: dict[str, Any]) -> Path:
    train(parse_config(config), folder)
    return folder


def records(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [r for r in found if r["kind"] == kind]


def assert_same_run(run: Path, other: Path, *, steps: int) -> None:
    """Same episodes, same updates: counts exactly, loss and gradient norm to 1e-4."""
    mine, theirs = records(run)[:steps], records(other)[:steps]
    assert [r["step"] for r in mine] == [r["step"] for r in theirs] == list(range(steps))
    for a, b in zip(mine, theirs):
        for name in ("episodes", "tokens", "returns", "updates", "trained_tokens", "decoded_tokens", "hints"):
            assert a[name] == pytest.approx(b[name]), name
        for name in ("loss", "grad_norm"):
            assert a[name] == pytest.approx(b[name], abs=1e-4, rel=1e-4), name
        assert a["credit"] == pytest.approx(b["credit"], abs=1e-4)
    assert records(run, "eval")[0]["success"] == records(other, "eval")[0]["success"]


def assert_same_updates(run: Path, other: Path) -> None:
    """Every iteration has the same loss, gradient norm, tokens and, with a critic, value loss, to 1e-4."""
    for a, b in zip(records(run), records(other), strict=True):
        for name in ("loss", "grad_norm", "tokens", "value_loss", "value_explained"):
            assert (name in a) == (name in b), name
            if name in b:
                assert a[name] == pytest.approx(b[name], abs=1e-4, rel=1e-4), name


def assert_same_weights(run: Path, other: Path, step: int) -> None:
    mine, _ = checkpoint.load(run / "checkpoints" / f"step-{step:06d}")
    theirs, _ = checkpoint.load(other / "checkpoints" / f"step-{step:06d}")
    assert set(mine["model"]) == set(theirs["model"])
    assert set(mine["optimizer"]) == set(theirs["optimizer"])
    for name in mine["model"]:
        torch.testing.assert_close(mine["model"][name], theirs["model"][name], atol=1e-4, rtol=0)
