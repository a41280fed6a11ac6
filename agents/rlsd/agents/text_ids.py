"""Text to ids and back: the template's control tokens as such, everybody else's text as plain text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rlsd.agents.harmony import read_channels, speaks_in_channels
from rlsd.agents.template import THOUGHT_TAGS

GUARD, HIDE = "\ue002", "\ue003"
"""Private-use characters set inside a name: GUARD keeps it plain text, HIDE only keeps the template from seeing it."""
_CACHED_CHARS = 1024
"""Longer texts (whole prompts) rarely repeat, so caching their ids would waste memory."""
_READ_BY_FORMATS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", *(
    f"<{slash}{name}>" for name in ("action", "search", "answer") for slash in ("", "/")
))  # fmt: skip
_ANCHORS = ("\n", ":", "]", ".", "0", "a")


class TextIds:
    """Encodes and decodes with one tokenizer.

    Args:
        tokenizer: a fast transformers tokenizer.
        control: names of the tokens that are structure, by id.
    """

    def __init__(self, tokenizer: Any, control: Mapping[int, str]) -> None:
        self._tokenizer = tokenizer
        self.control = dict(control)
        special = {i: t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        names = {*self.control.values(), *(n for i, n in special.items() if i != tokenizer.unk_token_id and len(n) > 1)}
        ordered = sorted(names, key=len, reverse=True) or ["\0\0"]
        self._names = re.compile("|".join(map(re.escape, ordered)))
        self._guarded = re.compile("(" + "|".join(re.escape(n[0] + GUARD + n[1:]) for n in ordered) + ")")
        self._tags = {i: THOUGHT_TAGS[n] for i, n in self.control.items() if n in THOUGHT_TAGS}
        shown = {i: n for i, n in special.items() if n in _READ_BY_FORMATS}
        """Special tokens that response formats read, so decoding must not drop them."""
        self.markers: dict[int, str] = {**{i: self.control[i] for i in self._tags}, **shown} | {
            i: n for i, n in self.control.items() if i not in special
        }
        """Names of the control tokens that are part of a response's text."""
        self.native = {THOUGHT_TAGS.get(n, n): n for n in self.markers.values()}
        """Names of the model's own tokens by the tag that response formats read."""
        self._replaced = {**shown, **{i: t for i, t in self._tags.items() if i in special or t != self.control[i]}}
        self.channels = speaks_in_channels(self.control)
        """Whether the model marks thoughts by channels (gpt-oss)."""
        self._cache: dict[tuple[str, bool, int], tuple[int, ...]] = {}
        self._anchors = self._find_anchors()

    def encode(self, text: str, *, special: bool = False, after: int | None = None) -> tuple[int, ...]:
        """Ids of `text`.

        Args:
            special: whether names of control tokens in `text` stand for them; else they stay plain text.
            after: the id before, which decides whether SentencePiece-like tokenizers put a space in front.
        """
        place = 0 if after is None or self._anchors is None else 1 + (after not in self.control)
        key = (text, special, place)
        ids = self._cache.get(key)
        if ids is None:
            ids = self._place(text, place, split=False) if special else self._plain(text, place)
            if len(text) <= _CACHED_CHARS:
                if len(self._cache) > 50_000:
                    self._cache.clear()
                self._cache[key] = ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, spaces untouched. Special tokens are left out, except tags that response formats read; every
        family's marks of a thought read as `<think>` and `</think>`."""
        if self.channels:
            return read_channels(ids, self.control, self._text)
        if self._replaced.keys().isdisjoint(ids):
            return self._text(ids)
        text, start = "", 0
        for i, token in enumerate(ids):
            if token in self._replaced:
                text += self._text(ids[start:i]) + self._replaced[token]
                start = i + 1
        return text + self._text(ids[start:])

    def guard(self, text: str) -> str:
        """`text` with every control token's name split by a mark, to distinguish it from the template's own."""
        return self._names.sub(lambda m: split(m[0], GUARD), text)

    def encode_guarded(self, rendered: str, *, after: int | None = None) -> list[int]:
        """Ids of a rendering; names that `guard` split come from messages and stay plain text."""
        ids: list[int] = []
        for i, part in enumerate(self._guarded.split(rendered.replace(HIDE, ""))):
            if part := part.replace(GUARD, ""):
                last = ids[-1] if ids else after
                ids += self.encode(part, after=last) if i % 2 else self._named(part, after=last)
        return ids

    def _named(self, text: str, *, after: int | None) -> Sequence[int]:
        """Ids of a text with its control tokens; those that only normalisation makes of it stay plain."""
        ids = self.encode(text, special=True, after=after)
        if sum(i in self.control for i in ids) <= sum(1 for _ in self._names.finditer(text)):
            return ids
        out: list[int] = []
        for i, part in enumerate(re.split(f"({self._names.pattern})", text)):
            out += self.encode(part, special=i % 2 == 1, after=out[-1] if out else after) if part else ()
        return out

    def marked(self, ids: Sequence[int], mark: str = "") -> str:
        """Text of a response for a rendering: control tokens by name, split by `mark`; the same names in its text
        guarded."""
        text, done = "", ""
        for i, token in enumerate(ids):
            if token in self.markers:
                seen = self._text(ids[:i])
                text += self.guard(seen[len(done) :]) + split(self.markers[token], mark)
                done = self._text(ids[: i + 1])
        return text + self.guard(self._text(ids)[len(done) :])

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _tokenize(self, text: str, *, split: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False, split_special_tokens=split)["input_ids"])

    def _place(self, text: str, place: int, *, split: bool) -> tuple[int, ...]:
        """Ids of `text` at the start (0), after a control token (1) or after other text (2)."""
        if place and self._anchors is not None:
            for anchor in self._anchors[place - 1]:
                before = self._tokenize(anchor, split=False)
                ids = self._tokenize(anchor + text, split=split)
                if ids[: len(before)] == before:  # else the two have grown together
                    return ids[len(before) :]
        return self._tokenize(text, split=split)

    def _plain(self, text: str, place: int) -> tuple[int, ...]:
        """Ids of `text` without any control token."""
        if place != 1:
            ids = self._place(text, place, split=True)
            if self.control.keys().isdisjoint(ids):
                return ids
        out: list[int] = []
        for i, piece in enumerate(self.guard(text).split(GUARD)):
            out += self._without_control(piece, place if i == 0 or self._anchors is None else 2)
        return tuple(out)

    def _without_control(self, piece: str, place: int) -> tuple[int, ...]:
        """Ids of a text that names no control token. Normalisation may still make one of it: then in halves."""
        ids = self._place(piece, place, split=False)
        if self.control.keys().isdisjoint(ids):
            return ids
        if len(piece) < 2:
            return ()
        half, later = len(piece) // 2, 0 if self._anchors is None else 2
        return (*self._without_control(piece[:half], place), *self._without_control(piece[half:], later))

    def _find_anchors(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Texts that stand for a control token and for other text before a piece; None for tokenizers that encode a
        text alike wherever it stands."""
        control = [n for n in self.control.values() if len(self._tokenize(n, split=False)) == 1]
        self._anchors = (tuple(control[:1]) or _ANCHORS, _ANCHORS)
        sample = "ab ba"
        alone = self._tokenize(sample, split=False)
        return None if alone == self._place(sample, 2, split=False) else self._anchors


def split(name: str, mark: str) -> str:
    """`name` with `mark` behind its first character."""
    return name[0] + mark + name[1:]


def without_marks(text: str, marks: Collection[str]) -> str:
    return text.translate({ord(c): None for c in marks})
