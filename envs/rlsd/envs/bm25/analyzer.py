"""Text to search terms as Lucene 8 and 9's English analyser does it, in pyserini's setup.

In order: Unicode word boundaries (UAX #29) with emoji as words, possessive 's removed, lower case, 33 stop words
removed, Porter stems.

For speed, every character is first mapped to a one-letter class (cached), and the rules run over the string of classes.
ASCII text takes a faster path without classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType

from rlsd.envs.bm25.porter import stem
from rlsd.envs.bm25.unicode_classes import CLASSES

Analyzer = Callable[[str], list[str]]

STOP_WORDS = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
        "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will",
        "with",
    )
)  # fmt: skip
_LONGEST = 255
"""Longer words are cut into pieces of this many UTF-16 units."""

_ASCII_WORD = re.compile(
    r"_*[A-Za-z0-9](?:_*[A-Za-z0-9]|(?<=[A-Za-z])[:.'][A-Za-z]|(?<=[0-9])[.,;'][0-9])*_*",
)


def _rules() -> re.Pattern[str]:
    """The word rules over class letters; see `unicode_classes` for what the letters stand for."""
    ext = "[XZVCDTts]*"
    sans = "(?:[XCDTts]|Z(?!Z*[EBL]|D))*"  # no presentation selector, and no joiner that joins the next emoji
    letter, number, katakana = f"[AHL]{ext}", f"N{ext}", f"K{ext}"
    low, hebrew = f"U{ext}", f"H{ext}"
    digits = f"{number}(?:(?:(?:{low})*|[nbq]{ext}){number})*"
    letters = f"{letter}(?:(?:(?:{low})*|[mbq]{ext}){letter})*"
    jewish = f"{hebrew}(?:d{ext}{hebrew}|q{ext})"
    run = f"(?:{katakana}(?:(?:{low})*{katakana})*|(?:{jewish}|{digits}|{letters})+)"
    word = f"(?:{low})*{run}(?:(?:{low})+{run})*(?:{low})*"
    one = f"(?:(?:Z*B{sans})?D{sans}|Z*[EBL]{sans}V?)"
    emoji = f"{one}(?:(?:Z{one})*|T+t)"
    keycap = f"#{sans}V?C{sans}"
    flag = f"R{ext}R{ext}"
    return re.compile(f"{word}|{emoji}|{keycap}|{flag}|(?:[Ss]{ext})+|[hi]{ext}")


_WORD = _rules()


def words(text: str) -> list[str]:
    """Split at word boundaries; case is kept and nothing is left out.

    >>> words("Women's 3.5mm jack (wi-fi) ★5")
    ["Women's", '3.5mm', 'jack', 'wi', 'fi', '★', '5']
    """
    if text.isascii():
        pieces = _ASCII_WORD.findall(text)
    else:
        pieces = [text[m.start() : m.end()] for m in _WORD.finditer(text.translate(CLASSES))]
    if all(len(word) <= _LONGEST // 2 for word in pieces):
        return pieces
    return [piece for word in pieces for piece in _pieces(word)]


def lucene_english(text: str) -> list[str]:
    """Search terms of a text, in order, with repeats.

    >>> lucene_english("The Women's running shoes, and laces")
    ['women', 'run', 'shoe', 'lace']
    """
    terms = (_term(word) for word in words(text))
    return [term for term in terms if term]


ANALYZERS: MappingProxyType[str, Analyzer] = MappingProxyType({"lucene_english": lucene_english})
"""Analysers that a saved index can name."""


@lru_cache(maxsize=262_144)
def _term(word: str) -> str:
    """The term of a word; "" for a stop word."""
    if len(word) >= 2 and word[-1] in "sS" and word[-2] in "'\u2019\uff07":
        word = word[:-2]
    word = word.lower() if word.isascii() else "".join(map(_lower, word))
    return "" if word in STOP_WORDS else stem(word)


def _lower(letter: str) -> str:
    """One character for one: Java lowers code points alone, so no final sigma and no dotted pair."""
    lowered = letter.lower()
    return lowered if len(lowered) == 1 else lowered[0]


def _pieces(word: str) -> list[str]:
    out, units, start = [], 0, 0
    for i, letter in enumerate(word):
        width = 2 if ord(letter) > 0xFFFF else 1
        if units + width > _LONGEST:
            out.append(word[start:i])
            start, units = i, 0
        units += width
    return [*out, word[start:]]
