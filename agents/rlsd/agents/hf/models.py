"""Policies: a transformers causal LM with its tokenizer, loaded, made from scratch, or converted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from rlsd.agents.hf import adapters, quantized
from rlsd.agents.hf.abilities import context_length, text_config
from rlsd.agents.hf.attention import refusal
from rlsd.agents.hf.out_of_memory import out_of_memory
from rlsd.agents.hf.policy import ModelError, Policy
from rlsd.agents.template import end_ids

CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + ('<|end|>' if m['role'] == 'assistant' else '') }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Three special tokens per turn, to keep sequences of tiny models short."""
SPECIAL = ("<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_policy(
    path: str | Path,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    attention: str = "sdpa",
    four_bits: bool = False,
) -> Policy:
    """Load a folder (or a hub name, where the network allows) as `AutoModelForCausalLM` does; a folder with a PEFT
    adapter alone is its base model with the adapter merged.

    Args:
        four_bits: keep the weights of linear layers in 4 bits, frozen (`rlsd.agents.hf.quantized`).

    Raises:
        ModelError: an unreadable folder; a model without chat template; weights that do not match the config; 4 bits
            of an adapter, which would be merged into rounded weights, or without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(path).expanduser()
    if adapters.is_adapter(folder):
        if four_bits:
            raise ModelError(f"{path} is an adapter, which 4-bit weights cannot take in: export it merged first")
        base = load_policy(adapters.base_of(folder), dtype=dtype, device=device, attention=attention)
        return adapters.merged(base, folder)
    absent_folder = "" if folder.exists() else " (there is no such folder, so it was taken for a hub name)"
    if folder.exists() and not (folder / "config.json").is_file():
        raise ModelError(f"{path} holds no config.json: give a transformers model folder (or `rlsd export` one)")
    if absent_folder and str(path).startswith((".", "/", "~")):
        raise ModelError(f"there is no folder {str(path)!r}; give a transformers model folder or a hub name")
    place = str(folder if folder.exists() else path)
    more = {"quantization_config": quantized.nf4(DTYPES[dtype]), "device_map": {"": device}} if four_bits else {}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place,
                dtype=DTYPES[dtype],
                attn_implementation=attention,
                output_loading_info=True,
                trust_remote_code=False,
                **more,
            )
    except Exception as error:
        raise ModelError(
            f"cannot load a model from {str(path)!r}{absent_folder}: {refusal(error, attention)}"
        ) from error
    model, report = loaded
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    absent = sorted(name for name in report["missing_keys"] if name not in tied)
    if absent:
        raise ModelError(
            f"{path} lacks {len(absent)} weights that its config requires, e.g. {absent[0]!r}: damaged folder?"
        )
    if four_bits:
        quantized.exact_on_cpu(model)
    return _policy(model if four_bits else model.to(device), tokenizer, source=str(path))


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a folder or hub name alone; None if it cannot be read, which `load_policy` explains."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            place = Path(path).expanduser()
            return AutoTokenizer.from_pretrained(str(place if place.exists() else path), trust_remote_code=False)
    except Exception:  # a damaged folder can raise anything
        return None


def _policy(model: Any, tokenizer: Any, *, source: str) -> Policy:
    if not tokenizer.chat_template:
        raise ModelError(f"{source} has no chat template; add chat_template.jinja to the folder")
    ends = model.generation_config.eos_token_id
    ids = {*end_ids(tokenizer), *(ends if isinstance(ends, list) else [ends])} - {None}
    if not ids:
        raise ModelError(f"{source} names no end token (eos_token_id)")
    check_head(model)
    check_vocabulary(model, tokenizer, source=source)
    context = context_length(text_config(model))
    return Policy(model=model, tokenizer=tokenizer, eos_ids=frozenset(ids), context=context)


def split_head(model: Any) -> tuple[Any, Callable[[Tensor], Tensor]]:
    """(backbone, head): `head(backbone(ids).last_hidden_state)` are the model's logits; PEFT adapters stay active."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone = getattr(inner, inner.base_model_prefix, None)
    return inner.model if backbone is None else backbone, inner.get_output_embeddings()


def cache_argument(model: Any) -> str:
    """Name under which a model or backbone takes its key-value cache: `cache` from transformers 5.24 on,
    `past_key_values` before."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in _arguments(inner.forward) else "past_key_values"


def _arguments(forward: Any) -> frozenset[str]:
    """Names of a forward pass's arguments; "**" if it takes others too."""
    return _arguments_of(getattr(forward, "__func__", forward))


