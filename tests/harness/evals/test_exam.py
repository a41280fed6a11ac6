"""The credit exam: against cases whose true gradient is known, and in one line where it cannot be taken."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from rlsd.agents.hf.models import save_policy
from rlsd.algorithms import METHODS, LossConfig, TokenBatch, assign, needs_divergence, resolve, token_weights
from rlsd.algorithms.testing import toy_batch
from rlsd.harness.cli.app import app
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.evals.exam import Exam
from rlsd.harness.evals.exam_methods import CONTROLS, DEFAULT, VARIANTS, chosen
from rlsd.harness.evals.exam_tables import examine, loss_credit
from rlsd.harness.evals.gradient_quality import Marks, Truth, summary, times
from rlsd.harness.evals.stats import mean_interval, student_t
from rlsd.harness.evals.truth import fitted_values, true_credit
from rlsd.harness.iteration.parts import build
from rlsd.harness.iteration.score import score
from tests.support.recipes import with_facts
from tests.support.smallest_run import small_run

PROBABILITY = 0.3
"""Of the better arm."""
WORTH = (2.0, 1.0)
"""Return of the better arm, and of the other."""


def pulls(seed: int, *, trajectories: int = 256) -> tuple[TokenBatch, Tensor]:
    """A batch of one-token episodes on a two-armed bandit, and which pulled the better arm."""
    better = torch.rand(trajectories, generator=torch.Generator().manual_seed(seed)) < PROBABILITY
    returns = [WORTH[0] if b else WORTH[1] for b in better.tolist()]
    group = [i // 8 for i in range(trajectories)]
    return toy_batch([[[0.0]]] * trajectories, returns=returns, group=group, dtype=torch.float32), better


def test_on_a_two_armed_bandit_the_truth_is_the_policy_gradient() -> None:
    """d E[R] / dθ = p (1 − p) (worth − worth') for a policy σ(θ), whose ∇ log π is 1 − p or −p."""
    batches, arms = zip(*(pulls(seed) for seed in range(20)))
    values, explained = fitted_values(batches)
    slope = [torch.where(arm, 1 - PROBABILITY, -PROBABILITY) for arm in arms]
    found = [float((true_credit(b, v, LossConfig()) * s).sum()) for b, v, s in zip(batches, values, slope)]
    mean, half = mean_interval(found)
    assert mean == pytest.approx(PROBABILITY * (1 - PROBABILITY), abs=half)
    assert half < 0.01
    assert abs(explained) < 0.02  # siblings say nothing of a coin


def test_the_fitted_value_knows_the_distance_and_was_not_fitted_on_its_own_batch() -> None:
    def batch(seed: int, worth: float) -> TokenBatch:
        steps = torch.randint(1, 9, (64,), generator=torch.Generator().manual_seed(seed)).float()
        made = toy_batch([[[0.0]]] * 64, returns=(worth * 0.9**steps).tolist(), dtype=torch.float32)
        return TokenBatch(**{**{f: getattr(made, f) for f in made.__slots__}, "distance_before": steps})

    values, explained = fitted_values([batch(0, 1.0), batch(1, 1.0), batch(2, 1.0)])
    assert explained > 0.98
    values, _ = fitted_values([batch(0, 1.0), batch(1, 1.0), batch(2, 3.0)])
    assert float(values[2].mean()) < 1.5  # it has only seen returns of at most .9 (others' siblings apart)


def noisy(signal: Tensor, noise: float, batches: int, seed: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [signal + noise * torch.randn(len(signal), generator=draw) for _ in range(batches)]


def test_half_the_noise_is_worth_four_times_the_episodes() -> None:
    signal = torch.randn(2000, generator=torch.Generator().manual_seed(9))
    truth = Truth(torch.stack(noisy(signal, 0.3, 40, 0)), torch.eye(2000)[0])
    base, better = truth.marks(noisy(signal, 4.0, 40, 1)), truth.marks(noisy(signal, 2.0, 40, 2))
    row = summary(better, base)
    assert row["cos"] == pytest.approx(1 / math.sqrt(1 + 2.0**2), abs=0.01)
    assert row["episodes_times"] == pytest.approx(4.0, rel=0.1)
    assert row["cos_minus_grpo"] == pytest.approx(1 / math.sqrt(5) - 1 / math.sqrt(17), abs=0.015)


def test_the_truth_has_not_seen_the_batch_it_judges() -> None:
    """Pure noise that is judged by a sum with itself in it would look right."""
    noise = noisy(torch.zeros(500), 1.0, 10, 3)
    truth = Truth(torch.stack(noise), torch.eye(500)[0])
    assert abs(sum(truth.marks(noise).raw) / 10) < 0.05
    assert truth.reliability()[0] == pytest.approx(0.0, abs=0.1)


def test_reliability_is_that_of_the_signal() -> None:
    """Signal and noise of one size: halves of 10 batches have cosine 1 / (1 + 1/10), the whole has √(20/21) with it."""
    signal = torch.randn(4000, generator=torch.Generator().manual_seed(5))
    half, most = Truth(torch.stack(noisy(signal, 1.0, 20, 6)), torch.eye(4000)[0]).reliability()
    assert half == pytest.approx(10 / 11, abs=0.01)
    assert most == pytest.approx(math.sqrt(20 / 21), abs=0.01)


def test_projecting_takes_out_the_entropy_direction_and_nothing_else() -> None:
    spread, good, other = torch.eye(3)
    truth = Truth(torch.stack([good - 2 * spread] * 3), spread)
    raw, projected, along = truth.mark(good + other - 5 * spread, 0)
    assert raw == pytest.approx(11 / math.sqrt(5 * 27))
    assert projected == pytest.approx(1 / math.sqrt(2))
    assert along == pytest.approx(-5 / math.sqrt(27))
    assert truth.mark(spread, 0)[1] == 0
    assert truth.mark(0 * good, 0) == (0, 0, 0)


def test_a_cosine_that_is_not_above_zero_is_worth_no_number_of_episodes() -> None:
    assert times(0.3, 0.3) == 1
    assert times(-0.1, 0.3) is None
    assert times(0.3, 0.0) is None
    flat = Marks(raw=[0.2, 0.2], projected=[0.1, 0.1], entropy=[0.0, 0.0])
    assert summary(flat, flat)["cos_minus_grpo_half"] == 0


@pytest.mark.parametrize(("freedom", "tabulated"), [(3, 3.182), (5, 2.571), (11, 2.201), (17, 2.110), (100, 1.984)])
def test_students_quantile_is_the_tabulated_one(freedom: int, tabulated: float) -> None:
    assert student_t(freedom) == pytest.approx(tabulated, rel=0.002)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if not needs_divergence(m.config, 0)])
