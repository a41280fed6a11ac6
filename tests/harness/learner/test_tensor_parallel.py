"""Layers split over processes: the same updates, scores, checkpoints and runs as in one process, or one line that says
why not, before a model loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Phi3Config, Qwen3Config

from rlsd.agents.hf.models import load_policy
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.learner.tensor_parallel import check_split
from rlsd.harness.plan.shapes import check_layers
from rlsd.harness.runs import checkpoint
from rlsd.harness.train import train
from tests.harness.learner.test_two_processes import CONFIG, changed
from tests.support.split_layers import CASES, SIZES
from tests.support.teachers import opd, saved
from tests.support.two_processes import (
    alone,
    assert_same_run,
    assert_same_updates,
    assert_same_weights,
    started,
    together,
)

SPLIT: dict[str, Any] = {"processes": 2, "parallel": "fsdp2", "tensor_parallel": 2}


def found_by(folder: Path, cases: list[str], *, processes: int) -> list[dict[str, dict[str, Any]]]:
    """What each process found."""
    done = started("tests.support.split_layers", str(folder), "2", *cases, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def assert_as_one(found: dict[str, Any], *, processes: int) -> None:
    for name, most in (("loss", 1e-5), ("norm", 1e-5), ("gradients", 1e-6), ("moments", 1e-6), ("logp", 1e-5)):
        assert found[name] < most, name
    for name in ("weights", "teacher"):
        assert found[name] < 1e-4, name
    for name in ("clipped", "published", "stored", "restored", "trained", "sharded"):
        assert found[name], name
    assert found["share"] == pytest.approx(1 / processes, abs=0.035)  # norms between blocks are not split


def test_two_processes_that_share_layers_are_one(tmp_path: Path) -> None:
    """Gradients, clipping by all of them, moments, a moving average, hindsight, checkpoints and published weights."""
    for rank in found_by(tmp_path, ["llama", "qwen2"], processes=2):
        for found in rank.values():
            assert_as_one(found, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_every_kind_of_layer_and_adapter(tmp_path: Path, processes: int) -> None:
    """With four processes the parts are sharded over the other two."""
    for rank in found_by(tmp_path, list(CASES), processes=processes):
        assert set(rank) == set(CASES)
        low = rank.pop("low")
        assert 1e-6 < low["loss"] < 3e-3
        assert low["norm"] < 3e-3
        assert low["stored"]
        assert low["restored"]
        for found in rank.values():
            assert_as_one(found, processes=processes)


@pytest.mark.slow
def test_a_run_begun_by_one_process_is_ended_by_two_and_exported(tmp_path: Path) -> None:
    one = alone(tmp_path / "one", CONFIG)
    begun = tmp_path / "two" / "run"
    alone(begun, {**CONFIG, "iterations": 1})
    done = together(tmp_path / "two", changed(**SPLIT))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(begun, one, steps=3)
    assert_same_weights(begun, one, 3)
    stored, _ = checkpoint.load(begun / "checkpoints" / "step-000003")
    export_run(begun, tmp_path / "last", last=True)
    for name, weight in load_policy(tmp_path / "last").model.named_parameters():
        assert torch.equal(weight, stored["model"][name]), name


@pytest.mark.slow
def test_a_lost_process_loses_nothing(tmp_path: Path) -> None:
    done = together(tmp_path / "two", changed(**SPLIT, gradient_checkpointing=True), kill_at="mid-update:5@1")
    assert done.returncode != 0
    assert "RanksError: another process of this run is gone" in done.stderr, done.stderr[-3000:]
    run, one = tmp_path / "two" / "run", alone(tmp_path / "one", CONFIG)
    assert_same_run(run, one, steps=2)
    alone(run, CONFIG)
    assert_same_run(run, one, steps=3)
    assert_same_weights(run, one, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "blocks",
    [
        {"algorithm": {"name": "rlsd", "teacher": {"weights": "ema", "tau": 0.3}, "loss": {"kl_coef": 0.1}}},
        {"algorithm": {"name": "opsd", "contexts": ["plan"]}},
        {"algorithm": {"name": "ppo", "advantage": {"critic": {"width": 8}}}},
        {"algorithm": "sft", "sft": {"only_success": False}},
        {"model": {**CONFIG["model"], "lora": {"rank": 4, "alpha": 8}}},
    ],
    ids=["ema-kl", "full-vocabulary", "critic", "sft", "lora"],
)
def test_other_methods(tmp_path: Path, blocks: dict[str, Any]) -> None:
    config = {**CONFIG, **blocks}
    if blocks.get("algorithm") == "sft":
        del config["reward"]
        config["learner"] = {k: v for k, v in CONFIG["learner"].items() if k != "minibatches"}
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", {**config, "learner": {**config["learner"], **SPLIT}})
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "two" / "run"
    assert_same_updates(run, one)
    assert_same_weights(run, one, 3)


@pytest.mark.slow
def test_a_larger_teacher_is_split_too(tmp_path: Path) -> None:
    config = {**CONFIG, "iterations": 2, "algorithm": opd(saved(tmp_path / "larger", shift=0.3, layers=2), "dgrpo")}
    one = alone(tmp_path / "one", config)
    done = together(tmp_path / "two", {**config, "learner": {**config["learner"], **SPLIT}})
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path / "two" / "run", one, steps=2)
    assert_same_weights(tmp_path / "two" / "run", one, 2)


@pytest.mark.parametrize(
    ("learner", "told"),
    [
        ({"tensor_parallel": 2}, r"learner\.tensor_parallel needs learner\.parallel: fsdp2, got 'auto'"),
        ({"tensor_parallel": 2, "parallel": "ddp"}, r"needs learner\.parallel: fsdp2, got 'ddp'"),
        ({**SPLIT, "processes": 3}, r"learner\.processes is 3, no multiple of learner\.tensor_parallel, 2"),
        ({**SPLIT, "liger": True, "device": "cuda"}, r"learner\.liger fuses whole layers.*leave one out"),
        ({"context_parallel": 2}, r"no learner\.context_parallel: .*takes no masks.*set learner\.tensor_parallel"),
        ({"pipeline_parallel": 2}, r"no learner\.pipeline_parallel: .*fsdp2 with learner\.tensor_parallel"),
    ],
)
def test_settings_that_cannot_be_had_are_one_line(learner: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        parse_config(changed(**learner))
    assert "\n" not in str(refused.value)


def test_processes_that_are_no_multiple_are_refused_before_a_model_loads() -> None:
    config = parse_config({**changed(**SPLIT), "model": {"path": "nowhere"}})
    with pytest.raises(ConfigError, match=r"tensor_parallel is 2, but 3 processes run: start a multiple of it"):
        check_layers(config, 3)


def test_a_run_of_one_process_is_refused_before_its_model_is_looked_for(tmp_path: Path) -> None:
    learner = {k: v for k, v in SPLIT.items() if k != "processes"}
    config = parse_config({**changed(**learner), "model": {"path": "nowhere"}})
    with pytest.raises(ConfigError, match=r"tensor_parallel is 2, but 1 processes run"):
        train(config, tmp_path / "run")


def test_four_bits_are_refused() -> None:
    model = {"path": "somewhere", "lora": {"rank": 4, "quantize": "nf4"}}
    with pytest.raises(ConfigError, match=r"fsdp2 cannot shard: take ddp"):
        parse_config({**changed(**SPLIT), "model": model})


def test_heads_that_do_not_divide_are_refused_before_a_model_loads(tmp_path: Path) -> None:
    """Nothing but the folder's config.json is there to read."""
    LlamaConfig(**SIZES, num_key_value_heads=1, vocab_size=400).save_pretrained(tmp_path)
    config = parse_config({**changed(**SPLIT), "model": {"path": str(tmp_path)}})
    with pytest.raises(ConfigError, match=r"tensor_parallel is 2, but LlamaModel has 1 num_key_value_heads"):
        check_layers(config, 2)


