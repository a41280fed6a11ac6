"""A live vLLM server (`make test-vllm`): new weights proven in its own log-probs, adapters, a restart mid-run.

The Python that has vLLM is named by RLSD_VLLM_PYTHON, the model by RLSD_VLLM_MODEL (default models/smollm2).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd.agents.daemon import daemon_future
from rlsd.agents.hf.models import load_policy
from rlsd.agents.types import EpisodeKey, SampleRequest, SampleResult, version_spans
from rlsd.agents.vllm.checks import PROBE, largest
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.agents.vllm.source import PolicyWeights
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import RunConfig, parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.progress import Progress
from rlsd.harness.scoring.tables import token_count
from rlsd.harness.train import Iteration, train
from tests.harness.served.test_in_flight import logps, weights_by_version
from tests.support.live_server import START_S, TRANSFER, Live
from tests.support.plain_worlds import odd_tokens

pytestmark = pytest.mark.vllm
TIS = {"name": "rlsd", "loss": {"tis_cap": 2.0}}
NEW, AWAIT_S = 200, 4.0
"""Tokens of a response that new weights interrupt, and seconds before they do."""


def config_of(folder: Path, live: Live, **blocks: Any) -> RunConfig:
    data: dict[str, Any] = {
        "iterations": 2,
        "algorithm": "rlsd",
        "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny", "max_steps": 2}},
        "model": {"path": str(folder)},
        "agent": {"format": "compact", "memory": "full", "max_new_tokens": 8, "context": 1024},
        "rollout": {"tasks_per_iteration": 2, "group_size": 2},
        "sampler": {
            "backend": "vllm",
            "urls": [live.url],
            "temperature": 1.2,
            "reconnect_s": START_S,
            "timeout_s": 1800,
        },
        "hindsight": {"max_tokens": 64, "max_items": 3},
        "learner": {"lr": 1e-4},
        "eval": {"every": 2, "episodes": 2, "at_start": False},
        "reward": "tests.support.plain_worlds:odd_tokens",
        "tensorboard": False,
    }
    for name, block in blocks.items():
        data[name] = {**data[name], **block} if isinstance(data.get(name), dict) else block
    return parse_config(data)


def served(live: Live) -> str:
    """The name of what answers: the base model, or the adapter that was loaded last."""
    return live.server.models()[-1]["id"]


def base_again(model: Path, live: Live) -> None:
    """Give the server the weights it started from; the test before may have left others."""
    sampler = build(config_of(model, live)).sampler
    sampler.connect()
    sampler.refresh(0)
    for adapter in live.server.models()[1:]:
        live.server.call("POST", "/v1/unload_lora_adapter", {"lora_name": adapter["id"]})
    sampler.close()


@pytest.mark.parametrize("kind", ["folder", "lora", TRANSFER])
def test_training_changes_the_servers_own_log_probs(model: Path, live: Live, tmp_path: Path, kind: str) -> None:
    """The server's log-probs of a text before and after, each beside those of the learner's weights."""
    base_again(model, live)
    policy = load_policy(model)
    ids = policy.tokenizer.encode(PROBE, add_special_tokens=False)
    before, ours_before = live.server.prompt_logps(served(live), ids), PolicyWeights(policy).logps(ids)
    lora = {"rank": 4, "alpha": 8} if kind == "lora" else None
    result = train(config_of(model, live, model={"lora": lora}, sampler={"weights": kind}), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "weights", last=True)
    after = live.server.prompt_logps(served(live), ids)
    ours_after = PolicyWeights(load_policy(tmp_path / "weights")).logps(ids)
    found = {
        "weights": kind,
        "server_moved": largest(before, after),
        "learner_moved": largest(ours_before, ours_after),
        "apart_before": largest(before, ours_before),
        "apart_after": largest(after, ours_after),
    }
    print(found)
    assert found["server_moved"] > 1e-2
    assert found["apart_before"] < 1e-3, "float32 here and there"
    assert found["apart_after"] < 1e-3
    records = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "train"]
    assert [r["updates"] for r in records] == [1, 1]
    for record in records:
        print({k: record[k] for k in ("sampler_gap", "sampler_gap_mean", "wasted_tokens", "tokens", "timing")})
        assert record["sampler_gap_mean"] < 1e-3
        assert record["wasted_tokens"] == 0
    assert result["episodes"] == 2


DYING = """
import os, sys
from rlsd.agents.hf.models import load_policy
from rlsd.agents.vllm.broadcast import Groups
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.source import PolicyWeights

