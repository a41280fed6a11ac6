"""Training against sampling servers: versions, log-probs, rollouts one step ahead, and servers that lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rlsd.agents.core import Action, EpisodeKey
from rlsd.agents.models import load_policy, save_policy
from rlsd.agents.vllm_client import ServerUnreachable, StalePolicy
from rlsd.agents.vllm_fake import FakeVLLM
from rlsd.envs.core import Task
from rlsd.harness.ahead import Ahead
from rlsd.harness.cli import main
from rlsd.harness.config import ConfigError, SamplerConfig, parse_config
from rlsd.harness.evaluating import EvalRequest, run_eval
from rlsd.harness.iteration import Iteration
from rlsd.harness.metrics import read_metrics
from rlsd.harness.progress import Progress
from rlsd.harness.sampler_check import Gap, SamplerDrift, Versions
from rlsd.harness.setup import build
from rlsd.harness.train import train
from rlsd.harness.types import StopReason, Trajectory, Turn

BASE: dict[str, Any] = {
    "iterations": 2,
    "algorithm": "rlsd",
    "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny", "max_steps": 3}},
    "model": {"tiny": {"layers": 1, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 4}},
    "agent": {"style": "compact", "memory": "full", "max_new_tokens": 5},
    "rollout": {"tasks": 2, "siblings": 2},
    "hindsight": {"max_tokens": 120},
    "learner": {"lr": 1e-3},
    "eval": {"every": 0, "at_start": False},
    "reward": "tests.plain_worlds:odd_tokens",
    "tensorboard": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_policy(build(parse_config(BASE)).policy, folder)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FakeVLLM]:
    fake = FakeVLLM(folder)
    yield fake
    fake.stop()


def settings(folder: Path, server: FakeVLLM | None = None, **blocks: Any) -> dict[str, Any]:
    data = {**BASE, "model": {"path": str(folder)}}
    if server is not None:
        data["sampler"] = {"kind": "vllm", "urls": [server.url], "patience_s": 5}
    for name, block in blocks.items():
        both = isinstance(block, dict) and isinstance(data.get(name), dict)
        data[name] = {**data[name], **block} if both else block
    return data


def records(run: Path) -> list[dict[str, Any]]:
    return [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"]


@pytest.mark.parametrize("weights, lora", [("auto", None), ("auto", {"rank": 4, "alpha": 8}), ("gloo", None)])
def test_a_run_against_a_server(
    folder: Path, server: FakeVLLM, tmp_path: Path, weights: str, lora: dict[str, int] | None
) -> None:
    """Whole line: weights pushed after each update, log-probs equal to the learner's, evaluation on the server."""
    data = settings(
        folder, server, eval={"every": 1, "episodes": 2}, model={"lora": lora}, sampler={"weights": weights}
    )
    result = train(parse_config(data), tmp_path / "run")
    assert result["episodes"] == 2
    found = records(tmp_path / "run")
    assert [r["updates"] for r in found] == [1, 1]
    for record in found:
        assert record["sampler_gap"] < 1e-4
        assert record["verified_tokens"] > 0
        assert record["wasted_tokens"] == 0
        assert record["decoded_tokens"] == record["tokens"]
        assert record["staleness"] == {"mean": 0.0, "max": 0.0}
        assert record["timing"]["sampler_s"] > 0
        assert 0 <= record["timing"]["sampler_idle_share"] <= 1
    assert server.weight_version == "rlsd-2"
    assert bool(server.adapters) == (lora is not None)
    assert server.receiver.meetings == (weights == "gloo")


def test_a_server_that_keeps_old_weights_stops_the_run_and_nothing_is_lost(
    folder: Path, server: FakeVLLM, tmp_path: Path
) -> None:
    config = parse_config(settings(folder, server, checkpoint_every=1))
    train(config.model_copy(update={"iterations": 1}), tmp_path / "run")
    server.wrong.keep_weights = True
    with pytest.raises(StalePolicy, match="kept its old weights"):
        train(config, tmp_path / "run")
    server.wrong.keep_weights = False
    train(config, tmp_path / "run")
    assert [r["step"] for r in records(tmp_path / "run")] == [0, 1]


