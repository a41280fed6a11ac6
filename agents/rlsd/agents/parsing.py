"""From a response to an action. A parse error is an outcome (`valid=False`), never an exception."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_ACTION = (re.compile(r"<(action)>", re.IGNORECASE), {"action": re.compile(r"</action>", re.IGNORECASE)})
_THINK = (re.compile(r"<(think)>", re.IGNORECASE), {"think": re.compile(r"</think>", re.IGNORECASE)})
_BLOCK = (
    re.compile(r"<(search|answer|tool_call)>"),
    {name: re.compile(f"</{name}>") for name in ("search", "answer", "tool_call")},
)
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
    thought = next(_pairs(response, *_THINK), None)
    actions = list(_pairs(response, *_ACTION))
    thought_span = thought.inner if thought else (0, 0)
    if not actions:
        start = max(0, len(response) - TAIL_CHARS)
        return Parsed(text=response[start:].strip(), valid=False, action=(start, len(response)), thought=thought_span)
    last = actions[-1]
    text = response[slice(*last.inner)].strip()
    valid = len(actions) == 1 and thought is not None and thought.end <= last.start and bool(text)
    return Parsed(text=text, valid=valid, action=last.inner, thought=thought_span)


def parse_search(response: str) -> Parsed:
    """`<search>…</search>` or `<answer>…</answer>` (or tool calls) after the thoughts, as search QA reads them.

    The action is the text from the first block to the last, so that an environment which cuts at the first end tag
    still gets all of it; without a block it is the whole response. Blocks inside a thought are invalid, and then the
    whole response is the action too: the environment has its own rules for it.
    """
    thoughts = list(_pairs(response, *_THINK))
    blocks = list(_pairs(response, *_BLOCK))
    starts = [t.start for t in thoughts]
    before = [bisect_right(starts, block.start) for block in blocks]
    hidden = any(n and block.start < thoughts[n - 1].end for n, block in zip(before, blocks))
    thought = thoughts[0].inner if thoughts else (0, 0)
    if not blocks or hidden:
        return Parsed(text=response.strip(), valid=False, action=(0, len(response)), thought=thought)
    start, end = blocks[0].start, blocks[-1].end
    return Parsed(text=response[start:end], valid=True, action=(start, end), thought=thought)


def parse_compact(response: str) -> Parsed:
    """The whole response is the action: valid when it is one non-empty line."""
    text = response.strip()
    start = response.find(text) if text else 0
    return Parsed(text=text, valid=bool(text) and "\n" not in text, action=(start, start + len(text)))


class _Pair(NamedTuple):
    """An opening tag and the next closing tag of its name: half-open character ranges."""

    start: int
    end: int
    inner: tuple[int, int]


def _pairs(text: str, opening: re.Pattern[str], closing: Mapping[str, re.Pattern[str]]) -> Iterator[_Pair]:
    """What `<(name)>(.*?)</\\1>` finds one after the other, in linear time: the expression reads the text to its end
    again from every tag that nothing closes."""
    at = 0
    left = dict(closing)  # names of which a closing tag may follow
    while left and (tag := opening.search(text, at)) is not None:
        name = tag[1] if len(closing) > 1 else next(iter(closing))
        close = left[name].search(text, tag.end()) if name in left else None
        if close is None:
            left.pop(name, None)
            at = tag.end()
        else:
            yield _Pair(tag.start(), close.end(), (tag.end(), close.start()))
            at = close.end()


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
