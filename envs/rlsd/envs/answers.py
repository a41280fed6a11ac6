"""The rules for what an environment answers, each with a name; whoever reads an answer reads it through this module.

Rollouts and evaluations count a broken rule as the reason of a failed episode, remote environments send it on, and
`rlsd check-env` reports it. NumPy and torch scalars count as numbers, 0 and 1 as truth values, lists as tuples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any

from rlsd.envs.core import Hindsight
from rlsd.envs.errors import AnswerError

LONGEST = 1_000_000
"""Characters of one text, and of all texts of one list or one `Hindsight` together."""
LARGEST = 1e30
"""Size of a reward or score; sums and differences of such numbers stay finite in float32."""

RULES: dict[str, str] = {
    "answer": "reset gives (observation, info), step gives (observation, reward, terminated, truncated, info)",
    "observation": "the observation is a text",
    "reward": f"the reward is a finite number of at most {LARGEST:g}",
    "ended": "terminated and truncated are True or False",
    "info": "info is a dict",
    "goal": "info['goal'] is a text",
    "admissible_actions": "info['admissible_actions'] is a list of texts, or None",
    "valid_action": "info['valid_action'] is True or False",
    "success": "info['success'] is True or False",
    "score": f"info['score'] is a finite number of at most {LARGEST:g}",
    "feedback": "info['feedback'] is a text",
    "hindsight": "hindsight() gives a Hindsight with texts, tuples of texts and distances (not NaN)",
    "surrogate": "no text holds a lone surrogate, which neither a tokenizer nor a file can hold",
    "length": f"no text, list of texts or Hindsight holds more than {LONGEST:,} characters",
}
"""Rule → what it asks for. Keys of `info` that are absent break no rule."""

_LONE = re.compile("[\ud800-\udfff]")
_TUPLES = ("demonstration", "plan", "missing", "whereabouts", "changed", "lost")
_SHOWN = 60
_TOLD = 1000


def reset_answer(answer: Any) -> tuple[str, dict[str, Any]]:
    """What `reset` returned, as plain values.

    Raises:
        AnswerError: it breaks one of `RULES`.
    """
    observation, info = _parts("reset", answer, "(observation, info)", 2)
    return _text("observation", "the observation", observation), _info(info)


def step_answer(answer: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """What `step` returned, as plain values.

    Raises:
        AnswerError: it breaks one of `RULES`.
    """
    shape = "(observation, reward, terminated, truncated, info)"
    observation, reward, terminated, truncated, info = _parts("step", answer, shape, 5)
    return (
        _text("observation", "the observation", observation),
        _number("reward", "the reward", reward),
        _flag("ended", "terminated", terminated),
        _flag("ended", "truncated", truncated),
        _info(info),
    )


def hindsight_answer(answer: Any) -> Hindsight:
    """What `hindsight` returned; the same object if its fields hold exactly the types they declare.

    Raises:
        AnswerError: it breaks one of `RULES`.
    """
    if not isinstance(answer, Hindsight):
        raise AnswerError(
            "hindsight", f"hindsight() gave {_shown(answer)}, expected a Hindsight; Hindsight() says nothing is known"
        )
    return answer if _exact(answer) else _plain_hindsight(answer)


def _exact(known: Hindsight) -> bool:
    """Whether every field holds what it declares: mostly it does, and that is quick to see."""
    lists = [getattr(known, name) for name in _TUPLES]
    if any(type(texts) is not tuple for texts in lists):
        return False
    for steps in (known.distance, known.distance_before):
        if steps is not None and not (type(steps) is float and steps > -math.inf):
            return False
    answer = "" if known.answer is None else known.answer
    try:
        text = "".join([answer, known.feedback, *(text for texts in lists for text in texts)])
    except TypeError:
        return False
    return len(text) <= LONGEST and _encodes(text)


def _plain_hindsight(answer: Hindsight) -> Hindsight:
    plain: dict[str, Any] = {"feedback": _text("hindsight", "hindsight.feedback", answer.feedback)}
    if answer.answer is not None:
        plain["answer"] = _text("hindsight", "hindsight.answer", answer.answer)
    for name in _TUPLES:
        plain[name] = _texts("hindsight", f"hindsight.{name}", getattr(answer, name))
    for name in ("distance", "distance_before"):
        if (value := getattr(answer, name)) is not None:
            plain[name] = _steps(f"hindsight.{name}", value)
    texts = [value for value in plain.values() if not isinstance(value, float)]
    size = sum(len(value) if isinstance(value, str) else sum(map(len, value)) for value in texts)
    if size > LONGEST:
        raise AnswerError("length", f"hindsight holds {size:,} characters, at most {LONGEST:,} are read")
    same = all(type(value) is type(getattr(answer, name)) for name, value in plain.items())
    return answer if same else replace(answer, **plain)


def well_formed(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD.

    >>> well_formed("a\\ud800b") == "a\\ufffdb"
    True
    """
    return text if text.isascii() else _LONE.sub("\ufffd", text)


