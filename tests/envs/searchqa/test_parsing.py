"""What an agent says, read: tags, tool calls, faults, and text nobody should write."""

from __future__ import annotations

import json
import random

import pytest

from rlsd.envs.searchqa.parsing import PROTOCOLS, parse


def call(name: str, **arguments: object) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


@pytest.mark.parametrize(
    "said, queries",
    [
        ("<search>who</search>", ["who"]),
        ("<think>hm</think>\n<search> who is it </search>\n", ["who is it"]),
        ("<search>a</search><search>b</search>", ["a", "b"]),
        ("<search>two\nlines</search>", ["two\nlines"]),
        ("hidden </think><search>a</search>", ["a"]),
        ("<think>I could <answer>x</answer></think><search>a</search>", ["a"]),
        ("<think>a</think><search>a</search><think>b</think><search>b</search>", ["a", "b"]),
        (call("search", query="a"), ["a"]),
        (call("search", queries=["a", "b"]), ["a", "b"]),
        (call("search", query="a") + call("search", query="b"), ["a", "b"]),
        (call("search", query="a") + "<search>b</search>", ["a", "b"]),
        ('{"name": "search", "arguments": {"query": "a"}}', ["a"]),
        ('<tool_call>{"name": "search", "arguments": "{\\"query\\": \\"a\\"}"}</tool_call>', ["a"]),
        ('<tool_call>{"name": "search", "parameters": {"query": "a"}}</tool_call>', ["a"]),
        ("<search>1 < 2 and <b>bold</b></search>", ["1 < 2 and <b>bold</b>"]),
    ],
)
def test_searches(said: str, queries: list[str]) -> None:
    move = parse(said)
    assert (list(move.queries), move.answer, move.fault) == (queries, None, "")


@pytest.mark.parametrize(
    "said, answer",
    [
        ("<answer>Paris</answer>", "Paris"),
        ("<think>so</think> It is <answer> Paris, France </answer>.", "Paris, France"),
        ("<think>no <search>x</search></think><answer>Paris</answer>", "Paris"),
        (call("answer", answer="Paris"), "Paris"),
        (call("answer", text="Paris"), "Paris"),
        ('{"name": "answer", "arguments": {"answer": "Paris"}}', "Paris"),
    ],
)
def test_answers(said: str, answer: str) -> None:
    move = parse(said)
    assert (move.queries, move.answer, move.fault) == ((), answer, "")


@pytest.mark.parametrize(
    "said, fault",
    [
        ("", "no search and no answer"),
        ("I do not know", "no search and no answer"),
        ("<think><answer>x</answer></think>", "no search and no answer"),
        ("<think>never closed <answer>x</answer>", "no search and no answer"),
        ("<SEARCH>x</SEARCH>", "no search and no answer"),
        ("<search>a</search><answer>b</answer>", "a search and an answer"),
        ("<answer>a</answer><search>b</search>", "a search and an answer"),
        (call("search", query="a") + "<answer>b</answer>", "a search and an answer"),
        ("<answer>a</answer><answer>a</answer>", "2 answers"),
        ("<search>a", "<search> is not closed"),
        ("a</search>", "</search> stands where it cannot"),
        ("<search>a<answer>b</answer></search>", "<answer> stands where it cannot"),
        ("<search>a</answer>", "</answer> stands where it cannot"),
        ("<search></search>", "an empty search"),
        ("<answer>  </answer>", "an empty search or answer"),
        ("<search>a</search>" * 4, "4 searches in one turn, at most 3"),
        (f"<search>{'a' * 513}</search>", "a query of 513 characters"),
        ("<search>a</search><information>Doc 1(Title: x) y</information>", "<information> block of its own"),
        ("</information><answer>x</answer>", "<information> block of its own"),
        ("<tool_response>x</tool_response><answer>x</answer>", "<tool_response> block of its own"),
        ("<tool_call>no json</tool_call>", "not JSON"),
        ("<tool_call>[1]</tool_call>", 'needs a "name"'),
        (call("fly", query="a"), 'needs a "name"'),
        (call("search"), 'needs a text argument "query"'),
        (call("search", query=3), 'needs a text argument "query"'),
        (call("search", queries=[]), 'needs a text argument "query"'),
        (call("answer", answer=["a"]), 'needs a text argument "answer"'),
        ('<tool_call>{"name": "search", "arguments": "{"}</tool_call>', "arguments of the tool call are not JSON"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "nested too deeply"),
        ('<tool_call>{"name": "search", "arguments": {"query": "<answer>x</answer>"}}</tool_call>', "<answer> stands"),
    ],
)
def test_faults(said: str, fault: str) -> None:
    move = parse(said)
    assert not move.valid
    assert (move.queries, move.answer) == ((), None)
    assert fault in move.fault


def test_limits_are_arguments() -> None:
    assert parse("<search>a</search>" * 4, max_queries=4).valid
    assert not parse("<search>abc</search>", max_query_chars=2).valid


PIECES = (
    "<search>", "</search>", "<answer>", "</answer>", "<think>", "</think>", "<information>", "</information>",
    "<tool_call>", "</tool_call>", "<tool_response>", '{"name": "search", "arguments": {"query": "q"}}', '{"name":',
    "{", "}", "[", '"', "\\", "<", ">", "</", " ", "\n", "\x00", "\ud800", "é中🙂", "a" * 50, "<|im_end|>", "\u202e",
)  # fmt: skip


def random_output(draw: random.Random) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 20)))


def fuzz(count: int, seed: int) -> None:
    draw = random.Random(seed)
    kinds = {"queries": 0, "answer": 0, "fault": 0}
    for _ in range(count):
        text = random_output(draw)
        for protocol in PROTOCOLS:
            move = parse(text, protocol)
            said = [bool(move.queries), move.answer is not None, bool(move.fault)]
            assert sum(said) == 1, (text, move)
            kinds[("queries", "answer", "fault")[said.index(True)]] += 1
    assert min(kinds.values()) > count // 500, kinds


def test_fuzz() -> None:
    """One hundredth of the long run below."""
    fuzz(10_000, seed=1)


@pytest.mark.slow
def test_fuzz_a_million() -> None:
    fuzz(1_000_000, seed=2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("piece", ["<search>", "<answer>", "</search>", "<think>", "</think>", "<tool_call>{"])
def test_long_outputs_take_linear_time(piece: str, protocol: str) -> None:
    """A quadratic reader would need hours for this."""
    text = piece * (1_000_000 // len(piece))
    assert not parse(text, protocol).valid or protocol == "search-r1"  # type: ignore[arg-type]
    parse(text + "</answer>", protocol)  # type: ignore[arg-type]
