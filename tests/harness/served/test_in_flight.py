"""Several iterations in flight: weights change while episodes play, and no token is older than the bound."""

from __future__ import annotations

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rlsd.agents.types import Action, version_spans
from rlsd.agents.vllm.errors import SamplerError
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.iteration.outcome import Outcome
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration, train
from tests.support.plain_worlds import Plain, odd_tokens
from tests.support.served_runs import records, settings

TIS = {"name": "grpo", "loss": {"tis_cap": 2.0}}
STILL = {"lr": 1e-30}
"""Updates that change no weight: 1e-30 is lost in the rounding of float32."""


class Uneven(Plain):
    """Each task takes its own time for a step: t0 none, t3 the longest."""

    blocking = True

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        time.sleep(0.01 * int(self.task.task_id[1:]) ** 2)
        return super().step(action)


def data_of(folder: Path, server: FakeVLLM | None, steps: int, **blocks: Any) -> dict[str, Any]:
    rollout = {"async_steps": steps, **blocks.pop("rollout", {})}
    data = settings(folder, server, rollout=rollout, algorithm=TIS, **blocks)
    data["env"] = blocks.get("env", {"id": "tests.harness.served.test_in_flight:Uneven", "kwargs": {"length": 4}})
    return data


def run(data: dict[str, Any], iterations: int, watch: Any = None) -> tuple[list[Outcome], Parts]:
    parts = build(parse_config({**data, "iterations": iterations}))
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    try:
        outcomes = []
        for step in range(iterations):
            if watch is not None:
                watch(parts)
            outcomes.append(iteration.run(step))
    finally:
        iteration.close()
        parts.sampler.close()
    return outcomes, parts


def played(outcomes: list[Outcome]) -> list[Any]:
    """What each iteration trained on, without versions."""
    return [
        [
            (t.key, t.episode_return, [(x.action.token_ids, x.action.logps, x.next_observation) for x in t.turns])
            for t in outcome.trajectories
        ]
        for outcome in outcomes
    ]


def test_weights_that_change_nothing_give_the_same_run_whatever_is_in_flight(folder: Path, server: FakeVLLM) -> None:
    expected: list[Any] = []
    for steps in (0, 1, 2, 4):
        outcomes, parts = run(data_of(folder, server, steps, learner=STILL, sampler={"interrupt": False}), 6)
        ages = [o.metrics["staleness"]["max"] for o in outcomes]
        assert max(ages) == min(steps, max(ages)), "the bound holds"
        assert (steps == 0) == (max(ages) == 0)
        weights = torch.cat([p.detach().flatten() for p in parts.policy.model.parameters()])
        numbers = [{k: o.metrics[k] for k in ("loss", "grad_norm", "updates", "tokens", "nll")} for o in outcomes]
        found = [played(outcomes), numbers, weights.tolist()]
        assert [n["updates"] for n in numbers] == [1] * 6
        assert all(n["grad_norm"] > 0 for n in numbers)
        expected = expected or found
        assert found == expected, f"async_steps {steps}"


