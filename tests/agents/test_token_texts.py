"""Texts of single tokens, also of tokenizers that drop a text's first space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsd.agents.token_texts import token_texts

VOCABULARY = ["a", " go", "<|end|>", " caf\u00e9", "\u00e9", "\n"]


class SentencePieceLike:
    """Decodes as such tokenizers do: without the first space of a text."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert (text, add_special_tokens) == ("a", False)
        return [0]

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        assert options == {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return "".join(VOCABULARY[i] for i in ids).removeprefix(" ")


def test_each_id_has_its_text_with_its_space() -> None:
    assert SentencePieceLike().decode([1], skip_special_tokens=False, clean_up_tokenization_spaces=False) == "go"
    assert token_texts(SentencePieceLike(), [3, 1, 1, 2, 5]) == {1: " go", 2: "<|end|>", 3: " caf\u00e9", 5: "\n"}
    assert token_texts(SentencePieceLike(), []) == {}
