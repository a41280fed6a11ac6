"""From a response to an action. A parse error is an outcome (`valid=False`), never an exception."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL | re.IGNORECASE)
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL | re.IGNORECASE)
_BLOCK = re.compile(r"<(search|answer|tool_call)>.*?</\1>", re.DOTALL)
TAIL_CHARS = 30
"""Without action tags the environment receives these last characters, as is standard; the turn counts as invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A parsed response. Spans are half-open character ranges of the response."""

    text: str
    valid: bool
    action: tuple[int, int]
    thought: tuple[int, int] = (0, 0)


def parse_think(response: str) -> Parsed:
    """`<think>…</think><action>…</action>`: valid with exactly one action pair and a thought before it."""
    thought = _THINK.search(response)
    actions = list(_ACTION.finditer(response))
    thought_span = thought.span(1) if thought else (0, 0)
    if not actions:
        start = max(0, len(response) - TAIL_CHARS)
        return Parsed(text=response[start:].strip(), valid=False, action=(start, len(response)), thought=thought_span)
    last = actions[-1]
    valid = len(actions) == 1 and thought is not None and thought.end() <= last.start() and bool(last[1].strip())
    return Parsed(text=last[1].strip(), valid=valid, action=last.span(1), thought=thought_span)


def parse_search(response: str) -> Parsed:
    """`<search>…</search>` or `<answer>…</answer>` (or tool calls) after the thoughts, as search QA reads them.

    The action is the text from the first block to the last, so that an environment which cuts at the first end tag
    still gets all of it; without a block it is the whole response. Blocks inside a thought are invalid, and then the
    whole response is the action too: the environment has its own rules for it.
    """
    thoughts = list(_THINK.finditer(response))
    blocks = list(_BLOCK.finditer(response))
    hidden = [m for m in blocks if any(t.start() <= m.start() < t.end() for t in thoughts)]
    thought = thoughts[0].span(1) if thoughts else (0, 0)
    if not blocks or hidden:
        return Parsed(text=response.strip(), valid=False, action=(0, len(response)), thought=thought)
    start, end = blocks[0].start(), blocks[-1].end()
    return Parsed(text=response[start:end], valid=True, action=(start, end), thought=thought)


def parse_compact(response: str) -> Parsed:
    """The whole response is the action: valid when it is one non-empty line."""
    text = response.strip()
    start = response.find(text) if text else 0
    return Parsed(text=text, valid=bool(text) and "\n" not in text, action=(start, start + len(text)))


def token_span(ids: Sequence[int], chars: tuple[int, int], decode: Callable[[Sequence[int]], str]) -> tuple[int, int]:
    """Half-open range of `ids` whose decoded text overlaps the character range `chars`.

    A token that straddles a border belongs to the span. Works with any tokenizer: it compares decoded prefixes by
    bisection, so it needs O(log n) decodes. A prefix that ends inside a character of several byte-level tokens decodes
    it as "�"; the character counts as decoded with its last byte.
    """
    start, end = chars
    if start >= end:
        return (0, 0)
    whole = decode(ids)

    def first_reading(length: int, beyond: int) -> int:
        """Index of the first token with which `length` characters are read to the end, and more than `beyond` shown."""
        low, high = 0, len(ids)
        while low < high:
            mid = (low + high) // 2
            text = decode(ids[: mid + 1])
            if len(text) > beyond and text.startswith(whole[:length]):
                high = mid
            else:
                low = mid + 1
        return low

    begin, stop = first_reading(start, start), min(len(ids), first_reading(end, end - 1) + 1)
    return (begin, stop) if stop > begin else (0, 0)
