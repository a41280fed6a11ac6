"""A whole training run, from its config to the files it leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd.agents.hf.models import save_policy
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train
from tests.support.smallest_run import BASE

NO_EVAL = {"every": 0, "at_start": False}


def run_of(folder: Path, **blocks: Any) -> list[dict[str, Any]]:
    """The records of the smallest run with some blocks replaced, in `folder`."""
    train(parse_config({**BASE, "eval": NO_EVAL, **blocks}), folder)
    return read_metrics(folder / "metrics.jsonl")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny model in a folder, for environments without experts."""
    folder = tmp_path_factory.mktemp("model")
    save_policy(build(parse_config(BASE)).policy, folder)
    return {"path": str(folder)}


def test_the_loop_fits_in_150_lines() -> None:
    assert len((Path(__file__).parents[2] / "harness/rlsd/harness/train.py").read_text().splitlines()) <= 150


def test_the_docs_list_every_metric(tmp_path: Path) -> None:
    (record,) = run_of(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text()
    lines = page.split("### Metrics")[1].split("## Evaluation")[0].splitlines()
    listed = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in lines if line.startswith("|"))))
    served = {"teacher_gap", "teacher_gap_mean", "verified_teacher_tokens"}  # only where servers score the teacher view
    refilled = {"refilled_groups", "extra_episodes", "dropped_tokens", "own_success", "own_mixed_groups"}
    critics = {"value_loss", "value_explained"}  # only where the base advantage needs a critic
    ahead = {"tis", "in_flight"}  # `loss.tis_cap`; `rollout.async_steps` 2 or more
    assert listed - served - critics - refilled - ahead - {"played_episodes"} == set(record)


def test_a_critic_adds_two_metrics_of_its_values(tmp_path: Path) -> None:
    (ppo,), (grpo,) = run_of(tmp_path / "ppo", algorithm="ppo"), run_of(tmp_path / "grpo", algorithm="grpo")
    assert set(ppo) - set(grpo) == {"value_loss", "value_explained"}


def test_a_run_with_a_critic_that_resumes_is_one_that_was_not_interrupted(tmp_path: Path) -> None:
    """Its values, losses and weights, bit for bit."""
    settings = {"algorithm": {"name": "ppo", "advantage": {"critic": {"width": 4}}}, "checkpoint_every": 1}
    whole = run_of(tmp_path / "whole", iterations=3, **settings)
    run_of(tmp_path / "parts", iterations=1, **settings)
    parts = run_of(tmp_path / "parts", iterations=3, **settings)
    assert whole[2]["value_loss"] != whole[0]["value_loss"]
    for a, b in zip(whole, parts, strict=True):
        assert {k: v for k, v in a.items() if k != "timing"} == {k: v for k, v in b.items() if k != "timing"}
    kept, again = (
        checkpoint.load(tmp_path / name / "checkpoints" / "step-000003")[0]["critic"] for name in ("whole", "parts")
    )
    assert set(kept) == set(again)
    for name, value in kept.items():
        assert torch.equal(value, again[name]), name


def test_mini_batches_add_up_to_the_whole_batch(tmp_path: Path) -> None:
    """Weights that hardly move: the mean over mini-batches is the loss of all episodes at once."""
    algorithm = {"name": "grpo", "loss": {"policy": "reinforce"}}  # PPO's loss is 0 before the first step
    (whole,) = run_of(tmp_path / "1", learner={"lr": 1e-12, "minibatches": 1}, algorithm=algorithm)
    (parts,) = run_of(tmp_path / "2", learner={"lr": 1e-12, "minibatches": 2}, algorithm=algorithm)
    assert (whole["updates"], parts["updates"]) == (1, 2)
    assert abs(whole["loss"]) > 1e-4
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-3)


def test_the_kl_term_trains_on_episodes_without_an_advantage(tmp_path: Path) -> None:
    """Nobody wins and nobody gets a reward, so every advantage is 0; the KL term still reads every token."""
    (without,) = run_of(tmp_path / "without", algorithm="grpo", reward=None)
    assert without["returns"] == 0.0
    assert without["idle_trajectories"] == without["episodes"] == 2
    assert without["trained_tokens"] == 0
    kl = {"name": "grpo", "loss": {"kl_coef": 0.1}}
    (record,) = run_of(tmp_path / "kl", algorithm=kl, reward=None)
    assert record["returns"] == 0.0
    assert record["idle_trajectories"] == 0
    assert record["trained_tokens"] == record["tokens"] > 0


def test_the_best_checkpoint_is_the_first_of_equal_ones(tmp_path: Path) -> None:
    records = run_of(tmp_path, eval={"every": 1, "episodes": 1, "at_start": True}, iterations=2)
    evaluations = [(r["step"], r["success"]) for r in records if r["kind"] == "eval"]
    assert evaluations == [(-1, 0.0), (0, 0.0), (1, 0.0)]
    _, state = checkpoint.load(tmp_path / "checkpoints" / "step-000002")
    assert state["best"]["step"] == -1


def test_tokens_of_failed_attempts_are_counted_as_wasted(model: dict[str, str], tmp_path: Path) -> None:
    """One episode breaks in its second step and is played again: what was sampled for it until then is lost."""
    kwargs = {"where": "step 2", "left": {"t0": 1}, "tasks": 1}
    env = {"id": "tests.support.plain_worlds:Faulty", "kwargs": kwargs}
    (record,) = run_of(tmp_path, env=env, model=model, algorithm="grpo")
    assert record["episodes"] == 2
    assert record["failed_episodes"] == 0, "the second attempt went well"
    assert record["wasted_tokens"] == record["decoded_tokens"] - record["tokens"]
    assert 2 <= record["wasted_tokens"] <= 8, "two turns of 1 to 4 tokens"