class Dying(PolicyWeights):
    def tensors(self):
        found = super().tensors()
        return {name: Last(t) if "layers.4.self_attn.v_proj" in name else t + 0.05 for name, t in found.items()}

class Last:
    def __init__(self, tensor):
        self.tensor, self.dtype, self.shape = tensor, tensor.dtype, tensor.shape

    def to(self, *where):
        os._exit(9)

Groups(Dying(load_policy(sys.argv[1])), kind="gloo").load(VLLMServer(sys.argv[2]), 0)
"""
"""A learner that dies in the middle of a transfer, and of a layer whose tensors vLLM keeps as one."""


@pytest.mark.skipif(
    TRANSFER != "gloo", reason="with NCCL the server waits for a learner that died and must be restarted"
)
def test_a_learner_that_died_in_the_middle_of_a_transfer_leaves_a_sound_server(model: Path, live: Live) -> None:
    base_again(model, live)
    died = subprocess.run([sys.executable, "-c", DYING, str(model), live.url], check=False)
    assert died.returncode == 9
    policy = load_policy(model)
    parts = build(config_of(model, live, sampler={"weights": "gloo"}))
    parts.sampler.connect()
    parts.sampler.refresh(0)
    ids = policy.tokenizer.encode(PROBE, add_special_tokens=False)
    apart = largest(live.server.prompt_logps(served(live), ids), PolicyWeights(policy).logps(ids))
    print({"apart_after_a_broken_transfer": apart})
    assert apart < 1e-3
    parts.sampler.close()


def test_the_server_scores_the_hindsight_view(model: Path, live: Live) -> None:
    """As the learner does, with weights that are not those it started from."""
    base_again(model, live)
    changed = {"sampler": {"temperature": 1.0, "score_teacher": True}, "agent": {"memory": "last", "history_turns": 1}}
    parts = build(config_of(model, live, **changed))
    parts.sampler.connect()
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    found = [iteration.run(step).metrics for step in range(2)]
    iteration.close()
    for metrics in found:
        shown = ("teacher_gap", "teacher_gap_mean", "verified_teacher_tokens", "sampler_gap_mean", "forwarded_tokens")
        print({k: metrics[k] for k in shown})
        assert metrics["verified_teacher_tokens"] > 0
        assert metrics["teacher_gap_mean"] < 1e-3
        assert metrics["forwarded_tokens"]["teacher_on_servers"] > metrics["tokens"]


def test_responses_in_flight_go_on_under_new_weights(model: Path, live: Live) -> None:
    """New weights end them; each piece has the log-probs of the weights of its version, behind what was kept."""
    base_again(model, live)
    parts = build(config_of(model, live, rollout={"async_steps": 2}, sampler={"temperature": 1.0}, algorithm=TIS))
    policy, sampler = parts.policy, parts.sampler
    assert isinstance(sampler, VLLMSampler)
    prompt, weights = tuple(policy.tokenizer.encode(PROBE)), dict[int, dict[str, torch.Tensor]]()
    sampler.eos_ids = []

    def refresh(version: int) -> float:
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight += 1e-3 * torch.randn_like(weight)
        weights[version] = {k: v.clone() for k, v in policy.model.state_dict().items()}
        started = time.monotonic()
        sampler.refresh(version)
        return time.monotonic() - started

    async def response(sibling: int) -> SampleResult:
        key = EpisodeKey("train", 0, 0, sibling)
        sampler.join(key)
        return await sampler.sample(SampleRequest(key=key, turn=0, prompt_ids=prompt, max_new_tokens=NEW))

    async def responses() -> list[SampleResult]:
        return await asyncio.gather(*(response(i) for i in range(3)))

    sampler.connect()
    torch.manual_seed(0)
    refresh(0)
    playing = daemon_future(lambda: asyncio.run(responses()), "episodes")
    seconds = []
    for version in (1, 2):
        time.sleep(AWAIT_S)
        assert not playing.done(), "responses must be under way: raise NEW"
        seconds.append(refresh(version))
    results = playing.result(1800)
    apart = 0.0
    for result in results:
        ids, found = torch.tensor([[*prompt, *result.token_ids]]), list[float]()
        for version, count in version_spans(result):
            policy.model.load_state_dict(weights[version])
            with torch.inference_mode():
                logp = torch.log_softmax(policy.model.eval()(input_ids=ids).logits[0, :-1].float(), -1)
            whole = logp.gather(-1, ids[0, 1:, None]).squeeze(-1)[-NEW:].tolist()
            found += whole[len(found) : len(found) + count]
        apart = max(apart, largest(found, result.logps))
    sampler.close()
    print({"versions": [version_spans(r) for r in results], "apart": apart, "refresh_s": seconds})
    assert all(len(r.token_ids) == NEW for r in results)
    assert any(len(r.versions) > 1 for r in results)
    assert sampler.repeated == 0
    assert apart < 1e-3


def test_episodes_in_flight_go_on_under_new_weights(model: Path, live: Live) -> None:
    """A whole run: each token's log-prob is that of the weights of its version, in interrupted responses too."""
    base_again(model, live)
    blocks = {
        "iterations": 3,
        "algorithm": TIS,
        "env": {"kwargs": {"games": "gen-tiny", "max_steps": 3}},
        "agent": {"max_new_tokens": 24},
        "rollout": {"async_steps": 2, "max_concurrent": 2},
        "sampler": {"temperature": 1.0, "logprob_gap_stop": 9.0},
        "eval": {"every": 0},
    }
    parts = build(config_of(model, live, **blocks))
    parts.sampler.connect()
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    weights, _, keep = weights_by_version()
    outcomes = []
    for step in range(3):
        keep(parts)
        outcomes.append(iteration.run(step))
    iteration.close()
    parts.sampler.close()
    apart, straddling = 0.0, 0
    for outcome in outcomes:
        print({k: outcome.metrics[k] for k in ("in_flight", "staleness", "tis", "sampler_gap_mean")})
        assert outcome.metrics["staleness"]["max"] <= 2
        assert 0 < outcome.metrics["tis"]["mean"] <= 2
        for trajectory in outcome.trajectories:
            spans = [version for turn in trajectory.turns for version, _ in version_spans(turn.action)]
            straddling += len(set(spans)) > 1
            for turn in trajectory.turns:
                apart = max(apart, largest(logps(parts, weights, turn.action), turn.action.logps))
    print({"straddling": straddling, "apart": apart})
    assert straddling > 0
    assert apart < 1e-3


