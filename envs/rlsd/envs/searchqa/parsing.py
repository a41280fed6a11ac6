"""Parses an agent's turn. Linear in the length of the text; never raises.

Three equivalent forms:

    <search>query</search>                    <answer>text</answer>
    <tool_call>{"name": "search", "arguments": {"query": "…"}}</tool_call>      (name "answer", argument "answer")
    {"name": "search", …} alone, as tool-calling endpoints return it
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Protocol = Literal["rlsd", "search-r1"]
PROTOCOLS: tuple[Protocol, ...] = ("rlsd", "search-r1")
TAGS = ("search", "answer", "information", "think", "tool_call", "tool_response")
"""Reserved tag names; retrieved text may not contain them as tags."""

_UPSTREAM = re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(r"<(/?)(search|answer|information|tool_call|tool_response)>")
_THINK = re.compile(r"</?think>")
_TOOLS = {"search": ("query", "queries"), "answer": ("answer", "text")}
_DEEPEST_JSON = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The content of one turn: queries, or an answer, or a `fault` that says why it is invalid."""

    queries: tuple[str, ...] = ()
    answer: str | None = None
    fault: str = ""

    @property
    def valid(self) -> bool:
        return not self.fault


def parse(text: str, protocol: Protocol = "rlsd", *, max_queries: int = 3, max_query_chars: int = 512) -> Move:
    """Read one turn.

    `search-r1`: the first closed search or answer pair, anywhere in the text, which was cut at the first
    `</search>`, else at the first `</answer>`; everything else is ignored.

    `rlsd` is stricter: only blocks outside `<think>` count; a search and an answer in one turn (the answer was written
    before the results were read), two answers, an unclosed or crossed block, and an information block written by the
    agent are faults; all searches of one turn are executed, up to `max_queries`.

    Args:
        text: the whole response, or the part a parser extracted.
        max_queries: maximum searches per turn (`rlsd`).
        max_query_chars: maximum length of a query (`rlsd`).
    """
    if protocol == "search-r1":
        return _parse_upstream(text)
    blocks = list(_blocks(_spoken(text)))
    if not blocks and text.lstrip().startswith("{"):
        blocks = [("tool_call", text)]
    calls: list[tuple[str, str]] = []
    for tag, content in blocks:
        if tag == "fault":
            return Move(fault=content)
        if tag == "tool_call":
            read = _tool(content)
            if isinstance(read, str):
                return Move(fault=read)
            calls += read
        else:
            calls.append((tag, content.strip()))
    queries = tuple(content for tag, content in calls if tag == "search")
    answers = [content for tag, content in calls if tag == "answer"]
    fault = _fault(queries, answers, max_queries, max_query_chars)
    if fault:
        return Move(fault=fault)
    return Move(answer=answers[0]) if answers else Move(queries=queries)


def _parse_upstream(text: str) -> Move:
    for end in ("</search>", "</answer>"):
        if end in text:
            text = text.partition(end)[0] + end
            break
    else:
        return Move(fault="no search and no answer")  # no closing tag: nothing can match
    match = _first_upstream(text)
    if match is None:
        return Move(fault="no search and no answer")
    tag, content = match
    return Move(answer=content) if tag == "answer" else Move(queries=(content,))


def _first_upstream(text: str) -> tuple[str, str] | None:
    """The match of `_UPSTREAM.search`, in linear time (the expression rescans the text from every open tag)."""
    ends = {tag: text.rfind(f"</{tag}>") for tag in ("search", "answer")}
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        if ends[opening[1]] >= opening.end():
            match = _UPSTREAM.match(text, opening.start())
            assert match is not None
            return match[1], match[2].strip()
        at = opening.end()
    return None


_OPENING = re.compile(r"<(search|answer)>")


def _spoken(text: str) -> str:
    """The text without its thoughts; an unclosed thought hides everything after it."""
    parts, start, thinking = [], 0, False
    for tag in _THINK.finditer(text):
        opens = tag[0] == "<think>"
        if opens and not thinking:
            parts.append(text[start : tag.start()])
            thinking = True
        elif not opens:
            if not thinking:
                parts.clear()  # the template opened the thought in the prompt
            start, thinking = tag.end(), False
    if not thinking:
        parts.append(text[start:])
    return " ".join(parts)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(tag, content) of every block in order; ("fault", why) for unpaired tags."""
    open_tag, start = "", 0
    for tag in _TAG.finditer(text):
        closes, name = bool(tag[1]), tag[2]
        if name in ("information", "tool_response"):
            yield "fault", f"the agent wrote a <{name}> block of its own"
            return
        if closes != bool(open_tag) or (closes and name != open_tag):
            yield "fault", f"<{tag[1]}{name}> stands where it cannot"
            return
        if closes:
            yield name, text[start : tag.start()]
        open_tag, start = "" if closes else name, tag.end()
    if open_tag:
        yield "fault", f"<{open_tag}> is not closed"


def _tool(content: str) -> list[tuple[str, str]] | str:
    """The calls of one tool block, or a text that says what is wrong with it."""
    if content.count("{") + content.count("[") > _DEEPEST_JSON:
        return "the tool call is nested too deeply"
    try:
        call: Any = json.loads(content)
    except (ValueError, RecursionError):
        return "the tool call is not JSON"
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or name not in _TOOLS:
        return 'a tool call needs a "name": search or answer'
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):  # OpenAI's spelling: JSON within JSON
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return "the arguments of the tool call are not JSON"
    value = next((arguments[k] for k in _TOOLS[name] if k in arguments), None) if isinstance(arguments, dict) else None
    texts: list[Any] = value if isinstance(value, list) and name == "search" else [value]
    if not texts or not all(isinstance(t, str) for t in texts):
        return f'the tool call {name} needs a text argument "{_TOOLS[name][0]}"'
    return [(name, t.strip()) for t in texts]


def _fault(queries: tuple[str, ...], answers: list[str], max_queries: int, max_query_chars: int) -> str:
    if not queries and not answers:
        return "no search and no answer"
    if queries and answers:
        return "a search and an answer in one turn"
    if len(answers) > 1:
        return f"{len(answers)} answers in one turn"
    if len(queries) > max_queries:
        return f"{len(queries)} searches in one turn, at most {max_queries} are done"
    if any(not q for q in queries) or any(not a for a in answers):
        return "an empty search or answer"
    longest = max((len(q) for q in queries), default=0)
    if longest > max_query_chars:
        return f"a query of {longest} characters, at most {max_query_chars} are sent"
    return ""
