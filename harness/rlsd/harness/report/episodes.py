"""Kept episodes as the viewer shows them: a row of the index each, and everything about one."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HINTS = ("plan", "missing", "whereabouts", "demonstration", "answer", "feedback", "distance")
"""Fields of recorded hindsight in the order in which they are shown."""
COLUMNS = ("sampler_logp", "student_logp", "teacher_logp", "base", "weight", "advantage")
"""Of a token file, what the page gets; Δ is the difference of two of them."""
DAMAGE = (KeyError, TypeError, IndexError, AttributeError, ValueError)
"""What a record raises that is no episode."""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the list and the search know of an episode; of a record with `sizes` its turns are not needed.

    `surprise` is the largest distance of a turn's credit from the mean of its episode: what hindsight made of one
    outcome.

    Raises:
        KeyError, TypeError, IndexError, AttributeError, ValueError: the record is no episode.
    """
    credit, error = record["turn_credit"], record.get("error")
    sizes = record["sizes"] if "sizes" in record else _sizes(record["turns"])
    if len(credit) != sizes["turns"] or not all(map(is_number, credit)):
        raise ValueError("an episode without the credit of each turn")
    mean = sum(credit) / len(credit) if credit else 0.0
    return {
        "task": [record["task"]["task_id"], record["task"]["task_type"], record["goal"]],
        "group": int(record["key"][2]),
        "sibling": int(record["key"][3]),
        "won": int(bool(record["success"])),
        "score": _short(float(record["score"])),
        "stop": str(record["stop"]),
        "failure": "" if error is None else str(error.get("reason", "raised")),
        "turns": int(sizes["turns"]),
        "tokens": int(sizes["tokens"]),
        "invalid": int(sizes["refused"]),
        "surprise": _short(max((abs(c - mean) for c in credit), default=0.0)),
    }


def episode_of(
    record: Mapping[str, Any],
    tokens: Sequence[Mapping[str, np.ndarray]] | None = None,
    pieces: Mapping[int, str] | None = None,
    seconds: Sequence[float] = (),
) -> dict[str, Any]:
    """Everything about an episode, as plain data.

    Args:
        tokens: columns of each turn's tokens, of `TokenFile.turns`.
        pieces: text of each token id.
        seconds: that the agent took at each turn, where they were kept.

    Raises:
        KeyError, TypeError, IndexError, AttributeError, ValueError: the record is no episode, or its tokens are those
            of another one.
    """
    row = row_of(record)
    turns, credit, error = record["turns"], record["turn_credit"], record.get("error")
    read = record.get("hindsight_read") or [None] * len(turns)
    if len(credit) != len(turns):
        raise ValueError("an episode without the credit of each turn")
    if tokens is not None and [len(t["ids"]) for t in tokens] != [len(t["token_ids"]) for t in turns]:
        raise ValueError("its tokens are those of another episode")
    shown = [
        {
            **_turn(turn),
            "credit": credit[k],
            "read": read[k],
            "spent": _spent(turn, seconds[k] if k < len(seconds) else None),
            **({} if tokens is None else {"pieces": [(pieces or {}).get(int(i), "\ufffd") for i in tokens[k]["ids"]]}),
        }
        for k, turn in enumerate(turns)
    ]
    for before, after in zip(turns, shown[1:]):
        if after["observation"] == before["next_observation"]:
            del after["observation"]  # it stands in the page once
    columns = {} if tokens is None else {name: packed([t[name] for t in tokens]) for name in COLUMNS}
    return {
        **{name: row[name] for name in ("won", "score", "stop", "sibling", "group")},
        "goal": record["goal"],
        "task_id": record["task"]["task_id"],
        "task_type": record["task"]["task_type"],
        "return": float(record.get("episode_return", record.get("returns", 0.0))),
        "failure": "" if error is None else f"{error['boundary']}: {error['message']}",
        "turns": shown,
        "columns": columns,
    }


def packed(parts: Sequence[np.ndarray]) -> str:
    """Numbers as base64 of their little-endian float32 bytes.

    >>> packed([np.array([1.0], dtype=np.float32)])
    'AACAPw=='
    """
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return base64.b64encode(joined.astype("<f4").tobytes()).decode()


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    hindsight = turn.get("hindsight_before") or {}
    messages = (turn.get("prompt") or {}).get("messages") or ()
    return {
        "observation": str(turn["observation"]),
        "response": str(turn["response"]),
        "action": str(turn["action"]),
        "next_observation": str(turn["next_observation"]),
        "valid": turn.get("valid") is not False,
        "format_ok": bool(turn["format_ok"]),
        "reward": float(turn["reward"]),
        "action_span": list(turn.get("action_span") or (0, 0)),
        "thought_span": list(turn.get("thought_span") or (0, 0)),
        "tokens": _tokens(turn),
        "hindsight": [[name, _words(hindsight[name])] for name in HINTS if hindsight.get(name) not in (None, [], "")],
        "prompt": [[str(m.get("role")), _content(m)] for m in messages],
    }


def _sizes(turns: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What records of earlier versions do not say."""
    accepted = [bool(turn["format_ok"]) and turn.get("valid") is not False for turn in turns]
    return {"turns": len(turns), "tokens": sum(map(_tokens, turns)), "refused": accepted.count(False)}


def _tokens(turn: Mapping[str, Any]) -> int:
    return len(turn["token_ids"]) or (turn.get("usage") or {}).get("output", 0)


def _spent(turn: Mapping[str, Any], seconds: float | None) -> str:
    usage = turn.get("usage") or {}
    spent = [f"{usage['input']} + {usage['output']} tokens"] if usage else []
    return ", ".join([*spent, *([] if seconds is None else [f"{seconds:.1f} s"])])


def _short(value: float) -> float:
    """With six digits, which is what JSON lines keep of credit."""
    return float(f"{value:.6g}")


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " · ".join(map(str, value)) if isinstance(value, list) else str(value)


def _content(message: Mapping[str, Any]) -> str:
    """A message's text; calls of tools and parts as JSON."""
    content = message.get("content")
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    parts = [content if isinstance(content, str) else json.dumps(content)] if content else []
    return "\n".join([*parts, *([json.dumps(rest)] if rest else [])])
