"""LoRA: what is exported is what was trained, or its target is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from rlsd.agents.hf.models import Policy, load_policy
from rlsd.harness.cli.app import main
from rlsd.harness.config import AgentConfig, ConfigError, LoraConfig
from rlsd.harness.iteration.policies import with_lora
from rlsd.harness.runs.weights import save_merged
from tests.support.smallest_run import BASE
from tests.support.vllm_servers import small, stir

IDS = torch.arange(5, 45)[None]


@torch.inference_mode()
def logps(model: Any) -> Tensor:
    return torch.log_softmax(model(input_ids=IDS).logits, dim=-1)


def untied() -> Policy:
    """A model whose output embedding has weights of its own."""
    from transformers import AutoModelForCausalLM

    policy = small()
    config = policy.model.config.__class__(**{**policy.model.config.to_dict(), "tie_word_embeddings": False})
    torch.manual_seed(4)
    return replace(policy, model=AutoModelForCausalLM.from_config(config, trust_remote_code=False).eval())


def trained(policy: Policy, targets: Any) -> Policy:
    adapted = with_lora(policy, LoraConfig(rank=4, alpha=8, targets=targets), seed=0)
    before = logps(adapted.model)
    stir(adapted, 0.3)
    assert float((logps(adapted.model) - before).abs().max()) > 0.1, "the adapter does something"
    return adapted


@pytest.mark.parametrize(
    ("policy", "targets"),
    [
        (small, "all-linear"),
        (small, ["q_proj", "v_proj"]),
        (small, ["layers.0.mlp.down_proj"]),
        (untied, "all-linear"),
        (untied, ["lm_head"]),
        (untied, ["embed_tokens"]),
        (untied, ["q_proj", "lm_head", "embed_tokens"]),
    ],
)
def test_exported_weights_have_the_log_probs_of_the_trained_adapter(policy: Any, targets: Any, tmp_path: Path) -> None:
    adapted = trained(policy(), targets)
    want = logps(adapted.model)
    save_merged(adapted, tmp_path / "merged", AgentConfig())
    torch.testing.assert_close(logps(load_policy(tmp_path / "merged").model), want, atol=1e-5, rtol=0)
    torch.testing.assert_close(logps(adapted.model), want, atol=0, rtol=0)


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["q_proj", "model.embed_tokens"]])
def test_a_tied_embedding_is_no_target(targets: list[str]) -> None:
    policy = small()
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    with pytest.raises(ConfigError, match=f"'{targets[-1]}' is an embedding that this model ties to the other"):
        with_lora(policy, LoraConfig(targets=targets), seed=0)
    assert dict.fromkeys(before, True) == {
        name: torch.equal(value, before[name]) for name, value in policy.model.state_dict().items()
    }, "no layer was wrapped"


def test_a_layer_that_does_not_exist_is_named_with_the_closest() -> None:
    with pytest.raises(
        ConfigError, match=r"no layer 'q_porj'\. Did you mean 'q_proj'\? Known: down_proj, embed_tokens"
    ):
        with_lora(small(), LoraConfig(targets=["q_porj"]), seed=0)


def test_a_run_with_such_a_target_ends_in_one_line_before_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**BASE, "model": {**BASE["model"], "lora": {"targets": ["lm_head"]}}}))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(path), "--run", str(tmp_path / "run"), "--quiet"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: model.lora.targets: 'lm_head' is an embedding")
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