@pytest.mark.parametrize("backend, dispatch", [("vllm", "all"), ("hf", "eager"), ("hf", "all")])
def test_every_turn_has_the_weights_of_its_version(folder: Path, server: FakeVLLM, backend: str, dispatch: str) -> None:
    """Episodes that straddle a change of weights go on with the new ones: the log-probs say so, token by token."""
    weights, current, keep = weights_by_version()
    data = data_of(folder, server if backend == "vllm" else None, 2, learner={"lr": 3e-3})
    data["sampler"] = {**data.get("sampler", {}), "dispatch": dispatch, "logprob_gap_stop": 9.0}
    outcomes, parts = run(data, 8, keep)
    straddling = ages = 0
    for step, outcome in enumerate(outcomes):
        for trajectory in outcome.trajectories:
            versions = [version for turn in trajectory.turns for version, _ in version_spans(turn.action)]
            assert versions == sorted(versions)
            assert versions[0] >= current[max(0, step - 2)], "no token is more than two iterations old"
            straddling += len(set(versions)) > 1
            ages += versions[0] < current[step]
            for turn in trajectory.turns:
                assert turn.action.logps == pytest.approx(logps(parts, weights, turn.action), abs=1e-4)
    assert straddling > 0
    assert ages > 0
    assert sum(o.metrics["in_flight"]["straddling"] * o.metrics["episodes"] for o in outcomes) == straddling
    assert [o.metrics["in_flight"]["iterations"] for o in outcomes] == [2] * 6 + [1, 0]
    assert outcomes[-1].metrics["in_flight"]["episodes"] == 0
    assert all(o.metrics["wasted_tokens"] == 0 for o in outcomes), "nothing is dropped or played twice"
    assert all(0 < o.metrics["tis"]["mean"] <= 2 for o in outcomes)


@pytest.mark.parametrize("level", ["token", "turn", "trajectory"])
def test_responses_that_new_weights_interrupt_are_trained_on(folder: Path, server: FakeVLLM, level: str) -> None:
    """They keep what they have, and each token is weighed by the probability it was drawn with."""
    weights, _, keep = weights_by_version()
    server.wrong.token_delay_s = 0.01
    slots = {"max_concurrent": 2}  # so that episodes are under way at every update
    data = data_of(folder, server, 2, learner={"lr": 3e-3}, sampler={"logprob_gap_stop": 9.0}, rollout=slots)
    data["algorithm"] = {"name": "grpo", "loss": {"tis_cap": 2.0, "tis_level": level}}
    outcomes, parts = run(data, 6, keep)
    assert server.interrupted > 0
    continued = 0
    for outcome in outcomes:
        actions = [turn.action for t in outcome.trajectories for turn in t.turns]
        for trajectory in outcome.trajectories:
            back = Trajectory.from_json(json.loads(json.dumps(trajectory.to_json())))
            assert [x.action.versions for x in back.turns] == [x.action.versions for x in trajectory.turns]
        for action in actions:
            assert sum(count for _, count in version_spans(action)) == len(action.token_ids)
            assert action.policy_version == min(version for version, _ in version_spans(action))
            assert action.logps == pytest.approx(logps(parts, weights, action), abs=1e-4)
        several = [action for action in actions if action.versions]
        later = sum(count for action in several for _, count in action.versions[1:])
        in_flight = outcome.metrics["in_flight"]
        assert in_flight["continued_actions"] == pytest.approx(len(several) / len(actions))
        assert in_flight["continued_tokens"] == pytest.approx(later / outcome.metrics["tokens"])
        assert outcome.metrics["staleness"]["max"] <= 2
        assert 0 < outcome.metrics["tis"]["mean"] <= 2, "finite"
        assert math.isfinite(outcome.metrics["loss"])
        continued += len(several)
    assert continued > 0
    assert all(o.metrics["wasted_tokens"] == 0 for o in outcomes), "nothing is dropped or sampled twice"


def weights_by_version() -> tuple[dict[int, dict[str, torch.Tensor]], list[int], Callable[[Parts], None]]:
    """The weights of each version, the version before each iteration, and what keeps both when a run calls it."""
    weights: dict[int, dict[str, torch.Tensor]] = {}
    current: list[int] = []

    def keep(parts: Parts) -> None:
        current.append(parts.learner.updates)
        weights[parts.learner.updates] = {k: v.clone() for k, v in parts.policy.model.state_dict().items()}

    return weights, current, keep


