"""A config's model as shapes: weights that have sizes and no values, so that a model of any size fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rlsd.agents.hf.adapters import base_of, is_adapter
from rlsd.agents.hf.models import DTYPES, ModelError, quiet, tiny_config
from rlsd.agents.hf.policy import Policy
from rlsd.envs.errors import closest
from rlsd.harness.config import ModelConfig, RunConfig
from rlsd.harness.iteration.policies import model_place, with_lora
from rlsd.harness.learner.tensor_parallel import check_processes, check_split

KERNEL = "rlsd_planned"
"""The attention of planned passes: the kernel of `sdpa`, and no mask but one that is given. Without values transformers
cannot see that it needs none, and would make one."""


def _shape(
    kind: str, hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int, **other: Any
) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
        **other,
    }


_UNTIED = {"tie_word_embeddings": False}
PUBLISHED = {
    "SmolLM2-135M": _shape("llama", 576, 1_536, 30, 9, 3, 49_152, 8_192),
    "Qwen2.5-0.5B": _shape("qwen2", 896, 4_864, 24, 14, 2, 151_936, 32_768),
    "Qwen2.5-1.5B": _shape("qwen2", 1_536, 8_960, 28, 12, 2, 151_936, 32_768),
    "Qwen2.5-3B": _shape("qwen2", 2_048, 11_008, 36, 16, 2, 151_936, 32_768),
    "Qwen2.5-7B": _shape("qwen2", 3_584, 18_944, 28, 28, 4, 152_064, 32_768, **_UNTIED),
    "Qwen3-0.6B": _shape("qwen3", 1_024, 3_072, 28, 16, 8, 151_936, 40_960, head_dim=128),
    "Qwen3-1.7B": _shape("qwen3", 2_048, 6_144, 28, 16, 8, 151_936, 40_960, head_dim=128),
    "Qwen3-4B": _shape("qwen3", 2_560, 9_728, 36, 32, 8, 151_936, 40_960, head_dim=128),
    "Qwen3-8B": _shape("qwen3", 4_096, 12_288, 36, 32, 8, 151_936, 40_960, head_dim=128, **_UNTIED),
}
"""Shapes of models that are often trained, as their config.json publishes them: planning needs no download."""


def model_config(model: ModelConfig) -> Any:
    """The transformers config of the model that a run's config names.

    Raises:
        ModelError: no folder of that name, no hub to ask, and no known shape.
    """
    if model.tiny is not None:
        tiny = model.tiny
        return tiny_config(vocab=tiny.vocab, layers=tiny.layers, dim=tiny.dim, heads=tiny.heads, context=tiny.context)
    assert model.path is not None
    place = model_place(model.path)
    if is_adapter(Path(place)):
        place = base_of(Path(place))
    named = str(place).rpartition("/")[2].removesuffix("-Instruct").removesuffix("-Base")
    if not Path(place).exists() and named in PUBLISHED:
        shape = dict(PUBLISHED[named])
        return AutoConfig.for_model(shape.pop("model_type"), **shape)
    try:
        with quiet():
            return AutoConfig.from_pretrained(str(place), trust_remote_code=False)
    except Exception as error:  # a hub that is not there, a damaged folder: anything
        raise ModelError(
            f"cannot read the config of {model.path!r} ({' '.join(str(error).split())[:200]}); give a folder with its "
            f"config.json (weights are not read), or one of {', '.join(PUBLISHED)}{closest(named, PUBLISHED)}"
        ) from error


def shaped(config: RunConfig, parts: int = 1) -> Any:
    """The model that a run trains, adapters included, with random weights; in evaluation mode.

    Args:
        parts: processes that share each layer; the model is what one of them computes with.

    Raises:
        ModelError: the config cannot be read, or the class makes no such model.
    """
    AttentionInterface.register(KERNEL, sdpa_attention_forward)
    AttentionMaskInterface.register(KERNEL, lambda *_, **__: None)
    attention = config.model.attention if config.model.attention == "eager" else KERNEL
    shape = model_config(config.model)
    if parts > 1:
        _divide(shape.get_text_config(decoder=True), parts)
    try:
        model = AutoModelForCausalLM.from_config(
            shape, dtype=DTYPES[config.model.dtype], attn_implementation=attention, trust_remote_code=False
        )
    except Exception as error:  # a class may refuse anything
        raise ModelError(f"no model can be made of this config: {' '.join(str(error).split())[:300]}") from error
    policy = Policy(model=model, tokenizer=None, eos_ids=frozenset(), context=0)
    return with_lora(policy, config.model.lora, seed=config.seed).model.eval()


def _divide(shape: Any, parts: int) -> None:
    shape.head_dim = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        setattr(shape, name, getattr(shape, name) // parts)


def on_meta(config: RunConfig, parts: int = 1) -> Any:
    """The same without memory for weights.

    Raises:
        ModelError: as `shaped`.
    """
    with torch.device("meta"):
        return shaped(config, parts)


def of_teacher(config: RunConfig) -> RunConfig:
    """The config with the external teacher as its model."""
    lone: dict[str, Any] = {"path": config.algorithm.teacher.path, "tiny": None, "lora": None}
    return config.model_copy(update={"model": config.model.model_copy(update=lone)})


def check_layers(config: RunConfig, processes: int) -> None:
    """Check, before a model loads, that `processes` can split the layers of the run's models as
    `learner.tensor_parallel` says.

    Raises:
        ConfigError: they cannot (`check_processes`, `check_split`).
        ModelError: as `shaped`.
    """
    parts = config.learner.tensor_parallel
    if parts > 1:
        check_processes(parts, processes)
        external = config.algorithm.teacher.weights == "external"
        for model in (config, of_teacher(config)) if external else (config,):
            check_split(on_meta(model), parts)


def without_values(config: RunConfig, mode: FakeTensorMode, parts: int = 1) -> Any:
    """The same with weights of `mode`, which have sizes and no values.

    Raises:
        ModelError: as `shaped`.
    """
    model = on_meta(config, parts)
    with mode:
        model = model._apply(lambda t: torch.empty(t.shape, dtype=t.dtype))
        (model.get_base_model() if hasattr(model, "get_base_model") else model).tie_weights()
    return model
