"""Rollouts one step ahead, old log-probs taken from the sampler, and how stale either may be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlsd.agents.types import Action, EpisodeKey
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.envs.core import Task
from rlsd.harness.config import SamplerConfig, parse_config
from rlsd.harness.rollout.trajectory import StopReason, Trajectory, Turn
from rlsd.harness.scoring.logprob_gap import Gap, SamplerDrift, Versions
from rlsd.harness.train import train
from tests.support.served_runs import records, settings, weights_after


def test_rollouts_ahead_are_one_step_stale_and_repeat_bit_for_bit(folder: Path) -> None:
    data = settings(folder, rollout={"async_steps": True}, algorithm={"name": "rlsd", "loss": {"tis_cap": 2.0}})
    weights, metrics = weights_after(data)
    assert [m["staleness"]["max"] for m in metrics] == [0.0, 1.0, 1.0]
    assert metrics[0]["sampler_gap"] < 1e-4
    assert metrics[1]["sampler_gap"] > 1e-3, "sampled from the weights before the last update"
    assert torch.equal(weights_after(data)[0], weights)
    plain, _ = weights_after(settings(folder, algorithm=data["algorithm"]))
    assert not torch.equal(plain, weights)


def test_resumed_run_ahead_starts_from_the_checkpoints_weights(folder: Path, tmp_path: Path) -> None:
    data = settings(
        folder, rollout={"async_steps": True}, algorithm={"name": "rlsd", "loss": {"tis_cap": 2.0}}, checkpoint_every=1
    )
    train(parse_config({**data, "iterations": 2}), tmp_path / "run")
    train(parse_config({**data, "iterations": 4}), tmp_path / "run")
    found = records(tmp_path / "run")
    assert [r["staleness"]["max"] for r in found] == [0.0, 1.0, 0.0, 1.0]
    assert found[2]["sampler_gap"] < 1e-4 < found[3]["sampler_gap"]


def test_ahead_against_a_server(folder: Path, server: FakeVLLM) -> None:
    data = settings(folder, server, rollout={"async_steps": True}, algorithm={"name": "rlsd", "loss": {"tis_cap": 2.0}})
    _, metrics = weights_after(data)
    assert [m["staleness"]["max"] for m in metrics] == [0.0, 1.0, 1.0]


def test_workers_play_the_same_episodes(folder: Path) -> None:
    plain, _ = weights_after(settings(folder), steps=1)
    workers, _ = weights_after(settings(folder, env={"workers": 1}), steps=1)
    assert torch.equal(workers, plain)


def test_reused_log_probs_give_the_same_update(folder: Path) -> None:
    """GRPO without the scoring pass; a sample is verified all the same."""
    plain, _ = weights_after(settings(folder, algorithm="grpo"), steps=2)
    again, metrics = weights_after(
        settings(folder, algorithm="grpo", sampler={"reuse_logps": True, "verify_episodes": 1}), steps=2
    )
    torch.testing.assert_close(again, plain, atol=1e-5, rtol=0)
    for m in metrics:
        assert 0 < m["verified_tokens"] < m["tokens"]
        assert m["sampler_gap"] < 1e-4


def test_gap_warns_and_stops() -> None:
    nan = float("nan")
    gap = Gap.of(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.1, nan, -3.3]))
    assert (gap.tokens, gap.largest, gap.mean) == (2, pytest.approx(0.3), pytest.approx(0.2))
    assert gap.metrics("gap", "n") == {"gap": gap.largest, "gap_mean": gap.mean, "n": 2}
    assert gap.warning(SamplerConfig(logprob_gap_warn=0.5, logprob_gap_stop=1.0)) is None
    assert "0.2 nats a token" in (gap.warning(SamplerConfig(logprob_gap_warn=0.1, logprob_gap_stop=1.0)) or "")
    with pytest.raises(SamplerDrift, match=r"sampler\.logprob_gap_stop is 0\.15"):
        gap.warning(SamplerConfig(logprob_gap_warn=0.1, logprob_gap_stop=0.15))
    with pytest.raises(SamplerDrift):
        Gap.of(torch.tensor([float("inf")]), torch.tensor([-1.0])).warning(SamplerConfig())
    assert Gap.of(torch.tensor([-1.0]), torch.tensor([nan])).tokens == 0


def episode(*versions: int) -> Trajectory:
    return of_actions(*(Action(text="a", token_ids=(1,), logps=(-1.0,), policy_version=v) for v in versions))


def of_actions(*actions: Action) -> Trajectory:
    turns = tuple(
        Turn(observation="o", action=action, reward=0.0, next_observation="o", valid=True) for action in actions
    )
    return Trajectory(
        key=EpisodeKey("train", 0, 0, 0),
        task=Task(env_id="e", task_id="t7", split="train", task_type="x"),
        goal="",
        turns=turns,
        stop=StopReason.TERMINATED,
        success=False,
        score=0.0,
        episode_return=0.0,
    )


def in_pieces(*spans: tuple[int, int]) -> Action:
    """An action with so many tokens of each version."""
    count = sum(n for _, n in spans)
    return Action(
        text="a",
        token_ids=(1,) * count,
        logps=(-1.0,) * count,
        policy_version=spans[0][0],
        versions=spans if len(spans) > 1 else (),
    )


def test_staleness_is_counted_in_iterations_and_bounded() -> None:
    versions = Versions(allowed=1)
    for version in (0, 4, 8):  # four optimizer steps an iteration
        versions.give(version)
    assert versions.staleness([episode(4, 4, 8)], 8) == {"mean": pytest.approx(2 / 3), "max": 1.0}
    for old in (0, 3):
        with pytest.raises(SamplerDrift, match=rf"task t7.*version {old}, the learner is at 8"):
            versions.staleness([episode(8, old)], 8)
    pieces = of_actions(in_pieces((4, 3), (8, 1)), in_pieces((8, 2)))
    assert versions.staleness([pieces], 8) == {"mean": pytest.approx((3 / 4 + 0) / 2), "max": 1.0}
    with pytest.raises(SamplerDrift, match=r"task t7.*version 0, the learner is at 8"):
        versions.staleness([of_actions(in_pieces((0, 1), (8, 9)))], 8)  # its oldest token counts
    with pytest.raises(SamplerDrift, match=r"version 5"):
        versions.staleness([of_actions(in_pieces((4, 1), (5, 9)))], 8)
    strict = Versions(allowed=0)
    strict.give(4)
    with pytest.raises(SamplerDrift):
        strict.staleness([episode(4)], 5)