def test_a_larger_teacher_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    algorithm = opd(saved(tmp_path / "larger", shift=0.3, layers=2), "dgrpo")
    raw = changed(**{**SPLIT, "tensor_parallel": 4, "processes": 4})
    raw["model"] = {"tiny": {**CONFIG["model"]["tiny"], "heads": 4, "dim": 64}}
    with pytest.raises(ConfigError, match=r"tensor_parallel is 4, but LlamaModel has 2 num_attention_heads"):
        check_layers(parse_config({**raw, "algorithm": algorithm}), 4)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (LlamaConfig(**{**SIZES, "intermediate_size": 49}), r"mlp\.gate_proj of LlamaModel has 49 out_features"),
        (GPT2Config(n_layer=1, n_embd=32, n_head=2), r"GPT2Model has no plan for tensor parallelism.*fsdp2 alone"),
        (Phi3Config(**SIZES, pad_token_id=0), r"Phi3Model splits layers\.0\.\S+ by '\w+', which we do not"),
    ],
)
def test_architectures_that_cannot_be_split_are_refused(config: Any, told: str) -> None:
    config.vocab_size = 64
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    with pytest.raises(ConfigError, match=told):
        check_split(model, 2)


def test_a_plan_that_leaves_weights_of_a_block_out_is_refused() -> None:
    """A norm of single heads would get the gradient of its own process's heads alone."""
    config = Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16, vocab_size=64)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    check_split(model, 2)
    whole: dict[str, str] = model.config.base_model_tp_plan
    model.config.base_model_tp_plan = {name: kind for name, kind in whole.items() if "q_norm" not in name}
    with pytest.raises(ConfigError, match=r"the plan of Qwen3Model leaves layers\.0\.self_attn\.q_norm\.weight out"):
        check_split(model, 2)
