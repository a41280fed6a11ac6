"""From a response to an action. A parse error is an outcome (`valid=False`), never an exception."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_ACTION = (re.compile(r"<(action)>", re.IGNORECASE), {"action": re.compile(r"</action>", re.IGNORECASE)})
_THINK = (re.compile(r"<(think)>", re.IGNORECASE), {"think": re.compile(r"</think>", re.IGNORECASE)})
_UNCLOSED = re.compile(r"\A\s*<think>(?!.*</think>)", re.DOTALL | re.IGNORECASE)
_BLOCK = (
    re.compile(r"<(search|answer|tool_call)>"),
    {name: re.compile(f"</{name}>") for name in ("search", "answer", "tool_call")},
)
_REACT_ACTION = re.compile(r"^[ \t]*Action:[ \t]*(\S[^\n]*)", re.MULTILINE)
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
    pairs = list(_pairs(response, *_ACTION))
    actions = [pair for pair, hidden in zip(pairs, _inside(thoughts, pairs)) if not hidden]
    span = thoughts[0].inner if thoughts else (0, 0)
    if not actions:
        start = max(0, len(response) - TAIL_CHARS, *(t.end for t in thoughts))
        return Parsed(text=response[start:].strip(), valid=False, action=(start, len(response)), thought=span)
    last = actions[-1]
    text = response[slice(*last.inner)].strip()
    valid = len(actions) == 1 and bool(thoughts) and thoughts[0].end <= last.start and bool(text)
    return Parsed(text=text, valid=valid, action=last.inner, thought=span)


def unfinished_thought(response: str) -> bool:
    """Whether the response begins with a thought that does not end."""
    return _UNCLOSED.match(response) is not None


def hide_thought(response: str) -> str:
    """`response` with the tags inside its first thought made unreadable, character by character, so that no format
    takes what a thinking model considers for what it does."""
    thoughts = _thoughts(response)
    if not thoughts:
        return response
    start, end = thoughts[0].inner
    return response[:start] + response[start:end].replace("<", "‹") + response[end:]


def parse_search(response: str) -> Parsed:
    """`<search>…</search>` or `<answer>…</answer>` (or tool calls) after the thoughts, as search QA reads them.

    The action is the text from the first block to the last, so that an environment which cuts at the first end tag
    still gets all of it; without a block it is the whole response. Blocks inside a thought are invalid, and then the
    whole response is the action too: the environment has its own rules for it.
    """
    thoughts = _thoughts(response)
    blocks = list(_pairs(response, *_BLOCK))
    hidden = any(_inside(thoughts, blocks))
    thought = thoughts[0].inner if thoughts else (0, 0)
    if not blocks or hidden:
        return Parsed(text=response.strip(), valid=False, action=(0, len(response)), thought=thought)
    start, end = blocks[0].start, blocks[-1].end
    return Parsed(text=response[start:end], valid=True, action=(start, end), thought=thought)


def parse_react(response: str) -> Parsed:
    """`Thought: …`, then `Action: one command` on a line of its own: valid with exactly one action behind a thought.

    Without an action line the last characters are the action, as in `parse_think`.
    """
    begin = thought_end(response)
    lines = list(_REACT_ACTION.finditer(response, begin))
    if not lines:
        start = max(begin, len(response) - TAIL_CHARS)
        return Parsed(text=response[start:].strip(), valid=False, action=(start, len(response)), thought=(0, begin))
    last = lines[-1]
    valid = len(lines) == 1 and bool(response[: last.start()].strip())
    return Parsed(text=last[1].strip(), valid=valid, action=last.span(1), thought=(0, last.start()))


def thought_end(response: str) -> int:
    """Where the closed thoughts of a response end; 0 without one."""
    thoughts = _thoughts(response)
    return thoughts[-1].end if thoughts else 0


def parse_compact(response: str) -> Parsed:
    """The whole response behind a thought, if there is one, is the action: valid when it is one non-empty line."""
    thoughts = _thoughts(response)
    begin, span = (thoughts[0].end, thoughts[0].inner) if thoughts else (0, (0, 0))
    text = response[begin:].strip()
    start = response.find(text, begin) if text else begin
    return Parsed(text=text, valid=bool(text) and "\n" not in text, action=(start, start + len(text)), thought=span)


class _Pair(NamedTuple):
    """An opening tag and the next closing tag of its name: half-open character ranges."""

    start: int
    end: int
    inner: tuple[int, int]


def _pairs(text: str, opening: re.Pattern[str], closing: Mapping[str, re.Pattern[str]], at: int = 0) -> Iterator[_Pair]:
    """What `<(name)>(.*?)</\\1>` finds from `at` on, one after the other, in linear time: the expression reads the text
    to its end again from every tag that nothing closes."""
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


def _thoughts(response: str) -> list[_Pair]:
    """The closed thoughts of a response. The first may lack its opening tag."""
    opening, closing = _THINK[0], _THINK[1]["think"]
    end = closing.search(response)
    if end is None:
        return []
    if opening.search(response, 0, end.start()) is not None:
        return list(_pairs(response, *_THINK))
    return [_Pair(0, end.end(), (0, end.start())), *_pairs(response, *_THINK, at=end.end())]


def _inside(thoughts: Sequence[_Pair], pairs: Sequence[_Pair]) -> list[bool]:
    """Whether each pair begins inside a thought."""
    starts = [thought.start for thought in thoughts]
    before = [bisect_right(starts, pair.start) for pair in pairs]
    return [n > 0 and pair.start < thoughts[n - 1].end for n, pair in zip(before, pairs)]


def token_span(ids: Sequence[int], chars: tuple[int, int], decode: Callable[[Sequence[int]], str]) -> tuple[int, int]:
    """Half-open range of `ids` whose decoded text overlaps the character range `chars`.

    A token that straddles a border belongs to the span. Works with any tokenizer: it compares decoded prefixes by
    bisection, so it needs O(log n) decodes, and three where the span is the whole text. A prefix that ends inside a
    character of several byte-level tokens decodes it as "�"; the character counts as decoded with its last byte.
    """
    start, end = chars
    if start >= end:
        return (0, 0)
    whole = decode(ids)

    def first_reading(length: int, beyond: int, guess: int) -> int:
        """Index of the first token with which `length` characters are read to the end, and more than `beyond` shown."""
        low, high, mid = 0, len(ids), guess
        while low < high:
            text = whole if mid + 1 == len(ids) else decode(ids[: mid + 1])
            if len(text) > beyond and text.startswith(whole[:length]):
                high = mid
            else:
                low = mid + 1
            mid = (low + high) // 2
        return low

    middle, last_but_one = len(ids) // 2, max(0, len(ids) - 2)
    begin = first_reading(start, start, middle if start else 0)
    stop = min(len(ids), first_reading(end, end - 1, middle if end < len(whole) else last_but_one) + 1)
    return (begin, stop) if stop > begin else (0, 0)
