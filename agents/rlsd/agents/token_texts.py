"""The text of single tokens, for people who look at them one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def token_texts(tokenizer: Any, ids: Iterable[int]) -> dict[int, str]:
    """Text of each distinct id, special tokens by name; a part of a character is U+FFFD.

    Each is read behind another token, since some tokenizers drop the space in front of a text's first one.
    """
    before = list(tokenizer.encode("a", add_special_tokens=False))[-1:]

    def decode(some: list[int]) -> str:
        return tokenizer.decode(some, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    start = decode(before)
    texts = {}
    for i in sorted(set(ids)):
        text = decode([*before, i])
        texts[i] = text[len(start) :] if text.startswith(start) else decode([i])
    return texts
