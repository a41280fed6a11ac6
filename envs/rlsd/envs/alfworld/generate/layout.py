"""A generated game as a layout of objects and receptacles, and its PDDL problem in the published format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product

from rlsd.envs.alfworld.engine.furniture import can_contain, properties

_BASINS = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}
_DOMAIN_OTYPES = ("KnifeType", "ButterKnifeType")
_DOMAIN_RTYPES = ("SinkType", "SinkBasinType", "MicrowaveType", "FridgeType")
"""Types named by the domain's actions: a problem must declare them."""
_PROPERTY_ORDER = ("cleanable", "heatable", "coolable", "toggleable", "sliceable")
_STATES = {
    "pick_clean_then_place_in_recep": ("cleanable", "isClean"),
    "pick_heat_then_place_in_recep": ("heatable", "isHot"),
    "pick_cool_then_place_in_recep": ("coolable", "isCool"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The layout and goal of one game. Positions in the tuples identify receptacles and objects.

    Example (one mug on a shelf): receptacles=("Shelf", "Desk"), openable=(False, False), spots=(0, 1),
        objects=("Mug",), inside=(0,)
    """

    task_type: str
    thing: str
    """Object type of the goal."""
    target: str
    """Receptacle type of the goal; the lamp's type for "look"."""
    receptacles: tuple[str, ...]
    openable: tuple[bool, ...]
    spots: tuple[int, ...]
    """Location of each receptacle; two may share one."""
    objects: tuple[str, ...]
    inside: tuple[int, ...]
    """The receptacle each object lies in."""

    def content_hash(self) -> int:
        """64 bits that depend on layout and goal, not on numbering, coordinates or wording."""
        inner: list[list[str]] = [[] for _ in self.receptacles]
        for kind, r in zip(self.objects, self.inside, strict=True):
            inner[r].append(kind)
        rows = sorted(
            (kind, opens, sorted(contents))
            for kind, opens, contents in zip(self.receptacles, self.openable, inner, strict=True)
        )
        text = json.dumps([self.task_type, self.thing, self.target, rows])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def receptacle_id(kind: str, point: tuple[int, int, int]) -> str:
    """An id in the published format; a basin's starts with the sink.

    >>> receptacle_id("SinkBasin", (-125, 80, 7))
    'Sink_bar__minus_01_dot_25_bar__plus_00_dot_80_bar__plus_00_dot_07_bar_SinkBasin'
    """
    if kind in _BASINS:
        return f"{object_id(_BASINS[kind], point)}_bar_{kind}"
    return object_id(kind, point)


def object_id(kind: str, point: tuple[int, int, int]) -> str:
    """Type and position; `point` in centimetres."""
    return "_bar_".join((kind, *map(_metres, point)))


def _metres(v: int) -> str:
    whole, rest = divmod(abs(v), 100)
    return f"_{'minus' if v < 0 else 'plus'}_{whole:02d}_dot_{rest:02d}"


def _grid(v: int) -> str:
    return f"_minus_{-v}" if v < 0 else str(v)


def location_id(x: int, y: int, facing: int, tilt: int) -> str:
    """An agent location: grid cell, quarter turns, camera tilt in degrees."""
    return f"loc_bar_{_grid(x)}_bar_{_grid(y)}_bar_{facing}_bar_{tilt}"


def write_problem(
    layout: Layout, *, name: str, receptacle_ids: list[str], object_ids: list[str], locations: list[str]
) -> str:
    """The PDDL problem. `locations[spot]` is the id of a location, the last one is the agent's."""
    otypes = sorted({f"{kind}Type" for kind in layout.objects} | set(_DOMAIN_OTYPES))
    rtypes = sorted({f"{kind}Type" for kind in layout.receptacles} | set(_DOMAIN_RTYPES))
    declared = ["agent1 - agent"]
    declared += [f"{t} - otype" for t in otypes] + [f"{t} - rtype" for t in rtypes]
    declared += [f"{o} - object" for o in sorted(object_ids)]
    declared += [f"{r} - receptacle" for r in sorted(receptacle_ids)]
    declared += [f"{where} - location" for where in sorted(set(locations))]
    return _FORM.format(
        name=name,
        declared="\n        ".join(declared),
        facts="\n        ".join(_facts(layout, receptacle_ids, object_ids, locations)),
        goal=_goal(layout),
    )


def _facts(layout: Layout, rs: list[str], os: list[str], locations: list[str]) -> list[str]:
    fits = can_contain()
    kinds_of = list(zip(os, layout.objects, strict=True))
    facts = [f"(receptacleType {r} {kind}Type)" for r, kind in zip(rs, layout.receptacles, strict=True)]
    facts += [f"(objectType {o} {kind}Type)" for o, kind in kinds_of]
    facts += [
        f"(canContain {holder}Type {kind}Type)"
        for holder, kind in product(sorted(set(layout.receptacles)), sorted(set(layout.objects)))
        if kind in fits.get(holder, ())
    ]
    facts += [f"(pickupable {o})" for o, kind in kinds_of if "pickupable" in properties(kind)]
    facts += [f"(isReceptacleObject {o})" for o, kind in kinds_of if "isReceptacleObject" in properties(kind)]
    facts += [f"(openable {r})" for r, opens in zip(rs, layout.openable, strict=True) if opens]
    facts.append(f"(atLocation agent1 {locations[-1]})")
    for name in _PROPERTY_ORDER:
        facts += [f"({name} {o})" for o, kind in kinds_of if name in properties(kind)]
    facts += [f"(inReceptacle {o} {rs[r]})" for o, r in zip(os, layout.inside, strict=True)]
    facts += [f"(receptacleAtLocation {r} {locations[spot]})" for r, spot in zip(rs, layout.spots, strict=True)]
    facts += [f"(objectAtLocation {o} {locations[layout.spots[r]]})" for o, r in zip(os, layout.inside, strict=True)]
    return facts


def _goal(layout: Layout) -> str:
    thing, target = f"{layout.thing}Type", f"{layout.target}Type"
    if layout.task_type == "look_at_obj_in_light":
        return _LOOK.format(thing=thing, lamp=target)
    if layout.task_type == "pick_two_obj_and_place":
        return _TWO.format(thing=thing, target=target)
    facts = [f"(objectType ?o {thing})", f"(receptacleType ?r {target})", "(inReceptacle ?o ?r)"]
    if layout.task_type in _STATES:
        able, state = _STATES[layout.task_type]
        facts = [f"({able} ?o)", *facts, f"({state} ?o)"]
    return _ONE.format(facts="\n                    ".join(facts))


_FORM = """
(define (problem {name})
    (:domain alfred)
    (:objects
        {declared}
    )
    (:init
        {facts}
    )
    (:goal
        {goal}
    )
)
"""
_ONE = """(and
            (exists (?r - receptacle)
                (exists (?o - object)
                (and
                    {facts}
                )
            ))
        )"""
_TWO = """(and
            (exists (?r - receptacle)
                (exists (?o1 - object)
                (and
                    (objectType ?o1 {thing})
                    (receptacleType ?r {target})
                    (inReceptacle ?o1 ?r)
                    (exists (?o2 - object)
                        (and
                            (not (= ?o1 ?o2))
                            (objectType ?o2 {thing})
                            (receptacleType ?r {target})
                            (inReceptacle ?o2 ?r)
                        )
                    )
                )
            ))
        )"""
_LOOK = """(and
            (exists (?ot - object ?r - receptacle ?a - agent ?l - location)
                (and
                    (objectType ?ot {lamp})
                    (toggleable ?ot)
                    (isToggled ?ot)
                    (receptacleAtLocation ?r ?l)
                    (atLocation ?a ?l)
                    (inReceptacle ?ot ?r)
                )
            )
            (exists (?o - object ?a - agent)
                (and
                    (objectType ?o {thing})
                    (holds ?a ?o)
                )
            )
        )"""