def test_a_policy_losss_credit_is_the_token_weight_times_the_advantage(name: str) -> None:
    config = METHODS[name].config
    if config.imitates or config.loss.distill.kind != "none" or config.loss.anchor < 1.0:
        return
    gaps = [[[0.3, -0.2], [0.1]], [[0.4], [-1.0, 0.2]]]
    batch = with_facts(toy_batch(gaps, returns=[1, 0], anchor=[0, 1, 0, 2], valid=[True, False, True, True]))
    batch = replace(batch, values=torch.zeros(4))
    loss = config.loss
    weights = token_weights(batch, loss.aggregation, constant_tokens=loss.constant_tokens)
    expected = weights * assign(batch, config, step=0).advantage
    torch.testing.assert_close(loss_credit(batch, config), expected)
    assert bool(expected.any())


def test_a_gated_distillation_term_counts() -> None:
    batch = toy_batch([[[0.3, -0.2]], [[0.4]]], returns=[1, 0])
    with_gate, without = loss_credit(batch, resolve("sdar")), loss_credit(batch, resolve("grpo"))
    assert float((with_gate - without).abs().max()) > 1e-4


# ---------------------------------------------------------------------- whole exams


def run(**blocks: Any) -> dict[str, Any]:
    return small_run(**{"algorithm": "rlsd", "reward": "tests.support.plain_worlds:odd_tokens", "threads": 1, **blocks})


