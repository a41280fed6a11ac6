"""Tiny configs of the architectures that `architectures.py` plays: the config class, and what differs from the common
settings. Windows are shorter than the sequences that are played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers

CONTEXT = 128
WINDOW = 32
BASE: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PLAIN = {k: v for k, v in BASE.items() if k != "head_dim"}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
}
GPT: dict[str, Any] = {
    "vocab_size": 200,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MLA: dict[str, Any] = {
    **BASE,
    "head_dim": None,
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LINEAR: dict[str, Any] = {
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
}
SLIDING: dict[str, Any] = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
LONG: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A tiny model: the class of its config, without "Config", and what differs from `BASE`."""

    config: str
    settings: dict[str, Any]
    base: dict[str, Any] | None = None
    """Instead of `BASE`."""
    attention: str = "sdpa"


A = Architecture
ARCHITECTURES: dict[str, Architecture] = {
    "Llama": A("Llama", {}),
    "Llama, eager": A("Llama", {}, attention="eager"),
    "Llama, dynamic RoPE": A(
        "Llama",
        {
            "max_position_embeddings": 96,
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
        },
    ),
    "Llama, YaRN": A(
        "Llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "Qwen2": A("Qwen2", {}),
    "Qwen2, window": A("Qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}),
    "Qwen2-MoE": A("Qwen2Moe", {**EXPERTS, "shared_expert_intermediate_size": 48}),
    "Qwen3": A("Qwen3", {}),
    "Qwen3-MoE": A("Qwen3Moe", EXPERTS),
    "Qwen3-Next": A("Qwen3Next", {**EXPERTS, **LINEAR, "shared_expert_intermediate_size": 48}),
    "Qwen3.5": A("Qwen3_5Text", LINEAR),
    "Mistral": A("Mistral", {"sliding_window": None}),
    "Mistral, window": A("Mistral", {"sliding_window": WINDOW}),
    "Mistral, window as long as the context": A("Mistral", {"sliding_window": CONTEXT}),
    "Ministral": A("Ministral", {"sliding_window": WINDOW}),
    "Mixtral": A("Mixtral", EXPERTS),
    "Phi": A("Phi", {}),
    "Phi-3": A("Phi3", {"sliding_window": None}),
    "Phi-3, longrope, context below its switch": A(
        "Phi3",
        {
            "sliding_window": None,
            "rope_parameters": LONG,
            "original_max_position_embeddings": CONTEXT,
            "max_position_embeddings": 4 * CONTEXT,
        },
    ),
    "Phi-3, longrope, context above its switch": A(
        "Phi3",
        {
            "sliding_window": None,
            "rope_parameters": LONG,
            "original_max_position_embeddings": 64,
            "max_position_embeddings": 4 * CONTEXT,
        },
    ),
    "PhiMoE": A("Phimoe", EXPERTS),
    "Gemma": A("Gemma", {}),
    "Gemma 2": A("Gemma2", {**SLIDING, "final_logit_softcapping": None}, attention="eager"),
    "Gemma 2, capped logits": A("Gemma2", SLIDING, attention="eager"),
    "Gemma 3, text": A("Gemma3Text", SLIDING),
    "Gemma 3, multimodal": A(
        "Gemma3", {"text_config": {**BASE, **SLIDING}, "vision_config": VISION, "mm_tokens_per_image": 4}, base={}
    ),
    "Gemma 4, text": A("Gemma4Text", {**SLIDING, "vocab_size_per_layer_input": 200, "hidden_size_per_layer_input": 8}),
    "Gemma 4, multimodal": A(
        "Gemma4",
        {
            "text_config": {**BASE, **SLIDING, "vocab_size_per_layer_input": 200, "hidden_size_per_layer_input": 8},
            "vision_config": VISION,
            "audio_config": None,
        },
        base={},
    ),
    "GPT-OSS": A("GptOss", {**EXPERTS, **SLIDING}, attention="eager"),
    "GPT-2": A("GPT2", {}, base=GPT),
    "GPT-2, eager": A("GPT2", {}, base=GPT, attention="eager"),
    "GPT-Neo": A(
        "GPTNeo",
        {
            "vocab_size": 200,
            "hidden_size": 64,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": WINDOW,
            "max_position_embeddings": CONTEXT,
        },
        base={},
        attention="eager",
    ),
    "GPT-NeoX": A("GPTNeoX", {}),
    "GPT-J": A("GPTJ", {"rotary_dim": 8}, base=GPT, attention="eager"),
    "GPTBigCode": A("GPTBigCode", {}, base=GPT),
    "CodeGen": A("CodeGen", {"rotary_dim": 8, "n_ctx": CONTEXT}, base=GPT, attention="eager"),
    "OPT": A("OPT", {"ffn_dim": 96, "word_embed_proj_dim": 64, "num_key_value_heads": None}),
    "BLOOM": A("Bloom", {"vocab_size": 200, "hidden_size": 64, "n_layer": 3, "n_head": 4}, base={}, attention="eager"),
    "Falcon": A("Falcon", {"new_decoder_architecture": False, "multi_query": True}, base=PLAIN),
    "Falcon, ALiBi": A("Falcon", {"alibi": True, "multi_query": False}, base=PLAIN),
    "MPT": A(
        "Mpt",
        {"vocab_size": 200, "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": CONTEXT},
        base={},
        attention="eager",
    ),
    "StableLM": A("StableLm", {}),
    "Starcoder2": A("Starcoder2", {"sliding_window": None}),
    "OLMo": A("Olmo", {}),
    "OLMo 2": A("Olmo2", {}),
    "OLMo 3": A("Olmo3", SLIDING),
    "OLMoE": A("Olmoe", EXPERTS),
    "Cohere": A("Cohere", {"logit_scale": 1.0}),
    "Cohere, scaled logits": A("Cohere", {}),
    "Cohere 2": A("Cohere2", {**SLIDING, "logit_scale": 1.0}),
    "Granite": A("Granite", {}),
    "Granite, scaled logits": A("Granite", {"logits_scaling": 4.0}),
    "GraniteMoE": A("GraniteMoe", EXPERTS),
    "GLM-4": A("Glm4", {}),
    "GLM-4-MoE": A(
        "Glm4Moe", {**EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
    ),
    "SmolLM3": A("SmolLM3", {}),
    "Nemotron": A("Nemotron", {}),
    "Persimmon": A("Persimmon", {}),
    "Helium": A("Helium", {}),
    "EXAONE 4": A("Exaone4", SLIDING),
    "ERNIE 4.5": A("Ernie4_5", {}),
    "Seed-OSS": A("SeedOss", {}),
    "Arcee": A("Arcee", {}),
    "Llama 4": A(
        "Llama4Text",
        {**EXPERTS, "attention_chunk_size": WINDOW, "intermediate_size_mlp": 96, "interleave_moe_layer_step": 2},
    ),
    "DeepSeek V2 (MLA)": A("DeepseekV2", MLA),
    "DeepSeek V3 (MLA)": A("DeepseekV3", {**MLA, "head_dim": 8, "qk_head_dim": 24}),
    "MiniMax (lightning attention)": A(
        "MiniMax", {**EXPERTS, "layer_types": ["linear_attention", "full_attention"] * 2}
    ),
    "Doge": A("Doge", {"keep_window_size": WINDOW}, attention="eager"),
    "Mamba": A(
        "Mamba",
        {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8},
        base={},
        attention="eager",
    ),
    "Mamba-2": A(
        "Mamba2",
        {
            "vocab_size": 200,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 1,
            "chunk_size": 16,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        base={},
        attention="eager",
    ),
    "Falcon-Mamba": A(
        "FalconMamba",
        {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8},
        base={},
        attention="eager",
    ),
    "RWKV": A(
        "Rwkv",
        {
            "vocab_size": 200,
            "hidden_size": 64,
            "attention_hidden_size": 64,
            "num_hidden_layers": 3,
            "context_length": CONTEXT,
        },
        base={},
        attention="eager",
    ),
    "RecurrentGemma": A(
        "RecurrentGemma",
        {"lru_width": 64, "attention_window_size": WINDOW, "block_types": ["recurrent", "recurrent", "attention"]},
    ),
    "Jamba": A(
        "Jamba",
        {
            **EXPERTS,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "Bamba": A(
        "Bamba",
        {
            "attn_layer_indices": [1, 3],
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
        },
    ),
    "LFM2": A("Lfm2", {"layer_types": ["conv", "conv", "full_attention", "conv"], "block_ff_dim": 64}),
    "Zamba2": A(
        "Zamba2",
        {
            "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
            "mamba_d_state": 8,
            "n_mamba_heads": 8,
            "mamba_ngroups": 1,
            "num_key_value_heads": 4,
            "chunk_size": 16,
        },
    ),
    "Granite 4 (hybrid)": A(
        "GraniteMoeHybrid",
        {
            **EXPERTS,
            "layer_types": ["mamba", "attention"] * 2,
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
            "shared_intermediate_size": 48,
        },
    ),
}


def tiny(architecture: Architecture, **settings: Any) -> Any:
    """The model, with weights that make attention matter, and with other `settings` of its config."""
    kind = getattr(transformers, architecture.config + "Config")
    config = kind(**{**(BASE if architecture.base is None else architecture.base), **architecture.settings, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=architecture.attention, trust_remote_code=False
        )
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "A_log" not in name:
                torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    return model.float().eval()
