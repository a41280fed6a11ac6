"""Pages as lists of pieces, and their renderings: `text`, `text_rich`, `html`.

A piece is one visible unit. The text modes equal the original's, character for character, but are rendered directly
from the pieces, without HTML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import NamedTuple

_BLANK = " \n\t\f\r"
_MARKS = re.compile(r"\[(\s*(?:/?sep|button_?|clicked button_?)\s*)\]", re.IGNORECASE)
_BREAKS = re.compile("[\n\r\t\f\v\x1c-\x1e\x85\u2028\u2029]")
_ACTIONS = re.compile(r"\b(search|click)\[", re.IGNORECASE)


class Kind(Enum):
    """The role of a piece on the page."""

    TEXT = "text"
    BUTTON = "button"
    OPTION = "option"
    LINK = "link"
    FIXED = "fixed"
    """The shop's own text, or preformatted values of the done page: shown verbatim, including blanks."""


class Piece(NamedTuple):
    """One unit of a page."""

    text: str
    kind: Kind = Kind.TEXT
    clicked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The visible pieces and the clickable labels, in the original's order."""

    name: str
    """search, results, item, a sub page's name, or done."""
    pieces: tuple[Piece, ...]
    clickables: tuple[str, ...]


def visible(pieces: tuple[Piece, ...]) -> list[Piece]:
    """Visible pieces of the original's page: blank pieces become one blank, or vanish if they contain a line break."""
    out = []
    for piece in pieces:
        text = piece.text
        if not text:
            continue
        if piece.kind is not Kind.FIXED and not text.strip(_BLANK):
            if "\n" in text:
                continue
            piece = piece._replace(text=" ")
        elif text == "\n":
            continue
        out.append(piece)
    return out


def as_text(page: Page) -> str:
    """Visible texts joined by " [SEP] "."""
    return " [SEP] ".join(piece.text.strip() for piece in visible(page.pieces))


def as_text_rich(page: Page) -> str:
    """One line per text; buttons, links and options between markers; an opening line for each chosen option."""
    out, chosen = "", ""
    for text, kind, clicked in visible(page.pieces):
        if kind is Kind.BUTTON:
            out += f"[button] {text} [button_]\n"
        elif kind in (Kind.OPTION, Kind.LINK):
            indent = "  " if kind is Kind.OPTION else "\n"
            word = "clicked button" if clicked else "button"
            out += f"{indent}[{word}] {text} [{word}_]\n"
            if clicked and kind is Kind.OPTION:
                chosen = f"You have clicked {text}.\n" + chosen
        else:
            out += f"{text}\n"
    return chosen + out


def as_html(page: Page) -> str:
    """A plain page for human players; all product texts are escaped."""
    tags = {
        Kind.TEXT: "<p>{}</p>", Kind.FIXED: "<p>{}</p>", Kind.BUTTON: "<button>{}</button>",
        Kind.LINK: '<a href="#">{}</a>', Kind.OPTION: "<button>{}</button>",
    }  # fmt: skip
    body = "\n".join(
        (tags[kind] if not clicked else tags[kind].replace(">", ' aria-pressed="true">', 1)).format(escape(text))
        for text, kind, clicked in visible(page.pieces)
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<title>WebShop: {escape(page.name)}</title>\n<main>\n{body}\n</main>'


MODES = {"text": as_text, "text_rich": as_text_rich, "html": as_html}
"""Observation mode → rendering function."""


def harmless(text: str) -> str:
    """A product text that cannot be mistaken for a page element or an action: one line, markers in round brackets.

    >>> harmless("Nice [SEP] Buy Now\\n[button] x [button_] click[buy now]")
    'Nice (SEP) Buy Now (button) x (button_) click(buy now]'
    """
    if "[" in text:
        text = _ACTIONS.sub(r"\1(", _MARKS.sub(r"(\1)", text))
    return " ".join(text.split()) if _BREAKS.search(text) else text
