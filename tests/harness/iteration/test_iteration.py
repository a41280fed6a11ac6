"""One iteration end to end: what must not make a difference, and what must."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd.algorithms import TokenBatch
from rlsd.harness.config import RunConfig, parse_config
from rlsd.harness.iteration import score
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration
from tests.support.smallest_run import small_run


def mixed_reward(trajectory: Trajectory) -> float:
    """Differs between siblings, so that advantages are not all 0."""
    return sum(len(t.action.token_ids) for t in trajectory.turns) / 10


def iterated(
    algorithm: Any, *, steps: int = 2, sampler: dict[str, Any] | None = None, **settings: Any
) -> tuple[Parts, list[dict[str, Any]]]:
    """A run's parts after some iterations, and the metrics of each."""
    config = parse_config(
        small_run(
            algorithm=algorithm,
            env={"kwargs": {"games": "gen-tiny", "max_steps": 4}},
            agent={"max_new_tokens": 6},
            rollout={"group_size": 3},
            learner=settings,
            sampler=sampler or {},
        )
    )
    parts = build(config)
    iteration = Iteration(parts, reward=mixed_reward, progress=Progress(quiet=True))
    return parts, [iteration.run(step).metrics for step in range(steps)]


def weights_after(algorithm: Any, *, steps: int = 2, **settings: Any) -> torch.Tensor:
    parts, _ = iterated(algorithm, steps=steps, **settings)
    return torch.cat([p.detach().flatten() for p in parts.policy.model.parameters()])


def test_rlsd_without_hindsight_is_grpo() -> None:
    grpo = weights_after("grpo")
    torch.testing.assert_close(weights_after({"name": "rlsd", "contexts": ["none"]}), grpo, atol=1e-6, rtol=0)


def test_rlsd_with_lambda_zero_is_grpo() -> None:
    grpo = weights_after("grpo")
    torch.testing.assert_close(weights_after({"name": "rlsd", "credit": {"lam": 0}}), grpo, atol=1e-6, rtol=0)


