"""Parses a task sentence of the original's templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rlsd.envs.errors import EnvError

_STATE_WORDS = {
    "clean": "clean", "cleaned": "clean", "hot": "hot", "heat": "hot", "heated": "hot",
    "cool": "cool", "cold": "cool", "cooled": "cool", "slice": "sliced", "sliced": "sliced",
}  # fmt: skip
_STATE_ORDER = ("sliced", "clean", "hot", "cool")
_LOOK = re.compile(r"(?:look at|examine) (?P<what>.+?) (?:under|with|by|in) (?:the |a )?(?P<lamp>\w+)$")
_PLACE = re.compile(
    r"(?P<what>.+?)(?: and put (?:it|them))? (?:in/on|into|onto|in|on|to) (?:the |a |some )?(?P<target>\w+)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a task sentence asks for.

    Example: "cool some mug and put it in shelf." is
        Wish(kind="place", thing="mug", target="shelf", states=("cool",))
    """

    kind: Literal["place", "look"]
    thing: str
    target: str
    """Receptacle type ("place") or lamp type ("look")."""
    states: tuple[str, ...] = ()
    """Subset of sliced, clean, hot, cool, in the order to achieve them."""
    count: int = 1


def read_wish(sentence: str) -> Wish:
    """Read a task sentence of the original's templates.

    Raises:
        EnvError: a sentence of another form.
    """
    text = sentence.strip().lower().removeprefix("your task is to: ").rstrip(".")
    match, kind = _LOOK.match(text), "look"
    if match is None:
        match, kind = _PLACE.match(text), "place"
    if match is None:
        raise EnvError(
            f"cannot read the task {sentence!r}; known are sentences like 'put a clean mug in shelf.', "
            "'find two pen and put them in drawer.' and 'look at bowl under the desklamp.'"
        )
    words = match["what"].replace(",", " ").split()
    states = {_STATE_WORDS[w] for w in words if w in _STATE_WORDS}
    return Wish(
        kind="look" if kind == "look" else "place",
        thing=words[-1],
        target=match["lamp" if kind == "look" else "target"],
        states=tuple(s for s in _STATE_ORDER if s in states),
        count=2 if "two" in words else 1,
    )
