"""Read the initial facts and the goal of an ALFWorld PDDL problem.

The domain never changes, so its rules live in `world.py` as code. Names are lower-cased, as the original
planner does. Goals are of the six published families, each also with a sliced object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rlsd.envs.errors import GameFileError

_FACT = re.compile(r"\(([a-z]+) ([^\s()]+)(?: ([^\s()]+))?\)")
_GOAL_ATOM = re.compile(r"\(\s*([a-z]+)((?:\s+[?\w]+)+)\s*\)")
_STATES = {"isclean": "clean", "ishot": "hot", "iscool": "cool", "issliced": "sliced"}
_PROPERTIES = ("cleanable", "heatable", "coolable", "sliceable")
_HARMLESS = {"objecttype", "receptacletype", "inreceptacle", "atlocation", "receptacleatlocation", "holds"}
_LAMP_FACTS = {"toggleable", "istoggled"}

Facts = dict[str, list[tuple[str, str]]]
"""Predicate → its argument pairs; the second is "" for a predicate of one argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What must hold, in types.

    Example: "put two hot mugs in shelf" is Goal(kind="place", object_type="mug", target_type="shelf",
        states=("hot",), count=2)
    """

    kind: Literal["place", "look"]
    """place: objects in or on a receptacle; look: an object in hand at a lit lamp."""
    object_type: str
    target_type: str
    """Type of the receptacle ("place") or of the lamp ("look")."""
    states: tuple[str, ...] = ()
    """Which of clean, hot, cool, sliced the object must be."""
    properties: tuple[str, ...] = ()
    """Which of cleanable, heatable, coolable, sliceable the goal asks of the object."""
    count: int = 1
    """Number of different objects that must be in the same receptacle."""

    @property
    def task_type(self) -> str:
        """The published name of the family."""
        if self.kind == "look":
            return "look_at_obj_in_light"
        if self.count == 2:
            return "pick_two_obj_and_place"
        for state, name in (("clean", "clean"), ("hot", "heat"), ("cool", "cool")):
            if state in self.states:
                return f"pick_{name}_then_place_in_recep"
        return "pick_and_place_simple"


def split_problem(problem: str, source: str) -> tuple[str, str]:
    """The text of the `:init` section and of the `:goal` section, lower-cased, comments removed.

    Raises:
        GameFileError: one of the sections is missing, as in a truncated file.
    """
    text = problem.lower()
    if ";" in text:
        text = re.sub(r";[^\n]*", "", text)
    init, goal = text.find("(:init"), text.rfind("(:goal")
    if init < 0 or goal < init:
        missing = "(:init" if init < 0 else "(:goal"
        raise GameFileError(
            f"{source}: the PDDL problem has no {missing} …) section; the file looks truncated; download it again"
        )
    return text[init + 6 : goal], text[goal:]


def read_facts(init: str) -> Facts:
    """All facts of an `:init` section by predicate, in the order of the file."""
    facts: Facts = {}
    matches = _FACT.findall(init)
    if len(matches) < init.count("("):  # unusual spacing or a cost assignment: normalise and read again
        matches = _FACT.findall(re.sub(r"\s+", " ", init).replace("( ", "(").replace(" )", ")"))
    for name, first, second in matches:
        pairs = facts.get(name)
        if pairs is None:
            facts[name] = [(first, second)]
        else:
            pairs.append((first, second))
    return facts


def read_goal(text: str, source: str) -> Goal:
    """The typed goal in a `:goal` section.

    Raises:
        GameFileError: a goal outside the known families (lists its predicates), or a truncated one.
    """
    atoms = [(name, tuple(args.split())) for name, args in _GOAL_ATOM.findall(text)]
    names = {name for name, _ in atoms}
    types = {args[0]: _plain(args[1]) for name, args in atoms if name == "objecttype" and len(args) == 2}
    targets = {_plain(args[1]) for name, args in atoms if name == "receptacletype" and len(args) == 2}
    unknown = names - _HARMLESS - _LAMP_FACTS - set(_STATES) - set(_PROPERTIES)
    states = tuple(word for name, word in _STATES.items() if name in names)
    properties = tuple(name for name in _PROPERTIES if name in names)
    if not unknown and "holds" in names:
        in_hand = {args[-1] for name, args in atoms if name == "holds"}
        lamps = {args[0] for name, args in atoms if name == "istoggled"}
        if len(in_hand) == len(lamps) == 1 and set(types) == in_hand | lamps and not targets:
            return Goal(
                kind="look",
                object_type=types[in_hand.pop()],
                target_type=types[lamps.pop()],
                states=states,
                properties=properties,
            )
    elif not unknown - {"and", "exists", "not"} and len(targets) == 1 and len(set(types.values())) == 1:
        count = len({args[0] for name, args in atoms if name == "inreceptacle"})
        if count == len(types) and count in (1, 2) and not names & _LAMP_FACTS:
            return Goal(
                kind="place",
                object_type=next(iter(types.values())),
                target_type=targets.pop(),
                states=states,
                properties=properties,
                count=count,
            )
    raise GameFileError(
        f"{source}: the goal is truncated or not one of the six ALFWorld families (place an object, two "
        "of them, cleaned, heated, cooled; look at one under a lamp); its predicates: "
        f"{', '.join(sorted(names)) or 'none'}"
    )


def _plain(type_name: str) -> str:
    return type_name.removesuffix("type")