@pytest.mark.parametrize("kind", ["folder", TRANSFER])
def test_server_killed_and_restarted_mid_rollout(model: Path, live: Live, kind: str) -> None:
    """It comes back with the weights it starts from, is sent the present ones, and every group is whole."""
    base_again(model, live)
    small = {
        "rollout": {"tasks_per_iteration": 3, "group_size": 2, "max_concurrent": 2},
        "env": {"kwargs": {"max_steps": 3}},
    }
    config = config_of(model, live, **small, sampler={"weights": kind})
    parts = build(config)
    with torch.no_grad():
        for weight in parts.policy.model.parameters():
            weight += 1e-3 * torch.randn_like(weight)
    sampler = parts.sampler
    assert isinstance(sampler, VLLMSampler)
    sampler.connect()
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))

    def interrupt() -> None:
        while sampler.decoded_tokens < 20:
            time.sleep(0.05)
        live.kill()
        live.start()

    killer = threading.Thread(target=interrupt)
    killer.start()
    outcome = iteration.run(0)
    killer.join()
    iteration.close()
    shown = ("episodes", "failed_episodes", "wasted_tokens", "sampler_gap", "sampler_gap_mean")
    live.wait()
    print({"weights": kind, "repeated": sampler.repeated, **{k: outcome.metrics[k] for k in shown}})
    assert sampler.repeated > 0, "the rollout was over before the server was killed"
    assert outcome.metrics["episodes"] == 6
    assert outcome.metrics["failed_episodes"] == 0
    assert outcome.metrics["sampler_gap_mean"] < 1e-3, "nothing was sampled from the weights it started with"
    assert token_count(list(outcome.trajectories)) == outcome.metrics["tokens"]