@lru_cache(maxsize=64)
def _arguments_of(function: Any) -> frozenset[str]:
    takes = inspect.signature(function).parameters.values()
    return frozenset("**" if p.kind is p.VAR_KEYWORD else p.name for p in takes)


def run_backbone(backbone: Any, *, cache: Any = None, **kwargs: Any) -> Tensor:
    """(B, T, D) last hidden states. The cache goes in under the name that the model has for it, and position ids only
    if it takes any (ALiBi models and recurrent ones do not)."""
    if cache is not None:
        kwargs[cache_argument(backbone)] = cache
    if not _arguments(backbone.forward) & {"position_ids", "**"}:
        kwargs.pop("position_ids", None)
    return backbone(**kwargs).last_hidden_state


@torch.no_grad()
def check_head(model: Any) -> None:
    """Check that the logits are exactly the output embedding of the last hidden state.

    Raises:
        ModelError: an architecture that scales or caps its logits, so that log-probs would be wrong; or one that is no
            backbone with an output embedding on top. Logits that are infinite or NaN.
    """
    name = type(model).__name__
    model.eval()
    try:
        vocab = model.get_input_embeddings().num_embeddings
        ids = (torch.arange(7) * 13 % vocab)[None].to(next(model.parameters()).device)
        backbone, head = split_head(model)
        ours, theirs = head(backbone(input_ids=ids).last_hidden_state), model(input_ids=ids).logits
        finite = bool(theirs.isfinite().all())
        same = torch.allclose(ours.float(), theirs.float(), atol=1e-2, rtol=1e-2)
    except Exception as error:  # an architecture of any kind can raise anything
        if out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ModelError(f"{name} does not run as a causal language model here: {reason}") from error
    if not finite:
        raise ModelError("the model's logits are infinite or NaN: a weight of it is, or its dtype is too narrow")
    if not same:
        raise ModelError(f"{name} changes its logits after the output embedding; rlsd does not support that yet")


def check_vocabulary(model: Any, tokenizer: Any, *, source: str) -> None:
    """Check that the model has an embedding for every id that a text may hold.

    Special tokens beyond it are allowed, such as Gemma 3's mark for images: no text is encoded as one.

    Raises:
        ModelError: it has fewer rows.
    """
    rows, added = model.get_input_embeddings().num_embeddings, tokenizer.added_tokens_decoder
    beyond = [i for i in tokenizer.get_vocab().values() if i >= rows and not (i in added and added[i].special)]
    if beyond:
        raise ModelError(
            f"{source}: its tokenizer has ids up to {max(beyond)}, but the model's embedding has {rows} rows; take the "
            f"weights' own tokenizer, or save the model anew after model.resize_token_embeddings({max(beyond) + 1})"
        )


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Any:
    """A byte-level BPE tokenizer (no text is unknown to it) with the small chat template above."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_policy(
    tokenizer: Any,
    *,
    layers: int = 3,
    dim: int = 128,
    heads: int = 4,
    context: int = 1024,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Policy:
    """A Llama from scratch: tied embeddings, SwiGLU of width 8/3 dim. Its weights depend on `seed` alone."""
    from transformers import AutoModelForCausalLM

    config = tiny_config(vocab=len(tokenizer), layers=layers, dim=dim, heads=heads, context=context)
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
    return _policy(model.to(device), tokenizer, source="the tiny model")


def tiny_config(*, vocab: int, layers: int, dim: int, heads: int, context: int) -> Any:
    """The transformers config of a tiny Llama; it names no special tokens."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab,
        hidden_size=dim,
        intermediate_size=-(-(dim * 8 // 3) // 32) * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )


def parameters(model: nn.Module) -> int:
    """Number of distinct weights, tied ones counted once."""
    return sum(p.numel() for p in model.parameters())


def save_policy(policy: Policy, folder: Path) -> None:
    """Write a plain transformers folder that `load_policy` and any other tool reads.

    Raises:
        OSError: writing failed; names the folder.
    """
    try:
        with quiet():
            policy.model.save_pretrained(folder)
            policy.tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(f"weights cannot be written to {folder}: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and reports of transformers; our own errors report what matters."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
