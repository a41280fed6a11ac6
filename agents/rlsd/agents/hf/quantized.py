"""Frozen weights in 4 bits under a LoRA adapter (QLoRA, Dettmers et al. 2023, arXiv 2305.14314, §3), by bitsandbytes.

NF4 with double quantization: blocks of 64 weights share a scale, blocks of 256 scales another one, so a weight takes
.5 + 1/64 + 4/(64·256) bytes. Embeddings and the output embedding stay as they are.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from rlsd.agents.hf.policy import ModelError

BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of one weight."""
EXTRA = "4-bit weights need the package bitsandbytes: pip install 'rlsd[qlora]'"


def nf4(compute: torch.dtype) -> Any:
    """The setting with which transformers loads such a model; products run in `compute`.

    Raises:
        ModelError: bitsandbytes is missing.
    """
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ModelError(EXTRA) from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def exact_on_cpu(model: nn.Module) -> None:
    """Keep a CPU's layers from repacking their weights for bfloat16 kernels when no gradient is asked: log-probs of
    sampler, scoring and update would come from different numbers."""
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def dense(adapted: Any) -> Any:
    """A plain model that computes the same as a PEFT model over 4-bit layers: each weight is its rounded value plus the
    adapter's product, in the model's precision. `adapted` is unchanged."""
    model = copy.deepcopy(adapted)
    for name, layer in list(model.named_modules()):
        base = getattr(layer, "base_layer", layer)
        if not hasattr(getattr(base, "weight", None), "quant_state"):
            continue
        if layer is base and name.endswith(".base_layer"):
            continue  # inside an adapted layer
        weight = _weight(base)
        if layer is not base:
            weight = weight + sum(layer.get_delta_weight(adapter) for adapter in layer.active_adapters)
        model.set_submodule(name, _linear(weight, base.bias))
    model = model.merge_and_unload()  # adapters of layers that are not quantized
    del model.config.quantization_config
    model.is_quantized = model.is_loaded_in_4bit = False
    model.hf_quantizer = None
    return model


def _weight(layer: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    out, inner = weight.shape
    linear = nn.Linear(inner, out, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return linear