def test_command_line_tells_it_in_one_line(
    folder: Path, server: FakeVLLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings(folder, server)))

    def told(*more: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["train", str(path), "--run", str(tmp_path / "run"), "--quiet", *more])
        assert stop.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    server.wrong.lacks = ("/collective_rpc",)
    assert "ServerMismatch" in told()
    server.wrong.lacks = ()
    server.wrong.fail = 10_000
    assert "answered 500" in told("--set", "sampler.retries=1")
    assert "name the servers" in told("--set", "sampler.urls=[]")
    assert "model.lora" in told("--set", "sampler.weights=lora")
    assert "an adapter travels as lora" in told("--set", "sampler.weights=gloo", "--set", "model.lora.rank=4")
    assert "the learner is on cpu" in told("--set", "sampler.weights=nccl")
    assert "sampler_cap" in told("--set", "rollout.ahead=true")
    assert "RLSD_NO_SUCH_KEY" in told("--set", "sampler.api_key_env=RLSD_NO_SUCH_KEY")
    server.stop()
    assert "ServerUnreachable" in told()


# ---------------------------------------------------------------------- one step ahead


def weights_after(data: dict[str, Any], steps: int = 3) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    parts = build(parse_config({**data, "iterations": steps}))
    iteration = Iteration(parts, reward=odd, progress=Progress(quiet=True))
    metrics = [iteration.run(step).metrics for step in range(steps)]
    iteration.close()
    return torch.cat([p.detach().flatten() for p in parts.policy.model.parameters()]), metrics


def odd(trajectory: Trajectory) -> float:
    from tests.plain_worlds import odd_tokens

    return odd_tokens(trajectory)


def test_rollouts_ahead_are_one_step_stale_and_repeat_bit_for_bit(folder: Path) -> None:
    data = settings(folder, rollout={"ahead": True}, algorithm={"name": "rlsd", "loss": {"sampler_cap": 2.0}})
    weights, metrics = weights_after(data)
    assert [m["staleness"]["max"] for m in metrics] == [0.0, 1.0, 1.0]
    assert metrics[0]["sampler_gap"] < 1e-4
    assert metrics[1]["sampler_gap"] > 1e-3, "sampled from the weights before the last update"
    assert torch.equal(weights_after(data)[0], weights)
    plain, _ = weights_after(settings(folder, algorithm=data["algorithm"]))
    assert not torch.equal(plain, weights)


def test_resumed_run_ahead_starts_from_the_checkpoints_weights(folder: Path, tmp_path: Path) -> None:
    data = settings(
        folder, rollout={"ahead": True}, algorithm={"name": "rlsd", "loss": {"sampler_cap": 2.0}}, checkpoint_every=1
    )
    train(parse_config({**data, "iterations": 2}), tmp_path / "run")
    train(parse_config({**data, "iterations": 4}), tmp_path / "run")
    found = records(tmp_path / "run")
    assert [r["staleness"]["max"] for r in found] == [0.0, 1.0, 0.0, 1.0]
    assert found[2]["sampler_gap"] < 1e-4 < found[3]["sampler_gap"]


def test_ahead_against_a_server(folder: Path, server: FakeVLLM) -> None:
    data = settings(folder, server, rollout={"ahead": True}, algorithm={"name": "rlsd", "loss": {"sampler_cap": 2.0}})
    _, metrics = weights_after(data)
    assert [m["staleness"]["max"] for m in metrics] == [0.0, 1.0, 1.0]


def test_ahead_tells_what_went_wrong_where_it_is_taken() -> None:
    def work(step: int) -> int:
        if step == 2:
            raise OSError("no disk")
        return 10 * step

    ahead = Ahead(work)
    assert ahead.take(0) == 0
    ahead.start(1)
    with pytest.raises(RuntimeError, match="step 1 is under way"):
        ahead.start(2)
    assert ahead.take(1) == 10
    ahead.start(2)
    ahead.wait()
    with pytest.raises(OSError, match="no disk"):
        ahead.take(2)
    assert ahead.take(3) == 30


# ---------------------------------------------------------------------- log-probs and versions


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


# ---------------------------------------------------------------------- the hindsight view on the servers


SCORED = {"score_teacher": True, "verify_episodes": 1}
ON_LEARNER = ("student", "prefix", "teacher")


