"""What is read off a model before it is used."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.tiny_architectures import ARCHITECTURES, CONTEXT, WINDOW, tiny
from rlsd.agents.chat import ChatFormat
from rlsd.agents.hf.abilities import context_length, limits, sliding_window, text_config
from rlsd.agents.hf.attention import refusal
from rlsd.agents.hf.models import ModelError, Policy, cache_argument, load_policy, run_backbone, save_policy
from tests.support.tokenizers import FAMILIES


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_is_passed_under_the_name_of_the_models_own_signature(name: str) -> None:
    made: dict[str, object] = {}
    exec(f"def forward(input_ids, {name}=None): ...", made)
    model = SimpleNamespace(forward=made["forward"])
    assert cache_argument(model) == name
    assert cache_argument(SimpleNamespace(get_base_model=lambda: model)) == name


def saved(folder: Path, name: str, *, rows: int | None = None, **settings: Any) -> Path:
    """A tiny model of the architecture `name` with a tokenizer; `rows` of its embedding, default: as many as ids."""
    tokenizer = FAMILIES["compact"]()
    size, end = rows or len(tokenizer), tokenizer.eos_token_id
    model = tiny(ARCHITECTURES[name], **settings)
    model.resize_token_embeddings(size)
    model.generation_config.eos_token_id = end
    save_policy(Policy(model=model, tokenizer=tokenizer, eos_ids=frozenset({end}), context=CONTEXT), folder)
    return folder


def test_a_multimodal_models_abilities_are_those_of_its_text_config(tmp_path: Path) -> None:
    policy = load_policy(saved(tmp_path, "Gemma 3, multimodal"))
    assert type(policy.model).__name__ == "Gemma3ForConditionalGeneration"
    assert not hasattr(policy.model.config, "max_position_embeddings")
    assert policy.context == CONTEXT
    assert sliding_window(policy.model) == WINDOW
    assert limits(text_config(policy.model)) == {"sliding_window": WINDOW}


@pytest.mark.parametrize(
    ("name", "context"), [("GPT-2", CONTEXT), ("MPT", CONTEXT), ("RWKV", CONTEXT), ("Mamba", 2048)]
)
def test_context_lengths_are_read_under_every_name(name: str, context: int) -> None:
    assert context_length(text_config(tiny(ARCHITECTURES[name]))) == context


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    size = len(FAMILIES["compact"]())
    sentence = (
        rf"its tokenizer has ids up to {size - 1}, but the model's embedding has {size - 1} rows; take the weights' "
        rf"own tokenizer, or save the model anew after model\.resize_token_embeddings\({size}\)$"
    )
    with pytest.raises(ModelError, match=sentence):
        load_policy(saved(tmp_path, "Llama", rows=size - 1))
    assert load_policy(saved(tmp_path / "padded", "Llama", rows=size + 28)).context == CONTEXT


def test_an_architecture_that_changes_its_logits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="GraniteForCausalLM changes its logits after the output embedding"):
        load_policy(saved(tmp_path, "Granite, scaled logits"))


def test_attention_that_an_architecture_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "GPT-Neo")
    with pytest.raises(ModelError, match=r"GPTNeoForCausalLM does not run with sdpa attention; set model\.attention"):
        load_policy(folder)
    assert load_policy(folder, attention="eager").context == CONTEXT


@pytest.mark.parametrize(
    ("version", "how"), [(2, "pip install flash-attn "), (3, "git clone .*/flash-attention/hopper")]
)
def test_flash_attention_without_its_package_names_it_and_how_to_install_it(
    tmp_path: Path, version: int, how: str
) -> None:
    attention = f"flash_attention_{version}"
    package = refusal(ImportError(), attention).split(",")[0]
    with pytest.raises(ModelError, match=rf"{package}, and a CUDA GPU: {how}.*set model\.attention=sdpa$") as refused:
        load_policy(saved(tmp_path, "Llama"), attention=attention)
    assert "\n" not in str(refused.value)


def test_what_else_is_wrong_with_flash_attention_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsd.agents.hf.attention.distribution", lambda name: name)
    old = ImportError("FlashAttention2 requires at least version `2.3.3`.")
    assert refusal(old, "flash_attention_2") == f"ImportError: {old}"


def test_a_backbone_gets_positions_only_if_it_takes_any() -> None:
    def alibi(input_ids: object) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=input_ids)

    def rotary(input_ids: object, position_ids: object, past_key_values: object = None) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=(input_ids, position_ids, past_key_values))

    for forward, want in ((alibi, "ids"), (rotary, ("ids", "positions", None))):
        backbone: Any = forward
        backbone.forward = forward
        assert run_backbone(backbone, input_ids="ids", position_ids="positions") == want
    assert run_backbone(backbone, cache="cache", input_ids="ids", position_ids="positions")[2] == "cache"


def test_special_tokens_beyond_the_embedding_are_no_harm(tmp_path: Path) -> None:
    """A mark for images that text never holds, as in Gemma 3; the same token as plain text would be read."""
    tokenizer = FAMILIES["compact"]()
    folder = saved(tmp_path / "special", "Llama", rows=len(tokenizer))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft>"]})
    tokenizer.save_pretrained(folder)
    policy = load_policy(folder)
    assert len(policy.tokenizer) == policy.model.get_input_embeddings().num_embeddings + 1
    chat = ChatFormat(policy.tokenizer, sorted(policy.eos_ids))
    assert max(chat.encode("an <image_soft> in a text")) < len(tokenizer) - 1
    plain = FAMILIES["compact"]()
    plain.add_tokens(["<image_soft>"])
    plain.save_pretrained(folder)
    with pytest.raises(ModelError, match="its tokenizer has ids up to"):
        load_policy(folder)
