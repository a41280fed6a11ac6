"""A small model with random weights that computes like a given one: the same class, attention and kinds of layers.

Widths, vocabulary, experts and layers are cut down; attention windows that are shorter than the context, and switches
of RoPE frequencies, are brought within reach of a short sequence. Whether log-probs agree depends on none of the
weights, so a model of any size is tried out in a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rlsd.agents.hf.abilities import CHUNK_KEYS, CONTEXT_KEYS, WINDOW_KEYS
from rlsd.harness.scoring.ways import LONGEST

NEAR = 16
"""Window of the small model, in tokens, where the context exceeds the model's own."""
SWITCH = 40
"""Likewise the length beyond which RoPE frequencies change."""
FAR = 2 * LONGEST
"""Least length of windows and switches that the context does not reach."""
ORIGINAL = "original_max_position_embeddings"
VOCAB = 160
WIDTH = 64
"""Largest width of an MLP."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
NARROW = 128
"""Width of hidden states where heads have a size of their own."""
CUTS = (("layers", "widths", "narrow"), ("layers", "widths"), ("widths",), ("layers",))
"""What is cut down, the first combination that gives a working model; all of them cut the rest."""
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "encoder_layers")
_STILL = ("A_log", "dt", "bias", "time_", "sinks")
"""Parts of names of weights that keep their initial values, which their layers need."""


def small_config(model: Any, context: int, cut: Sequence[str]) -> dict[str, Any]:
    """The small model's config as a dictionary.

    Args:
        model: the model itself, for its kinds of layers.
        context: a window shorter than this is brought within reach; others stay out of reach.
        cut: what to cut down, one of `CUTS`.
    """
    config = model.config
    text = config.get_text_config(decoder=True)
    out = config.to_dict()
    for key in ("quantization_config", "_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        out.pop(key, None)
    mine = out if text is config else next(out[k] for k in ("text_config", "decoder", "generator") if k in out)
    for name, part in out.items():  # encoders of images and sound are there, but do nothing
        if isinstance(part, dict) and name.endswith("_config") and part is not mine:
            for key in _LAYERS:
                if isinstance(part.get(key), int):
                    _cut_layers(part, key, 1)
    names: Mapping[str, str] = getattr(text, "attribute_map", {})
    if "layers" in cut:
        _cut_layers(mine, names.get("num_hidden_layers", "num_hidden_layers"), _enough_layers(model, text))
    if "widths" in cut:
        _cut_widths(mine, names, narrow="narrow" in cut)
    _cut_vocabulary(out)
    _cut_vocabulary(mine)
    _bring_near(mine, context)
    for key in CONTEXT_KEYS:
        if isinstance(mine.get(key), int):
            mine[key] = min(mine[key], LONGEST)
    return out


def make_small(model: Any, config: dict[str, Any], attention: str) -> Any:
    """The small model on the CPU in float32. Its weights depend on the config alone, and no global random state is
    used. Weights of matrices are larger than fresh ones, so that attention matters.

    Raises:
        Exception: whatever the class raises for a config it cannot have.
    """
    kind = type(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # not torch.manual_seed, which reseeds GPUs
        made = kind._from_config(
            type(model.config).from_dict(config), dtype=torch.float32, attn_implementation=attention
        )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            last = name.rpartition(".")[2]
            if weight.ndim < 2 or any(part in last for part in _STILL) or not weight.is_floating_point():
                continue
            inward = weight.shape[0] if "Conv1D" in type(_owner(made, name)).__name__ else weight.shape[-1]
            weight.normal_(0.0, 1.0 / math.sqrt(inward), generator=generator)
    return made.eval()


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _enough_layers(model: Any, text: Any) -> int:
    """The smallest number of first layers, at least 2, that have all kinds of layers of the model."""
    total = int(text.num_hidden_layers)
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total]
    needed = 2
    for stack in stacks:
        kinds: dict[Any, int] = {}
        for i, layer in enumerate(stack):
            kinds.setdefault(_kind(layer), i)
        needed = max(needed, max(kinds.values()) + 1)
    return min(total, needed) if stacks else total


def _kind(layer: nn.Module) -> tuple[Any, ...]:
    """What distinguishes a layer from others: its modules, and their settings."""
    return tuple(
        (name, type(m).__name__, *sorted((k, v) for k, v in vars(m).items() if _is_setting(k, v)))
        for name, m in layer.named_modules()
    )


def _is_setting(name: str, value: object) -> bool:
    if name.startswith("store"):  # the last layer that keeps what others read is no other kind
        return False
    return isinstance(value, bool | str) or (isinstance(value, int) and ("window" in name or "chunk" in name))


def _cut_layers(part: dict[str, Any], key: str, layers: int) -> None:
    total = part[key]
    part[key] = min(total, layers)
    for name, value in part.items():
        if isinstance(value, list) and len(value) == total:
            part[name] = value[: part[key]]
        elif isinstance(value, dict) and value and all(str(k).isdigit() for k in value):  # by number of the layer
            part[name] = {k: v for k, v in value.items() if int(k) < part[key]}
    if isinstance(shared := part.get("num_kv_shared_layers"), int):
        part["num_kv_shared_layers"] = min(shared, part[key] // 2)


def _cut_widths(part: dict[str, Any], names: Mapping[str, str], *, narrow: bool) -> None:
    """As many heads as show how keys are shared, of the size they have; small MLPs and few experts."""
    hidden, heads = (names.get(n, n) for n in ("hidden_size", "num_attention_heads"))
    old, count = part.get(hidden), part.get(heads)
    if isinstance(old, int) and isinstance(count, int) and count > 0:
        size, keys = part.get("head_dim") or old // count, part.get("num_key_value_heads")
        kept = min(keys, 2) if isinstance(keys, int) else count
        fewer = kept * min(count // keys, 2) if isinstance(keys, int) and keys else min(count, 4)
        new = min(old, NARROW if narrow and isinstance(part.get("head_dim"), int) else fewer * size)
        for name, value in part.items():
            if value == old and type(value) is int and any(w in name for w in ("hidden", "embed", "d_model", "width")):
                part[name] = new
        part[hidden], part[heads] = new, fewer
        if isinstance(keys, int):
            part["num_key_value_heads"] = kept
    of_values, of_keys = part.get("linear_num_value_heads"), part.get("linear_num_key_heads")
    if isinstance(of_values, int) and isinstance(of_keys, int) and of_keys:
        part |= {
            "linear_num_key_heads": min(of_keys, 2),
            "linear_num_value_heads": min(of_keys, 2) * of_values // of_keys,
        }
    if "n_inner" in part and part["n_inner"] is None:
        part["n_inner"] = WIDTH
    for name, value in part.items():
        if type(value) is int and ("intermediate" in name or name in ("n_inner", "ffn_dim", "ffn_hidden_size")):
            part[name] = min(value, WIDTH)
    chosen = next((v for k, v in part.items() if k in ("num_experts_per_tok", "moe_k", "top_k") and v), 1)
    for name in EXPERTS:
        if isinstance(part.get(name), int):
            part[name] = min(part[name], max(4, int(chosen)))
    for name in ("n_group", "topk_group"):
        if isinstance(part.get(name), int):
            part[name] = 1


def _cut_vocabulary(part: dict[str, Any]) -> None:
    for name, value in part.items():
        if name.startswith("vocab_size") and type(value) is int:
            part[name] = min(value, VOCAB)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        ids = part.get(name)
        if isinstance(ids, list) or (isinstance(ids, int) and ids >= VOCAB):
            part[name] = 0


def _bring_near(part: dict[str, Any], context: int) -> None:
    """Windows and switches that a context reaches."""
    for name in (*WINDOW_KEYS, *CHUNK_KEYS):
        if type(value := part.get(name)) is int and value > 0:
            part[name] = min(value, NEAR) if value < context else max(value, FAR)
    for rope in _ropes(part):
        if rope.get("rope_type") == "longrope":
            for holder in (rope, part):
                if isinstance(value := holder.get(ORIGINAL), int):
                    holder[ORIGINAL] = min(value, SWITCH) if value < context else max(value, FAR)


def _ropes(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("rope_parameters", "rope_scaling"):
        found = part.get(key)
        if isinstance(found, dict):
            yield found
            yield from (value for value in found.values() if isinstance(value, dict))
