"""Response formats: what a model is asked to write, how its responses are read, and how an action is written as one.

A format of your own is a `ResponseFormat` in a module, named `agent.format: module:NAME` (docs/extending.md).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rlsd.agents.parsing import Parsed, parse_compact, parse_search, parse_think
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import RlsdError, closest

AUTO = "auto"
"""Stands for the environment's own format, else `DEFAULT`."""
DEFAULT = "think"
NOTES = "\n\nNotes from looking back at this episode. Use them to judge; answer in your own words as before."


class FormatError(RlsdError):
    """A response format or prompt file that does not exist, is not one, or that the environment cannot use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """One way to respond.

    Example:
        >>> format = FORMATS["think"]
        >>> format.wrap("look")
        '<think>Next: look.</think><action>look</action>'
        >>> format.parse("<think>Next: look.</think><action>look</action>").text
        'look'
    """

    name: str
    summary: str
    """What a response looks like, in one line."""
    parse: Callable[[str], Parsed]
    """From a response to its action. Never raises: a response that breaks the format is `valid=False`. A thinking
    model's thought stands between `<think>` and `</think>` with every "<" in it as "‹", whatever its own marks are."""
    wrap: Callable[[str], str]
    """The response a policy of this format would have written for an action (warm starts); `parse` reads it back."""
    instructions: str = ""
    """Text before everything else in the first message; "": no instructions."""
    lists_commands: bool = False
    """With `memory: last`, list the commands that the environment accepts now, if it knows them."""
    hindsight_preface: str = NOTES
    """Text before the hindsight that the teacher reads; "" for small models that were trained without one."""


def _wrap_think(action: str) -> str:
    return f"<think>Next: {action}.</think><action>{action}</action>"


def _wrap_search(action: str) -> str:
    """Actions of search QA contain their own tags."""
    last = action.startswith(("<answer>", '<tool_call>{"name": "answer"'))
    return f"<think>{'I know the answer.' if last else 'I have to look.'}</think>{action}"


def _wrap_compact(action: str) -> str:
    return action


_SHIPPED = (
    ResponseFormat(
        name="think",
        summary="<think>…</think><action>one command</action>",
        parse=parse_think,
        wrap=_wrap_think,
        instructions=(
            "You control an agent in a text world. Each turn, think about the task inside <think> </think>, "
            "then give exactly one command inside <action> </action>."
        ),
        lists_commands=True,
    ),
    ResponseFormat(
        name="compact",
        summary="the response is the action: one line, no instructions (small models)",
        parse=parse_compact,
        wrap=_wrap_compact,
        hindsight_preface="",
    ),
    ResponseFormat(
        name="search",
        summary="<think>…</think>, then <search>…</search> or <answer>…</answer>",
        parse=parse_search,
        wrap=_wrap_search,
        instructions=(
            "Answer the question below. Each turn, first reason inside <think> </think>. If something is still "
            "missing, put one short query inside <search> </search>; the best passages come back inside <information> "
            "</information>, and you may search again. As soon as you know the answer, put it inside <answer> "
            "</answer>: a name, a date, a number or a few words, with no explanation."
        ),
    ),
    ResponseFormat(
        name="tool",
        summary="<think>…</think>, then a search or an answer as JSON in <tool_call>…</tool_call>",
        parse=parse_search,
        wrap=_wrap_search,
        instructions=(
            "Answer the question below with the help of two tools. Each turn, first reason inside <think> </think>, "
            "then call one tool as JSON inside <tool_call> </tool_call>.\n"
            'To search: {"name": "search", "arguments": {"query": "a short query"}}. The best passages come back '
            "inside <tool_response> </tool_response>, and you may search again.\n"
            'To answer: {"name": "answer", "arguments": {"answer": "a name, a date, a number or a few words"}}.'
        ),
    ),
    ResponseFormat(
        name="shop",
        summary="<think>…</think><action>search[words] or click[label]</action>",
        parse=parse_think,
        wrap=_wrap_think,
        instructions=(
            "You shop online for a customer. Find a product that fits the instruction in kind, attributes, options "
            "and price, choose its options, and buy it; buying ends the task. Each turn, first reason inside <think> "
            "</think>, then give exactly one action inside <action> </action>: search[words] to search the shop, or "
            "click[label] with the label of a button, a product id or an option on the page, as in click[buy now]."
        ),
        lists_commands=True,
    ),
)
FORMATS: dict[str, ResponseFormat] = {format.name: format for format in _SHIPPED}


def find_format(name: str) -> ResponseFormat:
    """The shipped format `name`, or the one that `module:NAME` names; modules in the working directory are found too.

    Raises:
        FormatError: an unknown name (the message has the closest), a module that cannot be imported, or not a format.
    """
    if name in FORMATS:
        return FORMATS[name]
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise FormatError(f"unknown response format {name!r}{closest(name, FORMATS)} Name your own as module:NAME.")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # the installed `rlsd` command starts without it
    try:
        members = vars(importlib.import_module(module))
    except Exception as error:  # whatever a foreign module does when it is imported
        raise FormatError(
            f"response format {name!r}: cannot import {module!r}: {type(error).__name__}: {error}"
        ) from error
    if attribute not in members:
        own = [key for key, value in members.items() if isinstance(value, ResponseFormat)]
        raise FormatError(f"response format {name!r}: {module} has no {attribute!r}{closest(attribute, own)}")
    format = members[attribute]
    if not isinstance(format, ResponseFormat):
        raise FormatError(f"response format {name!r} is a {type(format).__name__}, expected a ResponseFormat")
    return format


def format_for(name: str, env: TextEnv, *, env_id: str) -> str:
    """The name of a format for `env`: `name` itself, or for "auto" the environment's own, else "think".

    A format from a module is the user's responsibility; a shipped one must be among `env.accepts_formats`.

    Raises:
        FormatError: no such format, or one that the environment cannot use.
    """
    chosen = (env.response_format or DEFAULT) if name == AUTO else name
    find_format(chosen)
    accepted = env.accepts_formats
    if accepted is not None and chosen in FORMATS and chosen not in accepted:
        raise FormatError(
            f"{env_id} cannot use agent.format={chosen}; it reads {', '.join(accepted)}: "
            f"set agent.format={env.response_format or accepted[0]}, or name your own format as module:NAME"
        )
    return chosen
