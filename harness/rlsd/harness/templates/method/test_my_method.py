"""my_method gives the weights that its equation says, and trains."""

from dataclasses import replace
from math import tanh
from pathlib import Path

import pytest
import torch
from my_method import METHOD, weigh

from rlsd.algorithms import constant, credit
from rlsd.algorithms.testing import toy_batch
from rlsd.harness.config import load_config
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train

HERE = Path(__file__).parent


def batch_of(gaps):
    """One episode of two turns with these Δ; the first brought the goal nearer, the second did not."""
    batch = toy_batch([gaps], returns=[1])
    return replace(batch, distance_before=torch.tensor([2.0, 1.0]), distance_after=torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_turns_that_came_nearer_are_weighted_and_others_are_not(sign):
    advantage = torch.full((3,), sign, dtype=torch.float64)
    weight = weigh(batch_of([[0.2, 0.6], [0.9]]), advantage, tau=0.5)
    expected = 1 + tanh(sign * 0.4 / 0.5)
    torch.testing.assert_close(weight, torch.tensor([expected, expected, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("lam", [0.0, 0.25, 1.0])
def test_lambda_mixes_it_in(lam):
    settings = METHOD.config.credit.model_copy(update={"lam": constant(lam)})
    made = credit(batch_of([[0.5], [0.5]]), torch.ones(2, dtype=torch.float64), settings, step=0)
    torch.testing.assert_close(made.weight, torch.tensor([1 + lam * tanh(1.0), 1.0], dtype=torch.float64))


def test_a_model_trains_with_it(tmp_path):
    """Two iterations of train.yaml, with a model made here and a reward that differs between episodes."""
    tiny = "model={tiny: {layers: 1, dim: 32, heads: 2, vocab: 400, context: 1024, text_episodes: 8}}"
    settings = [tiny, "iterations=2", "rollout.tasks_per_iteration=2", "rollout.group_size=3", "eval.every=0"]
    config = load_config(HERE / "train.yaml", [*settings, "env.kwargs.max_steps=3", "eval.at_start=false"])
    train(config, tmp_path / "run")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["episodes"] for record in records] == [6, 6]
    assert [record["credit"]["lam"] for record in records] == [1.0, 1.0]