@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"agent": {"memory": "last", "keep": 1}},
        {"algorithm": {"name": "rlsd", "contexts": ["demonstration", "plan"]}},
        {"algorithm": "sdar"},
        {"model": {"lora": {"rank": 4, "alpha": 8}}},
    ],
)
def test_servers_score_the_hindsight_view_as_the_learner_does(
    folder: Path, server: FakeVLLM, blocks: dict[str, Any]
) -> None:
    """The same updates, with a scoring pass of one episode instead of four."""
    plain, before = weights_after(settings(folder, server, **blocks), steps=2)
    assert server.scored_tokens == 0
    blocks = {**blocks, "sampler": SCORED}
    scored, after = weights_after(settings(folder, server, **blocks), steps=2)
    torch.testing.assert_close(scored, plain, atol=1e-4, rtol=0)
    for metrics, usual in zip(after, before, strict=True):
        assert 0 < metrics["verified_teacher_tokens"] < metrics["tokens"]
        assert metrics["teacher_gap"] < 1e-4
        assert 0 < metrics["verified_tokens"] < metrics["tokens"]
        fed, usually = (sum(m["forwarded_tokens"].get(k, 0) for k in ON_LEARNER) for m in (metrics, usual))
        assert 0 < fed < usually
        assert metrics["hints"] == usual["hints"]
    assert sum(m["forwarded_tokens"]["teacher_on_servers"] for m in after) == server.scored_tokens


def test_wrong_scores_of_a_server_are_told_and_stop_the_run(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """A server that is right on the probe and wrong elsewhere."""
    config = parse_config(settings(folder, server, sampler=SCORED, checkpoint_every=1))
    server.wrong.prompt_shift = -0.1
    told: list[str] = []

    class Listening(Progress):
        def warning(self, text: str) -> None:
            told.append(text)

    iteration = Iteration(build(config), reward=odd, progress=Listening(quiet=True))
    metrics = iteration.run(0).metrics
    iteration.close()
    assert metrics["teacher_gap_mean"] == pytest.approx(0.1, abs=1e-3)
    assert metrics["sampler_gap"] < 1e-4
    assert len(told) == 1
    assert "0.1 nats a token on average in the hindsight view" in told[0]
    server.wrong.prompt_shift = -0.3
    with pytest.raises(SamplerDrift, match=r"in the hindsight view.*sampler\.gap_stop is 0\.2"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    "blocks, told",
    [
        ({"sampler": {"kind": "hf", "score_teacher": True}}, "sampler.kind is hf"),
        ({"algorithm": {"name": "rlsd", "teacher": {"weights": "initial"}}}, "weights is initial: only live"),
        ({"algorithm": {"name": "rlsd", "teacher": {"weights": "ema"}}}, "weights is ema: only live"),
        (
            {"rollout": {"ahead": True}, "algorithm": {"name": "rlsd", "loss": {"sampler_cap": 2.0}}},
            "older policy version",
        ),
        ({"sampler": {"temperature": 0.8}}, "sampler.temperature is 0.8"),
        ({"algorithm": {"name": "opsd", "teacher": {"weights": "live"}}}, "whole vocabularies"),
    ],
)
def test_teachers_that_servers_cannot_score_are_refused(blocks: dict[str, Any], told: str) -> None:
    served = {"kind": "vllm", "urls": ["http://127.0.0.1:1"], "score_teacher": True}
    data = {**BASE, **blocks, "sampler": {**served, **blocks.get("sampler", {})}}
    with pytest.raises(ConfigError, match=rf"sampler\.score_teacher .*{told}"):
        parse_config(data)


def test_hindsight_leaves_room_for_the_token_that_a_scored_prompt_costs(folder: Path, server: FakeVLLM) -> None:
    plain, scored = (build(parse_config(settings(folder, server, sampler=s))) for s in ({}, SCORED))
    assert (plain.hinter.context, scored.hinter.context) == (512, 511)


def test_gap_warns_and_stops() -> None:
    nan = float("nan")
    gap = Gap.of(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.1, nan, -3.3]))
    assert (gap.tokens, gap.largest, gap.mean) == (2, pytest.approx(0.3), pytest.approx(0.2))
    assert gap.warning(SamplerConfig(gap_warn=0.5, gap_stop=1.0)) is None
    assert "0.2 nats a token" in (gap.warning(SamplerConfig(gap_warn=0.1, gap_stop=1.0)) or "")
    with pytest.raises(SamplerDrift, match=r"sampler\.gap_stop is 0\.15"):
        gap.warning(SamplerConfig(gap_warn=0.1, gap_stop=0.15))
    with pytest.raises(SamplerDrift):
        Gap.of(torch.tensor([float("inf")]), torch.tensor([-1.0])).warning(SamplerConfig())
    assert Gap.of(torch.tensor([-1.0]), torch.tensor([nan])).tokens == 0


