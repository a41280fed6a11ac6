"""`rlsd plan`: its numbers are those of real passes, and each setting moves them by what it should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from typer.testing import CliRunner

from rlsd.agents.hf.generator import CachedEpisode, Generator
from rlsd.agents.hf.models import ModelError
from rlsd.agents.hf.policy import Policy
from rlsd.agents.types import EpisodeKey, SampleRequest
from rlsd.harness.cli.app import app
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.learner.learner import Learner
from rlsd.harness.plan.allocated import Allocated, tensor_bytes
from rlsd.harness.plan.by_length import row_costs
from rlsd.harness.plan.episodes import longest
from rlsd.harness.plan.gpus import GPUS, find_gpu
from rlsd.harness.plan.passes import Passes
from rlsd.harness.plan.planned import plan, planned_masks
from rlsd.harness.plan.shapes import model_config, shaped, without_values

ROOT = Path(__file__).parents[3]


def config(**changes: Any) -> RunConfig:
    """A tiny run with rows of 256 tokens; a key as `learner__packing` changes one setting."""
    data: dict[str, Any] = {
        "model": {"tiny": {"layers": 2, "dim": 64, "heads": 4, "vocab": 512, "context": 256}},
        "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny"}},
        "agent": {"memory": "full", "max_new_tokens": 8},
        "rollout": {"tasks_per_iteration": 2, "group_size": 4, "max_turns": 6, "max_concurrent": 8},
        "learner": {"micro_batch_tokens": 1024},
        "hindsight": {"max_tokens": 16},
    }
    for name, value in changes.items():
        block, _, key = name.partition("__")
        if key:
            data[block] = {**data.get(block, {}), key: value}
        else:
            data[block] = value
    return RunConfig.model_validate(data)


def test_alive_tensors_count_once_and_until_they_are_dropped() -> None:
    old = torch.zeros(10)
    with Allocated() as count:
        count.ignore([old])
        one = torch.zeros(1000) + 1  # one 4,000-byte tensor lives, two lived
        view = one[:10].view(2, 5)
        old.add_(1)
        assert (count.now, count.peak) == (4000, 8000)
        del one
        assert count.now == 4000  # the view keeps it
        del view
        assert count.now == 0
    assert count.peak == 8000


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_planned_update_is_the_real_one_to_the_byte(recomputed: bool) -> None:
    c = config(learner__gradient_checkpointing=recomputed)
    episode = longest(c, context=256)

    def update(model: Any) -> int:
        return Passes(model, c.learner, episode, temperature=1.0, masks=True).update().peak

    mode = FakeTensorMode()
    model = without_values(c, mode)
    with mode:
        planned = update(model)
    assert planned == update(shaped(c))


def test_the_planned_update_is_that_of_the_learner_with_gradients_of_earlier_micro_batches() -> None:
    c = config(learner__micro_batch_tokens=512)
    made = plan(c)
    model = shaped(c)
    policy = Policy(model=model, tokenizer=None, eos_ids=frozenset(), context=256)
    learner = Learner(policy, c.learner, temperature=1.0, ranks=Ranks(device=torch.device("cpu")))
    rows = [made.episode.student()] * made.update.rows
    learner.update(rows, lambda part: part.logp.sum())  # makes the moments
    learner.optimizer.zero_grad(set_to_none=True)
    with Allocated() as count:
        count.ignore([*model.parameters(), *model.buffers(), *learner.optimizer_state()[0].values()])
        learner.update([*rows, *rows], lambda part: part.logp.sum())
    assert made.update.peak == pytest.approx(count.peak, rel=0.01)
    assert made.sizes.trained > 0.03 * count.peak  # gradients are no rounding error here


@pytest.mark.parametrize("hindsight", [False, True])
def test_the_planned_scoring_is_the_real_one_to_the_byte(hindsight: bool) -> None:
    c = config()
    episode = longest(c, context=256)

    def scoring(model: Any) -> int:
        return Passes(model, c.learner, episode, temperature=1.0, masks=True).scoring(hindsight=hindsight).peak

    mode = FakeTensorMode()
    model = without_values(c, mode)
    with mode:
        planned = scoring(model)
    assert planned == scoring(shaped(c))


@pytest.mark.parametrize(
    ("attention", "masks"),
    [("sdpa", True), ("eager", True), ("flash_attention_2", False), ("flash_attention_3", False)],
)
def test_flash_attention_is_planned_without_masks(attention: str, masks: bool) -> None:
    c = config(sampler={"backend": "vllm", "urls": ["http://127.0.0.1:1"]})
    c = c.model_copy(update={"model": c.model.model_copy(update={"attention": attention})})  # a tiny one has sdpa alone
    assert planned_masks(shaped(c), c) is masks


def test_the_planned_cache_is_that_of_the_generator() -> None:
    c = config()
    made = plan(c)
    generator = Generator(shaped(c), eos_ids=frozenset(), temperature=1.0, seed=0)
    episodes = [CachedEpisode(slot=b) for b in range(8)]
    requests = [
        SampleRequest(key=EpisodeKey("t", 0, 0, b), turn=0, prompt_ids=(0,) * 248, max_new_tokens=8) for b in range(8)
    ]
    with Allocated() as count:
        generator.generate(list(zip(requests, episodes)), slots=8, version=0)
        kept = count.now
    # keys and values of 256 columns: 2 layers × 64 numbers of 4 bytes, twice
    assert made.memory.lasting["sampler's keys and values"] == 8 * 256 * 2 * 64 * 4 * 2
    assert kept == pytest.approx(made.memory.lasting["sampler's keys and values"], rel=0.01)
    assert made.sampling.cache_a_token == 2 * 64 * 4 * 2


def test_operations_are_two_a_weight_and_token_forward_and_six_with_the_backward_pass() -> None:
    c = config(algorithm="grpo")
    made = plan(c)
    matrices = made.sizes.parameters - 5 * 64 - 512 * 64  # norms multiply nothing, the embedding is looked up
    attention = 2 * 2 * 2 * 256 * 64  # layers × products × multiply and add
    scored = made.episode.turns_in_row * made.episode.response * 512 * 64 * 2 / 256  # the head, for responses alone
    assert made.scoring.flops / made.scoring.columns == 2 * matrices + attention + scored
    # the first layer's input needs no gradient; the head's chunks are computed twice
    assert made.update.flops / made.scoring.flops == pytest.approx(3.3, abs=0.3)


@pytest.mark.parametrize(
    "name, weights",
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-3B", 3_085_938_688),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-1.7B", 1_720_574_976),
        ("Qwen/Qwen3-4B", 4_022_468_096),
        ("Qwen/Qwen3-8B", 8_190_735_360),
    ],
)
def test_known_shapes_have_the_published_number_of_weights(name: str, weights: int) -> None:
    model = without_values(config(model={"path": name, "dtype": "bfloat16"}), FakeTensorMode())
    assert sum(p.numel() for p in model.parameters()) == weights
    assert tensor_bytes(model.parameters()) == 2 * weights


def test_settings_move_what_they_should_and_nothing_else() -> None:
    base = plan(config())
    size = base.sizes.weights
    assert base.memory.lasting["weights"] == size
    assert base.memory.lasting["moments"] == 2 * base.sizes.trained
    assert base.memory.peak == sum(base.memory.lasting.values()) + max(base.memory.stages.values())
    frozen = plan(config(algorithm={"name": "rlsd", "teacher": {"weights": "initial"}}))
    assert frozen.memory.lasting == {**base.memory.lasting, "teacher": size}
    anchored = plan(config(algorithm={"name": "rlsd", "loss": {"kl_coef": 0.1}}))
    assert anchored.memory.lasting == {**base.memory.lasting, "reference": size}
    low = plan(config(sampler__dtype="bfloat16"))
    assert low.memory.lasting["sampler's copy"] == 2 * base.sizes.parameters
    served = plan(config(sampler={"backend": "vllm", "urls": ["http://127.0.0.1:1"]}))
    assert "sampler's keys and values" not in served.memory.lasting
    assert served.server == size + base.memory.lasting["sampler's keys and values"]
    sharded = plan(config(learner__parallel="fsdp2", learner__processes=4))
    assert sharded.memory.lasting["moments"] == 2 * base.sizes.trained // 4
    assert sharded.memory.lasting["plain copy for the sampler"] == size
    recomputed = plan(config(learner__gradient_checkpointing=True))
    assert recomputed.memory.stages["update"] < 0.85 * base.memory.stages["update"]
    halved = plan(config(learner__micro_batch_tokens=512))
    assert halved.update.rows * 2 == base.update.rows == 4
    assert halved.memory.stages["update"] < 0.65 * base.memory.stages["update"]


def test_layers_shared_by_two_processes_halve_what_they_compute_and_not_the_head() -> None:
    whole = plan(config(algorithm="grpo", learner__parallel="fsdp2", learner__processes=4))
    shared = plan(
        config(
            algorithm="grpo",
            learner={"micro_batch_tokens": 1024, "parallel": "fsdp2", "processes": 4, "tensor_parallel": 2},
        )
    )
    head = 2 * 512 * 64 * whole.episode.turns_in_row * whole.episode.response * whole.scoring.rows
    assert shared.scoring.flops - head == (whole.scoring.flops - head) / 2
    assert shared.memory.lasting == whole.memory.lasting
    assert shared.memory.stages["rollout"] == whole.memory.stages["rollout"]
    assert shared.memory.stages["update"] < 0.8 * whole.memory.stages["update"]
    served = {"sampler": {"backend": "vllm", "urls": ["http://127.0.0.1:1"]}}
    refused = {"micro_batch_tokens": 1024, "parallel": "fsdp2", "processes": 3, "tensor_parallel": 3}
    with pytest.raises(ConfigError, match="tensor_parallel is 3, but LlamaModel has 4 num_attention_heads"):
        plan(config(learner=refused, **served))


def test_an_adapter_has_few_moments() -> None:
    pytest.importorskip("peft")
    made = plan(config(model={**config().model.model_dump(exclude={"lora"}), "lora": {"rank": 4}}))
    assert made.sizes.trained < 0.15 * made.sizes.weights
    assert made.memory.lasting["moments"] == 2 * made.sizes.trained


def test_rows_hold_as_many_turns_as_fit() -> None:
    merged = longest(config(), context=256)
    assert (merged.row, merged.turns_in_row, merged.rows, merged.first_prompt) == (256, 6, 1, 203)
    assert [p.column for p in merged.student().places] == [203, 212, 221, 230, 239, 248]
    assert len(merged.both().ids) == 256 + 6 * (16 + 8)
    apart = longest(config(agent__memory="last"), context=256)
    assert (apart.turns_in_row, apart.rows, apart.first_prompt) == (1, 6, 248)
    blind = longest(config(algorithm="grpo"), context=256)
    assert blind.hindsight == 0
    assert blind.both() == blind.student()
    assert longest(config(), context=256, row=100, turns=50).turns_in_row == 11


def test_least_times_follow_the_roofline() -> None:
    c = config(algorithm="grpo", learner__epochs=2)
    made, gpu = plan(c), GPUS["H100"]
    rates = made.rates(c, gpu)
    batches = 2 * 8 / made.update.rows
    assert rates["update"].seconds == pytest.approx(batches * made.update.flops / 67e12)
    read = (made.sizes.weights + made.sampling.cache) / 3.35e12
    prompts = 8 / made.sampling.prefill.rows * made.sampling.prefill.flops / 67e12
    assert rates["rollout"].bound == "bandwidth"
    assert rates["rollout"].seconds == pytest.approx(prompts + 6 * 8 * read, rel=1e-3)
    assert rates["rollout"].tokens_a_second == pytest.approx(8 * 6 * 8 / rates["rollout"].seconds)


def test_a_row_costs_in_proportion_to_its_length() -> None:
    c = config(agent__max_new_tokens=64, hindsight__max_tokens=64)
    short, long = row_costs(c, (2**13, 2**16))
    assert (short.tokens, short.keys_and_values) == (2**13, 2**13 * 2 * 64 * 4 * 2)
    assert long.whole_mask == (2**16 + 6 * 128) ** 2 * 4, "six turns of hindsight and response"
    assert 6 < long.scoring / short.scoring < 9
    assert 7.5 < long.update / short.update < 8.5
    assert 20 < long.flops / short.flops < 64, "attention counts every pair"


def test_the_command_prints_every_stage_and_one_object() -> None:
    file = str(ROOT / "configs" / "quickstart.yaml")
    command = ["plan", file, "--row", "512", "--set", "learner.micro_batch_tokens=1024"]
    shown = CliRunner().invoke(app, [*command, "--gpu", "L4"])
    assert shown.exit_code == 0
    for word in ("weights", "moments", "update, at its peak", "in all, at the peak", "seconds an iteration", "L4: "):
        assert word in shown.output
    assert "one row, beside" in shown.output
    told = CliRunner().invoke(app, [*command, "--json"])
    found = json.loads(told.output.splitlines()[-1])
    assert found["weights"] == 711_040
    assert found["bytes"]["peak"] > found["bytes"]["update"] > 0
    assert [row["tokens"] for row in found["rows"]] == [512]
    with pytest.raises(ConfigError, match="a row of 1 tokens has no room"):
        row_costs(config(), [1])


def test_what_cannot_be_planned_says_why() -> None:
    with pytest.raises(ConfigError, match=r"no data of a GPU called 'H20'\. Did you mean 'H200'"):
        find_gpu("H20")
    with pytest.raises(ModelError, match=r"cannot read the config of 'Qwen/Qwen2\.5-1B'.*Did you mean"):
        model_config(config(model={"path": "Qwen/Qwen2.5-1B"}).model)
    with pytest.raises(ConfigError, match="a row of 1 tokens has no room"):
        plan(config(), row=1)
