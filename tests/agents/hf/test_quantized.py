"""Weights in 4 bits under an adapter: the run, its export, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd.agents.hf.models import ModelError, load_policy, save_policy, tiny_policy
from rlsd.agents.hf.quantized import BYTES
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.evals.run_weights import parts_of
from rlsd.harness.plan.planned import plan
from rlsd.harness.runs.weights import save_merged
from rlsd.harness.train import train
from tests.support.smallest_run import small_run
from tests.support.tokenizers import FAMILIES

pytest.importorskip("bitsandbytes")
IDS = torch.arange(8, 40)[None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy = tiny_policy(FAMILIES["compact"](), layers=2, dim=64, heads=2, context=512, seed=3)
    save_policy(policy, tmp_path / "model")
    return tmp_path / "model"


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    data = small_run(learner={"lr": 1e-2}, eval={"every": 2, "episodes": 1}, **more)
    return {**data, "model": {"path": str(folder), "lora": {"rank": 4, "alpha": 8, "quantize": "nf4"}}}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_linear_layers_take_four_bits_and_the_rest_stays(folder: Path) -> None:
    plain, packed = load_policy(folder).model, load_policy(folder, four_bits=True).model
    kinds = {name: p.dtype for name, p in packed.named_parameters()}
    assert {d for n, d in kinds.items() if n.endswith("proj.weight")} == {torch.uint8}
    assert {d for n, d in kinds.items() if not n.endswith("proj.weight")} == {torch.float32}
    gap = (logits(packed) - logits(plain)).abs().max()
    assert 1e-4 < gap < 0.5 * logits(plain).abs().max(), "rounded, and still that model"
    assert logits(packed).equal(logits(packed)), "the same with every call"


def test_best_is_what_the_run_computed_as_a_plain_folder(folder: Path, tmp_path: Path) -> None:
    config = parse_config(settings(folder))
    train(config, tmp_path / "run")
    best = tmp_path / "run" / "best"
    assert "quantization_config" not in json.loads((best / "config.json").read_text())
    parts = parts_of(tmp_path / "run", (), external=False)
    assert {p.dtype for p in parts.policy.model.parameters()} == {torch.float32}
    packed = load_policy(folder, four_bits=True)
    assert (logits(parts.policy.model) - logits(packed.model)).abs().max() > 1e-3, "it has learned"


def test_an_export_scores_as_the_adapted_model_does_and_leaves_it_alone(folder: Path, tmp_path: Path) -> None:
    import peft

    packed = load_policy(folder, four_bits=True)
    adapted: Any = peft.get_peft_model(packed.model, peft.LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.05, generator=torch.Generator().manual_seed(len(name)))
    before = logits(adapted)
    policy = packed.__class__(model=adapted, tokenizer=packed.tokenizer, eos_ids=packed.eos_ids, context=packed.context)
    save_merged(policy, tmp_path / "out", parse_config(settings(folder)).agent)
    torch.testing.assert_close(logits(load_policy(tmp_path / "out").model), before, atol=2e-5, rtol=1e-5)
    assert logits(adapted).equal(before)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"learner": {"parallel": "fsdp2"}}, "cannot shard: take ddp"),
        ({"sampler": {"backend": "vllm", "urls": ["http://127.0.0.1:1"]}}, "not rounded: set sampler.backend: hf"),
        ({"sampler": {"dtype": "bfloat16"}}, "leave sampler.dtype at model"),
        ({"model": {"tiny": {}, "lora": {"quantize": "nf4"}}}, "give model.path"),
        ({"model": {"path": "m", "lora": {"quantize": "int8"}}}, "Input should be 'nf4', got 'int8'"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_loads(change: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({**settings(folder), **change})


def test_an_adapter_alone_has_no_weights_to_round(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "m"}')
    with pytest.raises(ModelError, match="export it merged first"):
        load_policy(tmp_path, four_bits=True)


def test_the_plan_counts_half_a_byte_a_weight(folder: Path) -> None:
    data = settings(folder)
    packed = plan(parse_config(data)).sizes
    del data["model"]["lora"]["quantize"]
    whole = plan(parse_config(data)).sizes
    frozen = 2 * (4 * 64 * 64 + 3 * 64 * 192)
    assert whole.weights - packed.weights == pytest.approx(frozen * (4 - BYTES), abs=20)
    assert (packed.trained, packed.unpacked, whole.unpacked) == (whole.trained, 4 * 64 * 192, 0)