@torch.inference_mode()
def logps(parts: Parts, weights: dict[int, dict[str, torch.Tensor]], action: Action) -> list[float]:
    """What the weights of each token's version give it."""
    assert action.prompt is not None
    ids = torch.tensor([[*action.prompt.ids, *action.token_ids]])
    found: list[float] = []
    for version, count in version_spans(action):
        parts.policy.model.load_state_dict(weights[version])
        logp = torch.log_softmax(parts.policy.model.eval()(input_ids=ids).logits[0, :-1].float(), -1)
        whole = logp.gather(-1, ids[0, 1:, None]).squeeze(-1)[-len(action.token_ids) :].tolist()
        found += whole[len(found) : len(found) + count]
    return found


def test_the_bound_is_checked(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.async_steps.*8"):
        parse_config(data_of(folder, None, 9))
    with pytest.raises(ConfigError, match="older weights than are trained"):
        parse_config({**data_of(folder, None, 4), "algorithm": "rlsd"})


def test_extra_tasks_and_a_budget_of_episodes(folder: Path, server: FakeVLLM) -> None:
    """Extra tasks go before the iterations in flight; none begins that the budget does not cover."""
    data = data_of(
        folder,
        server,
        3,
        env={"id": "tests.support.plain_worlds:Coin", "kwargs": {"tasks": 12}},
        rollout={"refill": "mixed", "group_size": 3, "tasks_per_iteration": 2},
        max_episodes=30,
    )
    outcomes, parts = run(data, 2)
    assert all(o.metrics["extra_episodes"] > 0 for o in outcomes)
    assert all(o.metrics["staleness"]["max"] <= 3 for o in outcomes)
    assert all(o.metrics["decoded_tokens"] == o.metrics["tokens"] + o.metrics["dropped_tokens"] for o in outcomes)
    assert parts.played == sum(6 + o.metrics["extra_episodes"] for o in outcomes) <= 30


def test_a_curriculum_of_depth_holds_for_each_iteration_in_flight(folder: Path, server: FakeVLLM) -> None:
    data = data_of(folder, server, 2)
    data["algorithm"] = {**TIS, "depth": {"start": 1, "every": 1}}
    outcomes, _ = run(data, 4)
    assert [{len(t.turns) for t in o.trajectories} for o in outcomes] == [{1}, {2}, {3}, {4}]


def test_a_server_that_is_gone_ends_the_run_with_its_reason(folder: Path, server: FakeVLLM) -> None:
    data = data_of(folder, server, 2)
    data["sampler"] |= {"reconnect_s": 0.2, "retries": 1}

    def stop(parts: Parts) -> None:
        if parts.learner.updates == 2:
            server.stop()

    with pytest.raises(SamplerError, match="Restart the server"):
        run(data, 6, stop)


def trajectories_of(run: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for path in sorted((run / "rollouts").glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as file:
            found[path.name] = [(r["key"], [t["token_ids"] for t in r["turns"]]) for r in map(json.loads, file)]
    return found


def test_what_is_in_flight_at_a_kill_is_played_again(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """From the checkpoint's weights: with updates that change nothing it is the run that nobody killed."""
    data = data_of(
        folder, server, 2, learner=STILL, sampler={"interrupt": False}, checkpoint_every=1, save_rollouts_every=1
    )
    data |= {"iterations": 5, "reward": "tests.support.plain_worlds:odd_tokens"}
    train(parse_config(data), tmp_path / "whole")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
    words = [sys.executable, "-m", "rlsd", "train", str(tmp_path / "run.yaml"), "--quiet", "--run"]
    killed = subprocess.run(
        [*words, str(tmp_path / "run")], env={**os.environ, "RLSD_KILL_AT": "after-checkpoint:2"}, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [r["step"] for r in records(tmp_path / "run")] == [0, 1]
    train(parse_config(data), tmp_path / "run")
    assert trajectories_of(tmp_path / "run") == trajectories_of(tmp_path / "whole")
    ages = [r["staleness"]["max"] for r in records(tmp_path / "run")]
    assert len(ages) == 5
    assert ages[2] <= 1, "iteration 2 begins again with the checkpoint's weights"
    assert max(ages) <= 2
