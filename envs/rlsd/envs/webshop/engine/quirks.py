"""Faults of the original that `protocol="rlsd"` fixes, each with its effect; `protocol="original"` keeps them all."""

from __future__ import annotations

from typing import NamedTuple


class Quirk(NamedTuple):
    """One fault."""

    name: str
    original: str
    """What the original does."""
    fixed: str
    """What `protocol="rlsd"` does instead."""


QUIRKS = (
    Quirk(
        "option pairs",
        "a named goal option is compared as the written-out pair ('color', 'blue') with every chosen value; a pair's "
        "colour counts only if it is the whole value",
        "the value chosen under that name is compared with the wanted value, both reduced to their first colour",
    ),
    Quirk(
        "brackets in labels",
        "an action is cut at its last bracket, so `click[a [b]]` is not understood and the option cannot be chosen",
        "the argument is all between the first bracket and the last; blanks around an action are ignored",
    ),
    Quirk(
        "one value under two names",
        "clicking it always sets the last option that has it; the first can never be set",
        "clicking it again sets the next one",
    ),
    Quirk(
        "options named like buttons",
        "an option value 'buy now' or '< prev' does what the button does; 'search' can never be clicked",
        "it is shown and clicked as 'buy now (option)'",
    ),
    Quirk(
        "chosen options in text_rich",
        "an option is marked if its value is in quotes anywhere in the address: under another name, as a name, in "
        "the search words; a value with letters beyond ASCII is never marked",
        "the chosen value of each option is marked",
    ),
    Quirk(
        "pages identified by their address",
        "a search for 'item_page' or 'search_results' makes '< prev' lead elsewhere",
        "the page that is open decides",
    ),
    Quirk(
        "secret searches",
        "'<r>' shows random products, '<c>' and '<q>' all of a category or query, '<a>' raises",
        "they are words like any other",
    ),
    Quirk(
        "texts that look like the page",
        "a title with ' [SEP] Buy Now', a line break or '[button]' reads like a part of the page",
        "product texts are one line each, and markers in them are in round brackets",
    ),
    Quirk(
        "prices and limits",
        "redrawn at every start, from the global random generator",
        "drawn once, seeded by product and instruction",
    ),
    Quirk(
        "which goal comes next",
        "drawn by weight; the last goal is never drawn",
        "drawn uniformly from the split; evaluation runs the whole evaluation set",
    ),
)
