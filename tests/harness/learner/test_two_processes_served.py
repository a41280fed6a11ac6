"""Two learner processes that sample from a server: the same run as one process with the same server."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rlsd.agents.hf.models import load_policy, save_policy
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs import checkpoint
from tests.support.smallest_run import small_run
from tests.support.two_processes import alone, assert_same_run, assert_same_weights, records, started, together

CONFIG = {
    **small_run(
        sampler={"backend": "vllm", "reconnect_s": 60, "verify_episodes": 2},
        rollout={"tasks_per_iteration": 3},
        hindsight={"max_items": 2},
        learner={"minibatches": 2},
        eval={"every": 2, "at_start": True, "episodes": 3},
        checkpoint_every=1,
        save_rollouts_every=1,
        threads=1,
    )
}
del CONFIG["model"]  # named by each test
TINY = {"layers": 1, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 4}
SCORED = {"score_teacher": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_policy(build(parse_config({**CONFIG, "sampler": {}, "model": {"tiny": TINY}})).policy, folder)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FakeVLLM]:
    fake = FakeVLLM(folder)
    yield fake
    fake.stop()


def config_of(folder: Path, *servers: FakeVLLM, **blocks: Any) -> dict[str, Any]:
    """CONFIG with the server, and some values of its blocks changed."""
    data = {**CONFIG, "model": {"path": str(folder)}}
    data["sampler"] = {**CONFIG["sampler"], "urls": [server.url for server in servers]}
    for name, block in blocks.items():
        both = isinstance(block, dict) and isinstance(data.get(name), dict)
        data[name] = {**data[name], **block} if both else block
    return data


def two(config: dict[str, Any], wrapper: str = "auto") -> dict[str, Any]:
    return {**config, "learner": {**config["learner"], "processes": 2, "parallel": wrapper}}


def sampled(run: Path) -> list[Any]:
    """Token ids of every response of every training episode."""
    found: list[Any] = []
    for path in sorted((run / "rollouts").glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as file:
            found += [[t["token_ids"] for t in json.loads(line)["turns"]] for line in file]
    return found


def test_sharded_learner_whose_teacher_is_scored_by_the_server(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """The second process keeps no plain weights, so anything that reads them there would end the run."""
    config = config_of(folder, server, sampler=SCORED)
    one = alone(tmp_path / "one", config)
    fed = server.scored_tokens
    done = together(tmp_path / "two", two(config, "fsdp2"))
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "two" / "run"
    assert_same_run(run, one, steps=2)
    assert_same_weights(run, one, 2)
    assert sampled(run) == sampled(one)
    assert server.weight_version == "rlsd-4"
    for mine, theirs in zip(records(run), records(one), strict=True):
        assert mine["sampler_gap"] < 1e-4
        assert mine["teacher_gap"] < 1e-4
        assert mine["verified_teacher_tokens"] == theirs["verified_teacher_tokens"] > 0
        assert mine["forwarded_tokens"]["teacher_on_servers"] == theirs["forwarded_tokens"]["teacher_on_servers"]
    assert server.scored_tokens == 2 * fed


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"sampler": SCORED},
        {"model": {"lora": {"rank": 4, "alpha": 8}}},
        {"model": {"lora": {"rank": 4, "alpha": 8}}, "sampler": SCORED},
        {"algorithm": {"name": "rlsd", "teacher": {"weights": "ema", "tau": 0.3}, "loss": {"kl_coef": 0.1}}},
        {"sampler": {"temperature": 1.3}, "learner": {"gradient_checkpointing": True}},
        {"rollout": {"async_steps": True}, "algorithm": {"name": "rlsd", "loss": {"tis_cap": 2.0}}},
        {  # updates that change nothing: when the weights change depends on the clock
            "rollout": {"async_steps": 2},
            "algorithm": {"name": "rlsd", "loss": {"tis_cap": 2.0}},
            "learner": {"lr": 1e-30},
        },
        {"sampler": {"weights": "gloo"}},
    ],
    ids=["plain", "scored", "lora", "lora-scored", "replicas", "hot", "ahead", "in-flight", "gloo"],
)
def test_two_processes_are_one_run(
    folder: Path, server: FakeVLLM, tmp_path: Path, wrapper: str, blocks: dict[str, Any]
) -> None:
    config = config_of(folder, server, **blocks)
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", two(config, wrapper))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path / "two" / "run", one, steps=2)
    assert_same_weights(tmp_path / "two" / "run", one, 2)
    assert sampled(tmp_path / "two" / "run") == sampled(one)
    if "lora" in config["model"]:
        assert list(server.adapters) == ["rlsd-policy-v4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "blocks",
    [{"sampler": SCORED}, {"model": {"lora": {"rank": 4, "alpha": 8}}}, {"sampler": {"weights": "gloo"}}],
    ids=["scored", "lora", "gloo"],
)
def test_two_processes_that_share_layers_are_one_run(
    folder: Path, server: FakeVLLM, tmp_path: Path, blocks: dict[str, Any]
) -> None:
    """They send whole weights, and ask the server for each view once."""
    config = config_of(folder, server, **blocks)
    one = alone(tmp_path / "one", config)
    fed = server.scored_tokens
    split = two(config, "fsdp2")
    done = together(tmp_path / "two", {**split, "learner": {**split["learner"], "tensor_parallel": 2}})
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "two" / "run"
    assert_same_run(run, one, steps=2)
    assert_same_weights(run, one, 2)
    assert sampled(run) == sampled(one)
    assert server.scored_tokens == 2 * fed
    for mine, theirs in zip(records(run), records(one), strict=True):
        assert mine["sampler_gap"] < 1e-4
        assert mine["forwarded_tokens"] == theirs["forwarded_tokens"]


@pytest.mark.slow
def test_what_each_process_of_a_sharded_learner_holds(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """The main process whole weights that it writes, the other one none; the probe is the same without them."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(two(config_of(folder, server), "fsdp2")))
    done = started("tests.support.sharded_and_served", str(tmp_path / "run.yaml"))
    assert done.returncode == 0, done.stderr[-3000:]
    main, other = json.loads(done.stdout.strip().splitlines()[-1])
    assert (main["plain"], other["plain"]) == (["cpu"], ["meta"])
    assert main["sharded"]
    assert other["sharded"]
    assert main["updates"] == 2
    assert main["probe"] == pytest.approx(main["plain_probe"], abs=1e-5)
    assert other["probe"] == main["probe"]


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
@pytest.mark.parametrize(
    "blocks",
    [{}, {"model": {"lora": {"rank": 4, "alpha": 8}}}, {"sampler": {"weights": "gloo"}}],
    ids=["folder", "lora", "gloo"],
)
def test_a_server_restarted_mid_run_gets_the_weights_from_whoever_sees_it_first(
    folder: Path, tmp_path: Path, wrapper: str, blocks: dict[str, Any]
) -> None:
    """Both processes find it with the weights it starts from; the run is the one nobody disturbed."""
    calm, server = FakeVLLM(folder), FakeVLLM(folder)
    one = alone(tmp_path / "one", config_of(folder, calm, **blocks))
    calm.stop()
    server.wrong.token_delay_s = 0.01
    revived: list[FakeVLLM] = []

    def restart() -> None:
        while server.completions < 3 * 3 + 18 + 5:  # evaluation, the first iteration, a part of the second
            time.sleep(0.005)
        server.stop()
        time.sleep(0.3)
        revived.append(FakeVLLM(folder, port=server.port))

    watching = threading.Thread(target=restart, daemon=True)
    watching.start()
    done = together(tmp_path / "two", two(config_of(folder, server, **blocks), wrapper))
    assert done.returncode == 0, done.stderr[-3000:]
    watching.join()
    revived[0].stop()
    run = tmp_path / "two" / "run"
    assert revived[0].completions > 5
    assert_same_run(run, one, steps=2)
    assert sampled(run) == sampled(one)
    assert [r["failed_episodes"] for r in records(run)] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_in_two_processes_and_ended_by_one_or_two(
    folder: Path, server: FakeVLLM, tmp_path: Path, processes: int
) -> None:
    """What is exported afterwards, by one process, are the weights of the checkpoint and of the best evaluation."""
    config = config_of(folder, server, sampler=SCORED)
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", two(config, "fsdp2"), kill_at="mid-update:3@1")
    assert done.returncode != 0
    run = tmp_path / "two" / "run"
    assert len(records(run)) == 1
    if processes == 1:
        alone(run, config)
    else:
        done = together(tmp_path / "two", two(config, "fsdp2"))
        assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(run, one, steps=2)
    assert_same_weights(run, one, 2)
    assert sampled(run) == sampled(one)
    saved, _ = checkpoint.load(run / "checkpoints" / "step-000002")
    export_run(run, tmp_path / "last", last=True)
    for name, weight in load_policy(tmp_path / "last").model.named_parameters():
        assert torch.equal(weight, saved["model"][name]), name
    for mine, theirs in zip(*(load_policy(r / "best").model.parameters() for r in (run, one)), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_supervised_and_evaluated_on_the_server(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    config = config_of(folder, server, algorithm="sft", sft={"only_success": False})
    del config["reward"]
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", two(config, "fsdp2"))
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "two" / "run"
    for mine, theirs in zip(records(run), records(one), strict=True):
        for name in ("loss", "grad_norm", "tokens"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-4, rel=1e-4), name
    assert [r["success"] for r in records(run, "eval")] == [r["success"] for r in records(one, "eval")]
    assert_same_weights(run, one, 2)


@pytest.mark.slow
def test_shards_in_low_precision_are_no_other_model(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    """The learner's probe is read in bfloat16, the server's in float32: no false alarm."""
    config = two(config_of(folder, server, learner={"precision": "bfloat16"}), "fsdp2")
    done = together(tmp_path / "two", config)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 1e-5 < records(tmp_path / "two" / "run")[1]["sampler_gap_mean"] < 0.05
    assert server.weight_version == "rlsd-4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrapper", "more"),
    [("ddp", {}), ("fsdp2", {}), ("ddp", {"model": {"lora": {"rank": 4, "alpha": 8}}})],
    ids=["ddp", "fsdp2", "lora"],
)
def test_responses_of_two_processes_are_interrupted_on_the_servers_they_share(
    folder: Path, server: FakeVLLM, tmp_path: Path, wrapper: str, more: dict[str, Any]
) -> None:
    """Each process ends the responses of both, before or after the other one waits for new weights: the log-probs of
    every token are those of its version, and both processes train on the same episodes."""
    running = [server, FakeVLLM(folder)]
    for each in running:
        each.wrong.token_delay_s = 0.02
    blocks = {
        "sampler": {"logprob_gap_stop": 9.0},
        "rollout": {"tasks_per_iteration": 4, "group_size": 2, "async_steps": 2, "max_concurrent": 4},
        "agent": {"max_new_tokens": 12},
        "algorithm": {"name": "grpo", "loss": {"tis_cap": 2.0}},
        "env": {"id": "tests.harness.served.test_in_flight:Uneven", "kwargs": {"length": 4}},
        "learner": {"lr": 3e-3, "minibatches": 1},
        "eval": {"every": 0, "at_start": False},
        "iterations": 6,
        **more,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(two(config_of(folder, *running, **blocks), wrapper)))
    done = started("tests.support.two_in_flight", str(tmp_path / "run.yaml"))
    running[1].stop()
    assert done.returncode == 0, done.stderr[-3000:]
    main, other = json.loads(done.stdout.strip().splitlines()[-1])
    for name in ("versions", "digest", "spans", "losses", "staleness", "wasted"):
        assert main[name] == other[name], name
    torch.testing.assert_close(torch.tensor(main["probes"]), torch.tensor(other["probes"]), atol=1e-5, rtol=0)
    updates = len(set(main["versions"]))  # none where all of a group have the same return
    assert len({str(probe) for probe in main["probes"]}) >= updates >= 4, "every update changes the weights"
    assert max(main["staleness"]) <= 2
    assert main["wasted"] == [0] * 6, "no token is sampled twice or dropped"
    assert any(len(spans) > 1 for spans in main["spans"])
    assert all(each.interrupted > 0 for each in running)
    assert main["largest_gap"] < 1e-4
    if wrapper == "ddp":
        assert other["largest_gap"] < 1e-4
