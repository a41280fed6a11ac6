"""The sentences of the original's grammar, word for word."""

from __future__ import annotations

from collections.abc import Sequence

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
NOTHING_HAPPENS = "Nothing happens."
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""

_LOOKS = (
    (("clean", "hot", "sliced"), "hot and clean sliced"),
    (("clean", "cool", "sliced"), "cool and clean sliced"),
    (("clean", "sliced"), "clean sliced"),
    (("hot", "sliced"), "hot sliced"),
    (("cool", "sliced"), "cool sliced"),
    (("clean", "hot"), "hot and clean"),
    (("clean", "cool"), "cool and clean"),
    (("hot",), "hot"),
    (("clean",), "clean"),
    (("cool",), "cold"),
)


def listing(names: Sequence[str]) -> str:
    """ "a, b, and c" without articles; also "a, and b"; "nothing" when empty."""
    if len(names) < 2:
        return names[0] if names else "nothing"
    return ", ".join(names[:-1]) + ", and " + names[-1]


def things(names: Sequence[str]) -> str:
    """The same with articles; the original's article is always "a"."""
    if len(names) == 1:
        return "a " + names[0]
    return "a " + ", a ".join(names[:-1]) + ", and a " + names[-1] if names else "nothing"


def described(name: str, states: set[str], *, toggleable: bool, sliceable: bool) -> str:
    """The text of `examine` for an object in hand; `states` is a subset of clean, hot, cool, sliced, lit."""
    for needed, words in _LOOKS:
        if states.issuperset(needed):
            return f"This is a {words} {name}."
    if toggleable and "lit" in states:
        return f"This {name} is on."
    if sliceable and "sliced" in states:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."
