"""Kept iterations: each token's credit is the number that the loss took, and what the teacher read stands beside it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.runs.token_credit import VALUES, TokenFile, tokens_path
from rlsd.harness.train import Iteration, train
from tests.support.plain_worlds import odd_tokens
from tests.support.smallest_run import small_run

BASE = small_run(iterations=1, rollout={"tasks_per_iteration": 2, "group_size": 3}, save_rollouts_every=1, threads=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens") / "run"
    train(parse_config(BASE), folder)
    return folder


def kept(run: Path, step: int = 0) -> list[dict[str, Any]]:
    with gzip.open(run / "rollouts" / f"step-{step:06d}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def tokens_of(run: Path, step: int = 0) -> TokenFile:
    return TokenFile(tokens_path(run / "rollouts" / f"step-{step:06d}.jsonl.gz"))


def test_the_loss_is_minus_the_mean_of_the_kept_advantages(run: Path) -> None:
    """At the first step the ratio of new to old is 1, so the loss of an episode is minus its tokens' mean advantage."""
    (record,) = (r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train")
    tokens = tokens_of(run)
    episodes = [np.concatenate([t["advantage"] for t in tokens.turns(n)]).astype(float) for n in range(tokens.episodes)]
    assert record["updates"] == 1
    assert record["loss"] == pytest.approx(-np.mean([e.mean() for e in episodes]), abs=1e-7)
    assert record["credit"]["weight_shift"] == pytest.approx(np.abs(tokens.column("weight").astype(float) - 1).mean())
    assert any(np.ptp(e) > 1e-3 for e in episodes), "hindsight moved no token"


def test_a_turns_credit_is_the_mean_of_its_tokens(run: Path) -> None:
    tokens, episodes = tokens_of(run), kept(run)
    assert tokens.episodes == len(episodes) == 6
    for n, episode in enumerate(episodes):
        turns = tokens.turns(n)
        assert [round(float(t["advantage"].mean()), 6) for t in turns] == pytest.approx(
            episode["turn_credit"], abs=2e-6
        )
        assert all((t["advantage"] == t["base"] * t["weight"]).all() for t in turns)


def test_rows_are_those_of_the_episodes(run: Path) -> None:
    tokens = tokens_of(run)
    for n, episode in enumerate(kept(run)):
        read = episode["hindsight_read"]
        for turn, columns, text in zip(episode["turns"], tokens.turns(n), read, strict=True):
            assert columns["ids"].tolist() == turn["token_ids"]
            assert columns["sampler_logp"].tolist() == pytest.approx(turn["logps"], abs=1e-6)
            assert np.isnan(columns["teacher_logp"]).tolist() == [text is None] * len(turn["token_ids"])
            gap = columns["teacher_logp"] - columns["student_logp"]
            assert (columns["gap"] == np.where(np.isnan(gap), np.float32(0), gap)).all()
    assert any(text and "plan" in text.lower() for e in kept(run) for text in e["hindsight_read"])


def test_the_file_holds_the_very_bits_of_the_credit_and_32_bytes_a_token(tmp_path: Path) -> None:
    parts = build(parse_config(BASE))
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    outcome = iteration.run(0)
    iteration.close()
    assert outcome.tokens is not None
    outcome.tokens.write(tmp_path / "t.safetensors", parts.agent.chat.tokenizer)
    read, credit, batch = TokenFile(tmp_path / "t.safetensors"), outcome.tokens.credit, outcome.tokens.batch
    for name, mine in {"advantage": credit.advantage, "weight": credit.weight, "gap": batch.gap}.items():
        assert torch.equal(torch.from_numpy(read.column(name)), mine)
    columns = outcome.tokens.columns()
    m, k, n = len(batch.turn), len(batch.trajectory), len(batch.group)
    assert sum(c.numel() * c.element_size() for c in columns.values()) == 32 * m + 20 * k + 4 * n + 8
    wrong = replace(outcome.tokens, batch=replace(batch, against=(batch.student_logp - 2, batch.student_logp - 3)))
    wrong.write(tmp_path / "w.safetensors", parts.agent.chat.tokenizer)
    assert torch.equal(
        torch.from_numpy(TokenFile(tmp_path / "w.safetensors").column("against_1")), batch.student_logp - 3
    )
    assert set(TokenFile(tmp_path / "w.safetensors").turns(0)[0]) == {"ids", "against_0", "against_1", *VALUES}
    action = outcome.trajectories[0].turns[0].action
    assert "".join(read.pieces[i] for i in action.token_ids).startswith(action.response)


def test_the_last_iteration_is_kept_and_a_key_turns_tokens_off(tmp_path: Path) -> None:
    names = {}
    for name, more in {
        "tokens": {"iterations": 3, "save_rollouts_every": 10},
        "plain": {"iterations": 2, "save_token_credit": False},
        "none": {"save_rollouts_every": 0},
    }.items():
        train(parse_config({**BASE, **more}), tmp_path / name)
        names[name] = sorted(p.name for p in (tmp_path / name).glob("rollouts/*"))
    both = [f"step-{s:06d}.{end}" for s in (0, 2) for end in ("jsonl.gz", "tokens.safetensors")]
    assert names == {"tokens": both, "plain": ["step-000000.jsonl.gz", "step-000001.jsonl.gz"], "none": []}


def test_methods_without_hindsight_have_no_teacher_and_weight_one(tmp_path: Path) -> None:
    train(parse_config({**BASE, "algorithm": "grpo"}), tmp_path / "run")
    tokens = tokens_of(tmp_path / "run")
    assert np.isnan(tokens.column("teacher_logp")).all()
    assert (tokens.column("weight") == 1).all()
    assert (tokens.column("gap") == 0).all()
    assert "hindsight_read" not in kept(tmp_path / "run")[0]


@pytest.mark.parametrize("harm", [lambda b: b[:100], lambda b: b"", lambda b: b.replace(b"advantage", b"advantaxx")])
def test_a_damaged_file_is_named(run: Path, tmp_path: Path, harm: Any) -> None:
    path = tmp_path / "step-000000.tokens.safetensors"
    path.write_bytes(harm((run / "rollouts" / path.name).read_bytes()))
    with pytest.raises(RunError, match=r"step-000000\.tokens\.safetensors cannot be read .*delete it"):
        TokenFile(path)
