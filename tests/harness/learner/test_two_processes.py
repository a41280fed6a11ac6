"""Two processes on CPU, started by torchrun, against one: the same run, and each goes on where the other stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.config import parse_config
from rlsd.harness.train import train
from tests.support.smallest_run import small_run
from tests.support.teachers import opd, saved
from tests.support.two_processes import (
    alone,
    assert_same_run,
    assert_same_updates,
    assert_same_weights,
    started,
    together,
)

CONFIG = small_run(
    iterations=3,
    model={"tiny": {"layers": 2, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 4}},
    rollout={"tasks_per_iteration": 3},
    hindsight={"max_items": 2},
    learner={"micro_batch_tokens": 1024, "minibatches": 2},
    eval={"every": 3, "at_start": True, "episodes": 3, "temperature": 1.0},
    checkpoint_every=1,
    keep_checkpoints=9,
    save_rollouts_every=1,
    threads=1,
)


def changed(**learner: Any) -> dict[str, Any]:
    return {**CONFIG, "learner": {**CONFIG["learner"], **learner}}


def test_two_processes_are_one_run_and_a_lost_one_loses_nothing(tmp_path: Path) -> None:
    """The second process is killed in the third iteration; one process ends the run as if it had played it all."""
    done = together(tmp_path / "two", changed(processes=2), kill_at="mid-update:5@1")
    run = tmp_path / "two" / "run"
    assert done.returncode != 0
    assert "RanksError: another process of this run is gone" in done.stderr, done.stderr[-3000:]
    one = alone(tmp_path / "one", CONFIG)
    assert_same_run(run, one, steps=2)
    names = {p.name for p in (run / "checkpoints" / "step-000002").iterdir()}
    assert {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "state.json"} <= names
    assert not any(p.suffix not in (".safetensors", ".json") for p in (run / "checkpoints" / "step-000002").iterdir())
    assert_same_weights(run, one, 2)
    alone(run, CONFIG)  # goes on with one process
    assert_same_run(run, one, steps=3)
    assert_same_weights(run, one, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "learner",
    [
        {"wrapper": "fsdp2"},
        {"wrapper": "fsdp2", "gradient_checkpointing": True, "micro_batch_tokens": 256},
        {"wrapper": "fsdp2", "cpu_offload": True},
        {"wrapper": "fsdp2", "packing": True, "micro_batch_tokens": 256},
        {"wrapper": "ddp", "gradient_checkpointing": True, "packing": True},
    ],
    ids=["fsdp2", "fsdp2-recompute", "fsdp2-offload", "fsdp2-packed", "ddp-recompute-packed"],
)
def test_every_wrapper_gives_the_same_run(tmp_path: Path, learner: dict[str, Any]) -> None:
    """Begun by one process, ended by two."""
    one = alone(tmp_path / "one", CONFIG)
    begun = tmp_path / "two" / "run"
    alone(begun, {**CONFIG, "iterations": 1})
    kept = {k: v for k, v in learner.items() if k not in ("packing", "micro_batch_tokens")}
    done = together(tmp_path / "two", changed(processes=2, **kept))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(begun, one, steps=3)
    assert_same_weights(begun, one, 3)
    whole = together(tmp_path / "whole", changed(processes=2, **learner))
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert_same_run(tmp_path / "whole" / "run", one, steps=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "rlsd", "teacher": {"weights": "ema", "tau": 0.3}, "loss": {"kl_coef": 0.1}},
        {"name": "opsd", "contexts": ["plan"]},
        {"name": "ppo", "advantage": {"critic": {"width": 8}}},
        "sft",
        {"name": "grpo", "loss": {"policy": "gspo"}},
    ],
    ids=["ema-kl", "full-vocabulary", "critic", "sft", "only-update"],
)
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
def test_other_methods_on_two_processes(tmp_path: Path, algorithm: Any, wrapper: str) -> None:
    config = {**CONFIG, "algorithm": algorithm}
    if algorithm == "sft":
        config = {**{k: v for k, v in config.items() if k != "reward"}, "sft": {"only_success": False}}
    if algorithm == "sft" or algorithm["name"] == "grpo":
        config["learner"] = {k: v for k, v in CONFIG["learner"].items() if k != "minibatches"}
        config["sampler"] = {"verify_episodes": 1}  # one process scores nothing
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", {**config, "learner": {**config["learner"], "processes": 2, "parallel": wrapper}})
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "two" / "run"
    assert_same_updates(run, one)
    assert_same_weights(run, one, 3)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
@pytest.mark.parametrize("name", ["dgrpo", "sod"])
def test_a_larger_teacher_on_two_processes(tmp_path: Path, name: str, wrapper: str) -> None:
    config = {**CONFIG, "iterations": 2, "algorithm": opd(saved(tmp_path / "larger", shift=0.3, layers=2), name)}
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", {**config, "learner": {**config["learner"], "processes": 2, "parallel": wrapper}})
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path / "two" / "run", one, steps=2)
    assert_same_weights(tmp_path / "two" / "run", one, 2)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper, quantize", [("ddp", None), ("fsdp2", None), ("ddp", "nf4")])
def test_adapters_on_two_processes(tmp_path: Path, wrapper: str, quantize: str | None) -> None:
    pytest.importorskip("peft" if quantize is None else "bitsandbytes")
    folder, lora = saved(tmp_path / "model", layers=2, dim=64), {"rank": 4, "alpha": 8, "quantize": quantize}
    config = {**CONFIG, "iterations": 2, "model": {"path": str(folder), "lora": lora}}
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", {**config, "learner": {**config["learner"], "processes": 2, "parallel": wrapper}})
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path / "two" / "run", one, steps=2)
    assert_same_weights(tmp_path / "two" / "run", one, 2)


@pytest.mark.slow
def test_sharded_scoring_shares_what_unsharded_scoring_does() -> None:
    """Also where one process has branches and common beginnings and the other a bare row, or none."""
    done = started("tests.support.sharded_scoring")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert [[case["passes"] for case in rank] for rank in found] == [[5, 1, 5, 0], [1, 5, 5, 0]]
    assert [[case["beginnings"] for case in rank] for rank in found] == [[2, 0, 2, 0], [0, 2, 2, 0]]
    for case in (case for rank in found for case in rank):
        assert case["apart"] < 1e-5
        assert case["as_many_tokens"]


def test_one_process_where_two_were_expected_is_refused(tmp_path: Path) -> None:
    """What `accelerate launch --cpu --num_processes 2` comes to."""
    from rlsd.harness.distributed import RanksError

    with pytest.raises(RanksError, match=r"learner\.processes is 2, but 1 run together.*torchrun"):
        train(parse_config(changed(processes=2)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
