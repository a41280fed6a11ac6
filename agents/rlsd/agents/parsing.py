"""From a response to an action. A parse error is an outcome (`valid=False`), never an exception."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL | re.IGNORECASE)
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL | re.IGNORECASE)
_UNOPENED = re.compile(r"\A((?:(?!<think>).)*?)</think>", re.DOTALL | re.IGNORECASE)
_UNCLOSED = re.compile(r"\A\s*<think>(?!.*</think>)", re.DOTALL | re.IGNORECASE)
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
    """`<think>…</think><action>…</action>`: valid with exactly one action pair, and a thought before it.

    What stands inside a thought is no action. The first thought's opening tag may be missing: some chat templates write
    it at the end of the prompt.
    """
    thoughts = _thoughts(response)
    actions = [m for m in _ACTION.finditer(response) if not any(t.start() <= m.start() < t.end() for t in thoughts)]
    span = thoughts[0].span(1) if thoughts else (0, 0)
    if not actions:
        start = max(0, len(response) - TAIL_CHARS, *(t.end() for t in thoughts))
        return Parsed(text=response[start:].strip(), valid=False, action=(start, len(response)), thought=span)
    last = actions[-1]
    valid = len(actions) == 1 and bool(thoughts) and thoughts[0].end() <= last.start() and bool(last[1].strip())
    return Parsed(text=last[1].strip(), valid=valid, action=last.span(1), thought=span)


def _thoughts(response: str) -> list[re.Match[str]]:
    """The closed thoughts of a response; group 1 is a thought's text. The first may lack its opening tag."""
    first = _UNOPENED.match(response)
    return [*([first] if first else []), *_THINK.finditer(response, first.end() if first else 0)]


def unfinished_thought(response: str) -> bool:
    """Whether the response begins with a thought that does not end."""
    return _UNCLOSED.match(response) is not None


def hide_thought(response: str) -> str:
    """`response` with the tags inside its first thought made unreadable, character by character, so that no format
    takes what a thinking model considers for what it does."""
    thoughts = _thoughts(response)
    if not thoughts:
        return response
    start, end = thoughts[0].span(1)
    return response[:start] + response[start:end].replace("<", "‹") + response[end:]


def parse_search(response: str) -> Parsed:
    """`<search>…</search>` or `<answer>…</answer>` (or tool calls) after the thoughts, as search QA reads them.

    The action is the text from the first block to the last, so that an environment which cuts at the first end tag
    still gets all of it; without a block it is the whole response. Blocks inside a thought are invalid, and then the
    whole response is the action too: the environment has its own rules for it.
    """
    thoughts = _thoughts(response)
    blocks = list(_BLOCK.finditer(response))
    hidden = [m for m in blocks if any(t.start() <= m.start() < t.end() for t in thoughts)]
    thought = thoughts[0].span(1) if thoughts else (0, 0)
    if not blocks or hidden:
        return Parsed(text=response.strip(), valid=False, action=(0, len(response)), thought=thought)
    start, end = blocks[0].start(), blocks[-1].end()
    return Parsed(text=response[start:end], valid=True, action=(start, end), thought=thought)


def parse_compact(response: str) -> Parsed:
    """The whole response behind a thought, if there is one, is the action: valid when it is one non-empty line."""
    thoughts = _thoughts(response)
    begin, span = (thoughts[0].end(), thoughts[0].span(1)) if thoughts else (0, (0, 0))
    text = response[begin:].strip()
    start = response.find(text, begin) if text else begin
    return Parsed(text=text, valid=bool(text) and "\n" not in text, action=(start, start + len(text)), thought=span)


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
