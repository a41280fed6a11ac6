"""Tokenizers of chat-template families, trained on a few sentences, and prompts beside the template's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlsd.agents.chat import ChatFormat
from rlsd.agents.memory import Message
from rlsd.agents.template import Template
from tests.conftest import TEXT
from tests.support.chat_families import Family, Kind


def tokenizer(family: Family) -> Any:
    """A fast tokenizer of the family's kind with its markers and template."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer.from_str(_trained(family.kind))
    raw.add_special_tokens([AddedToken(t, special=True, rstrip=t in family.eats_space) for t in family.special])
    raw.add_tokens([AddedToken(t, normalized=False) for t in family.plain])
    unknown = {} if family.kind in ("bytes", "gpt2") else {"unk_token": "<unk>"}
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=family.special[-1], **unknown)
    made.chat_template = family.template
    return made


_WORDS = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@lru_cache
def _trained(kind: Kind) -> str:
    """The tokenizer of a kind without any marker, as JSON."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    texts = [
        TEXT,
        "user\nassistant\nsystem\nUSER: ASSISTANT: User Assistant [INST] [/INST] ### <think></think>\n\n",
    ] * 4
    if kind in ("bytes", "gpt2"):
        words = pre_tokenizers.Split(Regex(_WORDS), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt2")
        raw.pre_tokenizer = byte_level if kind == "gpt2" else pre_tokenizers.Sequence([words, byte_level])
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        raw.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
        )
        return raw.to_str()
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if kind != "bare" else "never")
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    learned = json.loads(raw.to_str())["model"]
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    vocab = {name: i for i, name in enumerate(names)}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    raw.add_special_tokens(["<unk>"])
    if kind == "first":
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        space = normalizers.Replace(" ", "▁")
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space] if kind == "llama" else [space])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence(steps if kind == "bare" else [*steps, decoders.Strip(" ", 1, 0)])
    return raw.to_str()


USERS = ("You see a drawer 1.", "You arrive at shelf 2.", "On the drawer 1, you see nothing.", "You see nothing.")
RESPONSES = (
    "<think>\na shelf\n</think>\n\n<action>go to shelf 2</action>",
    "<think>\na drawer\n</think>\n\n<action>open drawer 1</action>",
    "<think>\na mug\n</think>\n\n<action>take mug 1</action>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    equal: tuple[bool, ...]
    """Whether the prompt has the template's own ids, by turn, the first turn left out."""
    merges: bool
    """Whether each prompt begins with the prompt before and its response."""
    end: str
    """The token that ends a response."""
    ours: tuple[tuple[int, ...], ...]
    own: tuple[tuple[int, ...], ...]


def chat_of(family: Family) -> ChatFormat:
    return ChatFormat(tokenizer(family), template_kwargs=family.kwargs, keep_thoughts=family.keep)


def compare(family: Family) -> Compared:
    """Three turns as a policy would play them, beside `apply_chat_template` of the same conversation."""
    chat = chat_of(family)
    own_template = Template(chat.tokenizer, family.kwargs)  # the same date
    messages, own_messages, responses = [], [], []
    ours, own = [], []
    merges, previous = True, ()
    for turn in range(4):
        messages.append(Message(role="user", text=USERS[turn]))
        own_messages.append({"role": "user", "content": USERS[turn]})
        prompt = chat.prompt(messages, responses)
        ours.append(prompt.ids)
        text = own_template.render(own_messages)
        own.append(tuple(chat.tokenizer(text, add_special_tokens=False)["input_ids"]))
        merges = merges and prompt.ids[: len(previous)] == previous
        if turn < 3:
            responses.append(chat.response(RESPONSES[turn]))
            messages.append(Message(role="assistant", text=RESPONSES[turn], response=turn))
            text = RESPONSES[turn].replace("<think>", family.tags[0]).replace("</think>", family.tags[1])
            own_messages.append({"role": "assistant", "content": text})
            previous = (*prompt.ids, *responses[-1])
    return Compared(
        equal=tuple(a == b for a, b in zip(ours, own)),
        merges=merges,
        end=chat.tokenizer.convert_ids_to_tokens(chat.end_id),
        ours=tuple(ours),
        own=tuple(own),
    )