def episode(*versions: int) -> Trajectory:
    turns = tuple(
        Turn(
            observation="o",
            action=Action(text="a", token_ids=(1,), logps=(-1.0,), policy_version=v),
            reward=0.0,
            next_observation="o",
            valid=True,
        )
        for v in versions
    )
    return Trajectory(
        key=EpisodeKey("train", 0, 0, 0),
        task=Task(env_id="e", task_id="t7", split="train", task_type="x"),
        goal="",
        turns=turns,
        stop=StopReason.TERMINATED,
        success=False,
        score=0.0,
        returns=0.0,
    )


def test_staleness_is_counted_in_iterations_and_bounded() -> None:
    versions = Versions(allowed=1)
    for version in (0, 4, 8):  # four optimizer steps an iteration
        versions.give(version)
    assert versions.staleness([episode(4, 4, 8)], 8) == {"mean": pytest.approx(2 / 3), "max": 1.0}
    for old in (0, 3):
        with pytest.raises(SamplerDrift, match=rf"task t7.*version {old}, the learner is at 8"):
            versions.staleness([episode(8, old)], 8)
    strict = Versions(allowed=0)
    strict.give(4)
    with pytest.raises(SamplerDrift):
        strict.staleness([episode(4)], 5)


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_evaluate_what_a_server_serves(folder: Path, server: FakeVLLM, temperature: float | None) -> None:
    """The same outcome as with the folder in this process, when greedy."""

    def outcome(agent: str) -> list[Any]:
        request = EvalRequest(
            env="rlsd/Keys-v0",
            agent=agent,
            episodes=3,
            temperature=temperature,
            env_args=("max_steps=3",),
            overrides=("agent.style=compact", "agent.max_new_tokens=5"),
        )
        result, _ = run_eval(request, quiet=True)
        return [[turn.action.token_ids for turn in t.turns] for t in result.trajectories]

    found = outcome(f"vllm:{server.url}")
    assert all(len(episode) == 3 for episode in found)
    assert server.completions == 9
    if temperature is None:
        assert found == outcome(f"hf:{folder}")


@pytest.mark.parametrize(
    "agent, told", [("openai:http://127.0.0.1:1", "#MODEL"), ("vllm:", "vllm:URL"), ("opnai", "did you mean|Known")]
)
def test_agents_that_cannot_be(agent: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run_eval(EvalRequest(env="rlsd/Keys-v0", agent=agent, episodes=1), quiet=True)


def test_workers_play_the_same_episodes(folder: Path) -> None:
    plain, _ = weights_after(settings(folder), steps=1)
    workers, _ = weights_after(settings(folder, env={"workers": 1}), steps=1)
    assert torch.equal(workers, plain)


def test_the_stand_in_serves_what_was_written(folder: Path, server: FakeVLLM) -> None:
    ids = list(range(5, 30))
    ours = torch.log_softmax(load_policy(folder).model(torch.tensor([ids])).logits[0, :-1], -1)
    assert server.prompt_logps(server.policy.model, ids) == pytest.approx(
        ours.gather(-1, torch.tensor(ids[1:])[:, None]).squeeze(-1).tolist(), abs=1e-5
    )
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


def test_sigterm_closes_what_a_killed_run_would_leave(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """As a batch system stops a run: weights written for servers go, and the exit code says what it was."""
    config = {**settings(folder, server), "iterations": 500}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "temporary").mkdir()
    words = [sys.executable, "-m", "rlsd", "train", str(tmp_path / "run.yaml"), "--quiet"]
    words += ["--run", str(tmp_path / "run")]
    env = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as run:
        while not records(tmp_path / "run"):
            assert run.poll() is None
            time.sleep(0.05)
        assert list((tmp_path / "temporary").glob("rlsd-weights-*"))
        run.terminate()
        _, told = run.communicate(timeout=60)
    assert run.returncode == 143
    assert told == "stopped; the same command goes on from the last checkpoint\n"
    assert not list((tmp_path / "temporary").glob("rlsd-weights-*"))


def test_evaluation_without_its_server_is_told_at_once(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """Not after the patience that a run in progress has with a server."""
    config = settings(folder, server, sampler={"patience_s": 600})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    server.stop()
    with pytest.raises(ServerUnreachable, match="no sampling server answers"):
        run_eval(EvalRequest(config=tmp_path / "run.yaml", split="test", episodes=1), quiet=True)
