"""What a model's config says of it. Always read from the text config: in a multimodal model's, the outer one has no
context length, window or vocabulary, or another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CONTEXT_KEYS = ("max_position_embeddings", "max_seq_len", "seq_length", "n_ctx", "context_length")
WINDOW_KEYS = ("sliding_window", "sliding_window_size", "window_size", "attention_window_size", "local_attention")
CHUNK_KEYS = ("attention_chunk_size", "keep_window_size")
UNKNOWN_CONTEXT = 2048
"""Context length of a model that states none."""


def text_config(model: Any) -> Any:
    """The config of a model's decoder, below adapters and beside images."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.config.get_text_config(decoder=True)


def attention_of(model: Any) -> str:
    """Name of a model's attention implementation."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return str(getattr(inner.config, "_attn_implementation", None) or "eager")


def context_length(config: Any) -> int:
    """Longest sequence in tokens, of a text config; `UNKNOWN_CONTEXT` if it states none."""
    values = (getattr(config, key, None) for key in CONTEXT_KEYS)
    return next((v for v in values if isinstance(v, int) and v > 0), UNKNOWN_CONTEXT)


def sliding_window(model: Any) -> int | None:
    """Size of the smallest attention window in tokens; None if all layers use full attention."""
    config = text_config(model)
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return window


def switches(config: Any) -> Iterator[dict[str, Any]]:
    """The RoPE parameters with which a pass over more than `original_max_position_embeddings` tokens encodes every
    position in another way (longrope): one set, or one for each kind of layer."""
    rope = getattr(config, "rope_parameters", None) or {}
    for found in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if found.get("rope_type") == "longrope":
            yield found


def limits(config: Any) -> dict[str, int]:
    """Lengths in tokens beyond which a text model no longer treats all positions alike, by what they are called."""
    found = {
        key: value
        for key in (*WINDOW_KEYS, *CHUNK_KEYS)
        if isinstance(value := getattr(config, key, None), int) and value > 0
    }
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if kinds and not any(word in str(kind) for kind in kinds for word in ("sliding", "local", "chunk", "hybrid")):
        found = {}
    for rope in switches(config):
        value = rope.get("original_max_position_embeddings")
        if isinstance(value, int):
            found["the switch of its longrope frequencies"] = value
    return found