def test_hindsight_changes_the_update() -> None:
    assert not torch.allclose(weights_after("rlsd"), weights_after("grpo"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("algorithm", ["rlsd", {"name": "opsd", "contexts": ["plan"]}])
def test_rows_and_micro_batches_do_not_change_the_update(algorithm: Any) -> None:
    whole = weights_after(algorithm, steps=1)
    for settings in ({"merge_turns": False}, {"micro_batch_tokens": 128}):
        torch.testing.assert_close(weights_after(algorithm, steps=1, **settings), whole, atol=2e-5, rtol=0)


@pytest.mark.parametrize("teacher", ["live", "initial", "ema", "sync"])
def test_every_teacher_runs_and_starts_as_the_student(teacher: str) -> None:
    """At the first step all teachers hold the student's weights, so the first update is the same."""
    first = weights_after({"name": "rlsd", "teacher": {"weights": teacher, "every": 1}}, steps=1)
    torch.testing.assert_close(first, weights_after("rlsd", steps=1), atol=2e-5, rtol=0)


def test_same_seed_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    assert torch.equal(weights_after("rlsd"), weights_after("rlsd"))


def test_one_step_after_scoring_clips_nothing_and_is_no_kl_away() -> None:
    _, (metrics,) = iterated("grpo", steps=1)
    assert metrics["clip_fraction"] == 0.0
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["lr"] == 1e-3


def test_later_passes_over_the_same_episodes_show_in_clip_fraction_and_kl() -> None:
    _, (once,) = iterated("grpo", steps=1)
    _, (often,) = iterated("grpo", steps=1, epochs=6, lr=2e-2, warmup_updates=12)
    assert often["approx_kl"] > 1e-3 > once["approx_kl"]
    assert 0.0 < often["clip_fraction"] < 1.0
    assert often["lr"] == pytest.approx(2e-2 * 6 / 12)


@pytest.mark.parametrize("algorithm", ["rlsd", "grpo", {"name": "opsd", "contexts": ["plan"]}])
def test_entropy_is_that_of_the_student_view(algorithm: Any) -> None:
    """Fresh weights are nearly uniform over their vocabulary of 400 entries or so."""
    parts, (metrics,) = iterated(algorithm, steps=1)
    uniform = math.log(parts.policy.model.get_input_embeddings().num_embeddings)
    assert 0.97 * uniform < metrics["entropy"] < uniform


@pytest.mark.parametrize(
    "algorithm",
    [
        "progress_add",
        *({"name": "grpo", "loss": x} for x in ({"policy": "gspo"}, {"kl_coef": 0.1}, {"policy": "cispo"})),
    ],
    ids=str,
)
def test_an_only_update_scores_only_what_verifies_the_sampler(algorithm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own log-probs are the old ones: the weights and metrics after it are those with a scoring pass."""
    parts, fast = iterated(algorithm, steps=4, sampler={"verify_episodes": 1})
    monkeypatch.setattr(RunConfig, "on_policy", lambda self, step: False)
    scored, slow = iterated(algorithm, steps=4, sampler={"verify_episodes": 1})
    for mine, other in zip(parts.policy.model.parameters(), scored.policy.model.parameters()):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=0)
    for mine, other in zip(fast, slow):
        for name in ("entropy", "loss", "approx_kl", "grad_norm"):
            assert mine[name] == pytest.approx(other[name], abs=1e-5), name
    assert 0 < sum(m["verified_tokens"] for m in fast) < sum(m["verified_tokens"] for m in slow)
    assert sum(m["forwarded_tokens"]["student"] for m in fast) < sum(m["forwarded_tokens"]["student"] for m in slow)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_an_only_update_takes_no_ratio_to_the_samplers_log_probs(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler whose log-probs are wrong changes neither the weights nor the clip."""
    checks = {"verify_episodes": 1, "logprob_gap_warn": 9, "logprob_gap_stop": 9}
    right, _ = iterated("grpo", steps=1, sampler=checks)
    made = score.token_batch

    def shifted(*given: Any) -> TokenBatch:
        batch = made(*given)
        return replace(batch, sampler_logp=batch.sampler_logp - shift)

    monkeypatch.setattr(score, "token_batch", shifted)
    parts, (metrics,) = iterated("grpo", steps=1, sampler=checks)
    assert metrics["sampler_gap_mean"] == pytest.approx(shift, abs=1e-4)
    assert metrics["clip_fraction"] == metrics["approx_kl"] == 0.0
    for mine, other in zip(parts.policy.model.parameters(), right.policy.model.parameters()):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("grpo", {"minibatches": 2}),
        ("grpo", {"epochs": 2}),
        ("rlsd", {}),
        ({"name": "grpo", "loss": {"tis_cap": 2.0}}, {}),
        ({"name": "progress", "credit": {"signal": "student_prob"}}, {}),
        ({"name": "progress", "credit": {"gates": ["surprisal"]}}, {}),
        ({"name": "grpo", "advantage": {"method": "gae"}}, {}),
    ],
    ids=str,
)
def test_what_reads_log_probs_before_the_update_scores_all_that_is_trained(
    algorithm: Any, settings: dict[str, Any]
) -> None:
    _, (metrics,) = iterated(algorithm, steps=1, sampler={"verify_episodes": 1}, **settings)
    assert metrics["verified_tokens"] >= metrics["trained_tokens"] / settings.get("epochs", 1) > 0


@pytest.mark.parametrize(("kind", "share"), [("ema", 0.25), ("sync", 1.0)])
def test_a_teacher_moves_once_an_iteration_however_many_optimizer_steps_it_takes(kind: str, share: float) -> None:
    algorithm = {"name": "rlsd", "teacher": {"weights": kind, "tau": 0.25, "every": 1}}
    first, _ = iterated(algorithm, steps=0)
    parts, (metrics,) = iterated(algorithm, steps=1, epochs=3)
    assert metrics["updates"] == 3
    start = first.policy.model.state_dict()
    after = parts.policy.model.state_dict()
    for name, mine in parts.teacher.state().items():
        expected = start[name] + share * (after[name] - start[name])
        torch.testing.assert_close(mine, expected, atol=1e-7, rtol=0)
    assert any(not torch.equal(start[name], after[name]) for name in start)


@pytest.mark.parametrize("method", ["g2po", "gagpo", "graph_hca", "beacon", "proxmo", "gigpo_similar", "ppo", "coars"])
def test_methods_by_outcome_move_the_weights(method: str) -> None:
    assert not torch.equal(weights_after(method, steps=1), weights_after(method, steps=0))


def test_a_critic_learns_what_the_turns_return() -> None:
    """Its values are 0 in the first iteration: the loss is the mean square of the returns, and nothing is explained."""
    parts, metrics = iterated({"name": "ppo", "advantage": {"critic": {"lr": 0.05, "steps": 40}}}, steps=4)
    assert parts.critic is not None
    assert metrics[0]["value_explained"] == pytest.approx(0.0, abs=1e-9)
    assert metrics[-1]["value_loss"] < 0.5 * metrics[0]["value_loss"]
    assert "value_loss" not in iterated("grpo", steps=1)[1][0]


@pytest.mark.parametrize("settings", [{"merge_turns": False}, {"micro_batch_tokens": 128}, {"prefix_sharing": False}])
def test_rows_and_micro_batches_do_not_change_the_values(settings: dict[str, Any]) -> None:
    ppo = {"name": "ppo", "advantage": {"critic": {"lr": 0.05}}}
    (parts, _), (other, _) = iterated(ppo, steps=1), iterated(ppo, steps=1, **settings)
    assert parts.critic is not None
    assert other.critic is not None
    for name, value in parts.critic.state().items():
        torch.testing.assert_close(other.critic.state()[name], value, atol=2e-3, rtol=1e-3)


def test_a_critic_goes_with_hindsight() -> None:
    """The student view is scored twice, for the values and beside the teacher's; the credit is RLSD's."""
    _, (metrics,) = iterated({"name": "rlsd", "advantage": {"method": "gae"}}, steps=1)
    assert metrics["value_loss"] > 0
    assert metrics["hints"]["given"] > 0
