"""Training and evaluation against sampling servers: weights, versions, servers that lie or are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rlsd.agents.hf.models import load_policy
from rlsd.agents.vllm.errors import ServerUnreachable, StalePolicy
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.harness.cli.app import main
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.train import train
from tests.support.served_runs import records, settings


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
    assert "tis_cap" in told("--set", "rollout.async_steps=true")
    assert "RLSD_NO_SUCH_KEY" in told("--set", "sampler.api_key_env=RLSD_NO_SUCH_KEY")
    server.stop()
    assert "ServerUnreachable" in told()


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_evaluate_what_a_server_serves(folder: Path, server: FakeVLLM, temperature: float | None) -> None:
    """The same outcome as with the folder in this process, when greedy."""

    def outcome(agent: str) -> list[Any]:
        request = EvalRequest(
            env="rlsd/Keys-v0",
            agent=agent,
            episodes=3,
            temperature=temperature,
            env_kwargs={"max_steps": 3},
            overrides=("agent.format=compact", "agent.max_new_tokens=5"),
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


def test_the_stand_in_serves_what_was_written(folder: Path, server: FakeVLLM) -> None:
    ids = list(range(5, 30))
    ours = torch.log_softmax(load_policy(folder).model(torch.tensor([ids])).logits[0, :-1], -1)
    assert server.prompt_logps(server.policy.model, ids) == pytest.approx(
        ours.gather(-1, torch.tensor(ids[1:])[:, None]).squeeze(-1).tolist(), abs=1e-5
    )
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize("background", [False, True])
def test_sigterm_closes_what_a_killed_run_would_leave(
    folder: Path, server: FakeVLLM, tmp_path: Path, background: bool
) -> None:
    """As a batch system stops a run: weights written for servers go, and the exit code says what it was. A shell starts
    its background jobs with SIGINT ignored; SIGTERM ends those too."""
    config = {**settings(folder, server), "iterations": 500}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "temporary").mkdir()
    words = [sys.executable, "-m", "rlsd", "train", str(tmp_path / "run.yaml"), "--quiet"]
    words += ["--run", str(tmp_path / "run")]
    words = ["sh", "-c", f"trap '{'' if background else '-'}' INT; exec \"$@\"", "sh", *words]
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
    config = settings(folder, server, sampler={"reconnect_s": 600})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    server.stop()
    with pytest.raises(ServerUnreachable, match="no sampling server answers"):
        run_eval(EvalRequest(config=tmp_path / "run.yaml", split="test", episodes=1), quiet=True)