def told(error: BaseException) -> str:
    """An exception of foreign code as a text that can be stored: its type and the beginning of its message."""
    try:
        message = str(error)
    except Exception as second:  # a message that cannot be made
        message = f"(its message raised {type(second).__name__})"
    return well_formed(f"{type(error).__name__}: {message[:_TOLD]}")


def _encodes(text: str) -> bool:
    """Whether `text` has no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(call: str, answer: Any, shape: str, count: int) -> Sequence[Any]:
    if not isinstance(answer, (tuple, list)):
        raise AnswerError("answer", f"{call} gave {_shown(answer)}, expected {shape}")
    if len(answer) != count:
        raise AnswerError("answer", f"{call} gave {len(answer)} values, expected {shape}")
    return answer


def _info(info: Any) -> dict[str, Any]:
    if not isinstance(info, dict):
        raise AnswerError("info", f"info is {_shown(info)}, expected a dict")
    plain = dict(info)
    for name, read in _INFO.items():
        if name in plain:
            plain[name] = read(name, f"info[{name!r}]", plain[name])
    return plain


def _text(rule: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise AnswerError(rule, f"{name} is {_shown(value)}, expected a text")
    if len(value) > LONGEST:
        raise AnswerError("length", f"{name} has {len(value):,} characters, at most {LONGEST:,} are read")
    if not _encodes(value) and (lone := _LONE.search(value)):
        raise AnswerError(
            "surrogate",
            f"{name} has the lone surrogate {lone[0]!r} at character {lone.start()}; "
            "rlsd.envs.answers.well_formed(text) replaces it",
        )
    return value if type(value) is str else str.__str__(value)


def _texts(rule: str, name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Sequence):
        raise AnswerError(rule, f"{name} is {_shown(value)}, expected a list of texts")
    if not all(type(text) is str for text in value) or not _encodes("".join(value)):  # mostly fine, so in one go
        value = [_text(rule, f"{name}[{i}]", text) for i, text in enumerate(value)]
    if (size := sum(map(len, value))) > LONGEST:
        raise AnswerError("length", f"{name} holds {size:,} characters, at most {LONGEST:,} are read")
    return tuple(value)


def _optional_texts(rule: str, name: str, value: Any) -> list[str] | None:
    return None if value is None else list(_texts(rule, name, value))


def _optional_text(rule: str, name: str, value: Any) -> str:
    return "" if value is None else _text(rule, name, value)


def _number(rule: str, name: str, value: Any) -> float:
    number = _real(rule, name, value)
    if not abs(number) <= LARGEST:
        raise AnswerError(rule, f"{name} is {number}, expected a finite number of at most {LARGEST:g}")
    return number


def _steps(name: str, value: Any) -> float:
    number = _real("hindsight", name, value)
    if math.isnan(number) or number == -math.inf:
        raise AnswerError("hindsight", f"{name} is {number}, expected a number of steps, inf or None")
    return number


def _real(rule: str, name: str, value: Any) -> float:
    if type(value) is float:
        return value
    plain = _scalar(value)
    if not isinstance(plain, (Real, Decimal)):
        raise AnswerError(rule, f"{name} is {_shown(value)}, expected a number")
    try:
        return float(plain)
    except (OverflowError, ValueError):  # an int or Fraction beyond every float, a signalling NaN
        return math.nan


def _flag(rule: str, name: str, value: Any) -> bool:
    if value is True or value is False:
        return value
    plain = _scalar(value)
    if not isinstance(plain, int) or plain not in (0, 1):
        raise AnswerError(rule, f"{name} is {_shown(value)}, expected True or False")
    return bool(plain)


def _scalar(value: Any) -> Any:
    """A NumPy or torch scalar as a plain number; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _shown(value: Any) -> str:
    """A short description of any value; only that of plain values shows them."""
    kind = type(value).__name__
    if value is None or type(value) in (bool, float):
        return repr(value)
    if type(value) in (str, bytes):
        return f"the {kind} {value[:_SHOWN]!r}"
    if type(value) is int and value.bit_length() < 64:
        return f"the int {value}"
    return f"a {kind}"


_INFO: dict[str, Callable[[str, str, Any], Any]] = {
    "goal": _text,
    "admissible_actions": _optional_texts,
    "valid_action": _flag,
    "success": _flag,
    "score": _number,
    "feedback": _optional_text,
}
