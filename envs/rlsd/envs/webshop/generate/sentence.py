"""Parses an instruction: search words, options, price limit. Uses only the sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_PRICE = re.compile(r",? and price lower than ([\d.]+) dollars\s*$")
_OPENING = re.compile(r"^(?:find me|i(?:'m| am) looking for|i need|i want|looking for)\s+(?:an?\s+)?", re.IGNORECASE)
_FIRST_PAIR = re.compile(r" with (?=(?:(?! with )[^,:]){1,40}: )")
_PAIR = re.compile(r"^([^:]{1,40}): (.+)$", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a sentence asks for.

    Example: Request(words="loose fit men's shorts", options=(("color", "blue"),), limit=50.0)
    """

    words: str
    """Search words, without brackets, which an action cannot contain."""
    options: tuple[tuple[str, str], ...]
    limit: float


@lru_cache(maxsize=4096)
def read(instruction: str) -> Request:
    """Parse a sentence; absent parts are empty, an absent limit is infinite."""
    price = _PRICE.search(instruction)
    rest = instruction[: price.start()] if price else instruction
    first = _FIRST_PAIR.search(rest)
    pairs = []
    if first is not None:
        for part in rest[first.end() :].split(", and "):
            match = _PAIR.match(part)
            if match is not None:
                pairs.append((match.group(1).strip().lower(), match.group(2).strip()))
        rest = rest[: first.start()]
    words = " ".join(_OPENING.sub("", rest.strip()).replace("[", " ").replace("]", " ").split())
    try:
        limit = float(price.group(1)) if price else float("inf")
    except ValueError:
        limit = float("inf")
    return Request(words=words.strip(" .") or "product", options=tuple(pairs), limit=limit)