def test_an_exam_repeats_with_its_seed() -> None:
    def examine(seed: int) -> dict[str, Any]:
        parts = build(parse_config(run(seed=seed)))
        found = Exam(parts, chosen(["rlsd", "progress"], parts.config), batches=4).run()
        return {name: value for name, value in found.items() if name != "seconds"}

    first = examine(1)
    assert first == examine(1)
    assert first != examine(2)
    assert [m["method"] for m in first["methods"]] == ["grpo", "rlsd", "progress", *CONTROLS]
    assert first["methods"][0]["cos_minus_grpo"] == 0
    assert first["methods"][0]["episodes_times"] in (1.0, None)
    assert first["episodes"] == 16
    assert all(math.isfinite(m["cos"]) for m in first["methods"])


def test_the_exams_credit_is_that_of_training() -> None:
    parts = build(parse_config(run()))
    methods = chosen(["rlsd"], parts.config, controls=False)
    groups = Exam(parts, methods, batches=4).play()[0]
    scored = score(parts, groups, 0)
    trained = loss_credit(scored.batch, parts.config.algorithm)
    torch.testing.assert_close(examine(parts, groups, methods).credits(methods)[1], trained, rtol=1e-4, atol=1e-6)
    assert bool(trained.any())


def test_methods_read_the_runs_own_contexts_and_controls_follow_the_methods() -> None:
    config = parse_config(run(algorithm={"name": "rlsd", "contexts": ["distance"]}))
    rows = {m.name: m for m in chosen(["rlsd_token"], config)}
    assert list(rows) == ["grpo", "rlsd_token", "rlsd shuffled", "rlsd other task", "student_prob added"]
    assert {m.algorithm.contexts for m in rows.values() if m.algorithm.credit.reads_teacher} == {("distance",)}
    assert rows["rlsd other task"].source == "other_task"
    assert [m.name for m in chosen(["gigpo"], config)] == ["grpo", "gigpo", "student_prob added"]
    assert [m.name for m in chosen(None, config, controls=False)] == list(DEFAULT)
    assert set(VARIANTS) < set(DEFAULT)
    assert chosen(["config"], config)[1].algorithm == config.algorithm


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("progess", r"unknown method 'progess'\. Did you mean 'progress'\? Known: "),
        ("opsd", "method 'opsd' compares whole distributions"),
        ("sft", "method 'sft' imitates"),
    ],
)
def test_a_method_that_cannot_be_examined_is_refused(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        chosen([name], parse_config(run()))


def test_progress_needs_an_environment_with_distances(tmp_path: Path) -> None:
    save_policy(build(parse_config(run())).policy, tmp_path)
    plain, model = {"id": "tests.support.plain_worlds:Plain"}, {"path": str(tmp_path)}
    parts = build(parse_config({**run(algorithm="grpo"), "env": plain, "model": model}))
    told = r"^method 'progress': tests/Plain does not give hindsight\.distance.*--methods grpo,gigpo$"
    with pytest.raises(ConfigError, match=told):
        Exam(parts, chosen(["gigpo", "progress"], parts.config), batches=4)
    found = Exam(parts, chosen(["gigpo"], parts.config), batches=4).run()
    assert [m["method"] for m in found["methods"]] == ["grpo", "gigpo", "student_prob added"]


def test_the_command_writes_a_table_a_picture_and_numbers(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps(run()))
    arguments = ["exam", str(config), "--methods", "rlsd", "--episodes", "13", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--sketch", "512"])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "exam.json").read_text())
    assert (found["batches"], found["episodes"], found["gradient"]["sketch"]) == (4, 16, 512)
    assert [m["method"] for m in found["methods"]][2:] == ["rlsd shuffled", "rlsd other task", "student_prob added"]
    assert "sketched to 512 numbers" in done.output
    assert (tmp_path / "out" / "exam.png").read_bytes()[:4] == b"\x89PNG"
    done = CliRunner().invoke(app, ["exam", str(config), "--episodes", "3"])
    assert "needs at least 4 batches of 4 episodes, 16 in all, given 1 batches" in str(done.exception)
