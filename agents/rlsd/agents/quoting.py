"""Our own headings in somebody else's text: quoted, so that no observation passes for hindsight."""

from __future__ import annotations

import re
from functools import lru_cache

TITLES = (
    "answer",
    "attempt",
    "changed",
    "demonstration",
    "feedback",
    "missing",
    "outcome",
    "plan",
    "steps to the goal",
    "successful attempt",
    "what happened next",
    "where",
)
"""Titles of the shipped hindsight sections."""


def quoted(text: str, *, preface: str, titles: tuple[str, ...] = TITLES) -> str:
    """`text` with "> " before every line that looks like the start of hindsight: one that begins with a line of
    `preface` or holds nothing but a title and a colon.

    Example:
        >>> quoted("You read:\\nplan:\\ngo north", preface="")
        'You read:\\n> plan:\\ngo north'
    """
    return _pattern(preface, titles).sub("> ", text)


@lru_cache(maxsize=64)
def _pattern(preface: str, titles: tuple[str, ...]) -> re.Pattern[str]:
    lines = [re.escape(line.strip()) for line in preface.splitlines() if line.strip()]
    heads = "|".join(map(re.escape, titles))
    return re.compile(
        "^(?=[ \\t]*(?:" + "|".join([rf"(?:{heads}):[ \t]*$", *lines]) + "))", re.MULTILINE | re.IGNORECASE
    )
