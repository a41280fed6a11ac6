"""Kept episodes as the pages show them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from rlsd.envs.hiding import hidden
from rlsd.harness.runs.rundir import RunError, write_atomic

HINTS = ("plan", "missing", "whereabouts", "demonstration", "answer", "feedback", "distance")
"""Fields of hindsight in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn as the page shows it."""

    observation: str
    response: str
    action: str
    next_observation: str
    valid: bool
    format_ok: bool
    reward: float
    credit: float
    bar: float
    """Width of the credit's bar in percent of the largest shown, with its sign."""
    share: float | None
    """Credit over the episode's mean: what hindsight made of it; None where that is 0."""
    hindsight: Sequence[tuple[str, str]]
    tokens: int
    """Of the response."""
    prompt: Sequence[tuple[str, str]] = ()
    """Role and text of the messages that a chat endpoint was sent, those of earlier turns left out."""
    spent: str = ""
    """Tokens and seconds of the turn, of an agent that gets no credit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    goal: str
    task_id: str
    task_type: str
    sibling: int
    won: bool
    score: float
    stop: str
    failure: str
    """What the environment did wrong; "" if nothing."""
    turns: Sequence[Turn]


def template(name: str) -> Any:
    """A page of this package; what it shows is escaped."""
    pages = Environment(loader=PackageLoader("rlsd.harness.report", "pages"), autoescape=True, trim_blocks=True)
    pages.filters["percent"] = lambda x: f"{100 * x:.1f} %"
    pages.filters["number"] = _number
    return pages.get_template(name)


def write_page(place: Path, page: str) -> Path:
    """Write a page without secrets, and the folders above it.

    Raises:
        RunError: it cannot be written there.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, hidden(page))
    except OSError as error:
        raise RunError(f"cannot write {place}: {error.strerror}") from error
    return place


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def episode_of(record: Mapping[str, Any], largest: float, seconds: Sequence[float] = ()) -> Episode:
    """An episode as it was kept.

    Args:
        largest: credit that a full bar stands for.
        seconds: that the agent took at each turn, where they were kept.

    Raises:
        KeyError, TypeError, IndexError, AttributeError, ValueError: the record is no episode.
    """
    credit = record["turn_credit"]
    mean = sum(credit) / len(credit) if credit else 0.0
    error = record.get("error")
    return Episode(
        goal=record["goal"],
        task_id=record["task"]["task_id"],
        task_type=record["task"]["task_type"],
        sibling=record["key"][3],
        won=bool(record["success"]),
        score=float(record["score"]),
        stop=record["stop"],
        failure="" if error is None else f"{error['boundary']}: {error['message']}",
        turns=[
            _turn(t, c, largest, mean, s) for t, c, s in zip_longest(record["turns"], credit, seconds[: len(credit)])
        ],
    )


def _turn(turn: Mapping[str, Any], credit: float, largest: float, mean: float, seconds: float | None) -> Turn:
    usage = turn.get("usage") or {}
    spent = [f"{usage['input']} + {usage['output']} tokens"] if usage else []
    if seconds is not None:
        spent.append(f"{seconds:.1f} s")
    messages = (turn.get("prompt") or {}).get("messages") or ()
    hindsight = turn.get("hindsight_before") or {}
    return Turn(
        observation=turn["observation"],
        response=turn["response"],
        action=turn["action"],
        next_observation=turn["next_observation"],
        valid=turn.get("valid") is not False,
        format_ok=bool(turn["format_ok"]),
        reward=float(turn["reward"]),
        credit=credit,
        bar=100.0 * credit / largest if largest else 0.0,
        share=credit / mean if mean else None,
        hindsight=[(name, _words(hindsight[name])) for name in HINTS if hindsight.get(name) not in (None, [], "")],
        tokens=len(turn["token_ids"]) or usage.get("output", 0),
        prompt=[(str(m.get("role")), _content(m)) for m in messages],
        spent=", ".join(spent),
    )


def _words(value: Any) -> str:
    return " · ".join(map(str, value)) if isinstance(value, list) else _number(value)


def _content(message: Mapping[str, Any]) -> str:
    """A message's text; calls of tools and parts as JSON."""
    content = message.get("content")
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    parts = [content if isinstance(content, str) else json.dumps(content)] if content else []
    return "\n".join([*parts, *([json.dumps(rest)] if rest else [])])
