"""Edge cases: small problems of the ALFRED domain with features that the published games rarely have.

Objects in several states at the start, hot and cool at once, on the floor, nowhere, in two receptacles, in the hand;
receptacles that share a location, have none or start open; appliances without a door; sinks of both types; a
start at a receptacle; boxes; portable lamps; both knives; goals with slices and mixed states.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

PLAIN = ("CounterTop", "Shelf", "SideTable")
RECEPTACLES = (*PLAIN, "Drawer", "Cabinet", "Safe", "Fridge", "Microwave", "SinkBasin", "Sink")
OBJECTS = {
    "Apple": "cleanable heatable coolable sliceable",
    "Bread": "heatable coolable sliceable",
    "Potato": "cleanable heatable coolable sliceable",
    "Lettuce": "cleanable coolable sliceable",
    "Egg": "cleanable heatable coolable sliceable",
    "Knife": "cleanable",
    "ButterKnife": "cleanable",
    "Mug": "cleanable heatable coolable isReceptacleObject",
    "Bowl": "cleanable coolable isReceptacleObject",
    "Box": "isReceptacleObject",
    "DeskLamp": "toggleable",
    "FloorLamp": "toggleable",
    "Book": "",
    "HousePlant": "",
}
STATES = ("isClean", "isHot", "isCool", "isSliced", "isToggled")
ABLE = {"isClean": "cleanable", "isHot": "heatable", "isCool": "coolable", "isSliced": "sliceable"}


@dataclass(slots=True, kw_only=True)
class Corner:
    """A problem under construction."""

    receptacles: dict[str, str] = field(default_factory=dict)
    """Id → type."""
    objects: dict[str, str] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    locations: set[str] = field(default_factory=set)
    goal: str = ""
    task: str = ""


def corner(seed: int) -> tuple[str, str]:
    """The problem and the task sentence of one edge case; the same seed gives the same text."""
    rng = random.Random(f"corner {seed}")
    world = Corner()
    _furnish(rng, world)
    _fill(rng, world)
    _aim(rng, world)
    return _text(world, f"corner_{seed}"), world.task


def _place(n: int) -> str:
    return f"loc_bar_{n}_bar_0_bar_0_bar_30"


def _furnish(rng: random.Random, world: Corner) -> None:
    kinds = [rng.choice(PLAIN), *rng.sample(RECEPTACLES, 4)]
    kinds += rng.sample(("Fridge", "Microwave", "SinkBasin"), rng.randint(1, 3))
    spots: list[str] = []
    for n, kind in enumerate(kinds):
        r = f"{kind}_bar__plus_0{n}_dot_{rng.randrange(10, 99)}"
        if kind == "SinkBasin":
            r = r.replace("SinkBasin", "Sink") + "_bar_SinkBasin"
        world.receptacles[r] = kind
        spot = rng.choice(spots) if spots and rng.random() < 0.3 else _place(n)
        world.facts.append(f"(receptacleType {r} {kind}Type)")
        if n == 0 or rng.random() < 0.96:
            spots.append(spot)
            world.facts.append(f"(receptacleAtLocation {r} {spot})")
        if kind in ("Drawer", "Cabinet", "Safe", "Fridge", "Microwave") and rng.random() < 0.85:
            world.facts.append(f"(openable {r})")
            if rng.random() < 0.3:
                world.facts.append(f"(opened {r})")
    world.locations.update(spots, {_place(90), _place(91)})
    start = rng.choice(spots) if rng.random() < 0.4 else _place(90)
    world.facts.append(f"(atLocation agent1 {start})")


def _fill(rng: random.Random, world: Corner) -> None:
    kinds = [*rng.sample(list(OBJECTS), 5), rng.choice(("Knife", "ButterKnife")), rng.choice(list(OBJECTS)[:5])]
    kinds += rng.choices(kinds, k=rng.randint(1, 3))
    where = {f.split()[1]: f.split()[2][:-1] for f in world.facts if f.startswith("(receptacleAtLocation")}
    carried = False
    for n, kind in enumerate(kinds):
        o = f"{kind}_bar__minus_0{n}_dot_{rng.randrange(10, 99)}"
        world.objects[o] = kind
        world.facts.append(f"(objectType {o} {kind}Type)")
        world.facts += [f"({name} {o})" for name in OBJECTS[kind].split() if rng.random() < 0.95]
        movable = kind != "HousePlant" and rng.random() < (0.5 if "Lamp" in kind else 0.95)
        if movable:
            world.facts.append(f"(pickupable {o})")
        for state in STATES:
            if rng.random() < 0.12:
                world.facts.append(f"({state} {o})")
        way = rng.random()
        r = rng.choice(list(where))
        if movable and not carried and way < 0.06:
            carried = True
            world.facts += [f"(holds agent1 {o})", "(holdsAny agent1)"]
        elif way < 0.12:
            world.facts.append(f"(objectAtLocation {o} {rng.choice([where[r], _place(91)])})")  # on the floor
        elif way < 0.14:
            pass  # nowhere
        else:
            world.facts.append(f"(inReceptacle {o} {r})")
            if rng.random() < 0.95:
                world.facts.append(f"(objectAtLocation {o} {where[r]})")
            if way > 0.92:
                other = rng.choice(list(where))
                world.facts.append(f"(inReceptacle {o} {other})")
                if rng.random() < 0.5 and other != r:
                    world.facts.append(f"(objectAtLocation {o} {where[other]})")
        holders = [x for x in world.objects if x != o and f"(isReceptacleObject {x})" in world.facts]
        if holders and rng.random() < 0.4:
            world.facts.append(f"(inReceptacleObject {o} {rng.choice(holders)})")
    for holder in sorted(set(world.receptacles.values())):
        for kind in sorted(set(kinds)):
            if rng.random() < 0.75:
                world.facts.append(f"(canContain {holder}Type {kind}Type)")


def _aim(rng: random.Random, world: Corner) -> None:
    """A goal of one of the six families, with or without states, slices and pairs."""
    movable = sorted(kind for o, kind in world.objects.items() if f"(pickupable {o})" in world.facts)
    kind = rng.choice(movable)
    lamps = sorted(k for k in set(world.objects.values()) if "Lamp" in k)
    able = [state for state, name in ABLE.items() if name in OBJECTS[kind].split()]
    states = rng.sample(able, min(len(able), rng.choice((0, 1, 1, 2))))
    if {"isHot", "isCool"} <= set(states):
        states.remove("isCool")
    if lamps and rng.random() < 0.3:
        lamp = rng.choice(lamps)
        world.task = f"look at {kind.lower()} under the {lamp.lower()}."
        inner = "".join(f" ({state} ?o)" for state in states)
        world.goal = (
            "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and "
            f"(objectType ?ot {lamp}Type) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) "
            "(atLocation ?a ?l) (inReceptacle ?ot ?r))) (exists (?o - object ?a - agent) (and "
            f"(objectType ?o {kind}Type) (holds ?a ?o){inner})))"
        )
        return
    target = rng.choice(sorted(set(world.receptacles.values())))
    words = " ".join(state[2:].lower() for state in states)

    def part(o: str) -> str:
        needed = "".join(f" ({ABLE[state]} {o}) ({state} {o})" for state in states)
        return f"(objectType {o} {kind}Type) (receptacleType ?r {target}Type) (inReceptacle {o} ?r){needed}"

    if movable.count(kind) > 1 and rng.random() < 0.5:
        world.task = f"put two {words} {kind.lower()} in {target.lower()}.".replace("  ", " ")
        second = f"(exists (?o2 - object) (and (not (= ?o1 ?o2)) {part('?o2')}))"
        world.goal = f"(and (exists (?r - receptacle) (exists (?o1 - object) (and {part('?o1')} {second}))))"
    else:
        world.task = f"put a {words} {kind.lower()} in {target.lower()}.".replace("  ", " ")
        world.goal = f"(and (exists (?r - receptacle) (exists (?o - object) (and {part('?o')}))))"


def _text(world: Corner, name: str) -> str:
    otypes = sorted({f"{kind}Type" for kind in world.objects.values()} | {"KnifeType", "ButterKnifeType"})
    rtypes = {f"{kind}Type" for kind in world.receptacles.values()}
    rtypes |= {"SinkType", "SinkBasinType", "MicrowaveType", "FridgeType"}
    declared = ["agent1 - agent", *(f"{t} - otype" for t in otypes), *(f"{t} - rtype" for t in sorted(rtypes))]
    declared += [f"{o} - object" for o in world.objects] + [f"{r} - receptacle" for r in world.receptacles]
    declared += [f"{spot} - location" for spot in sorted(world.locations)]
    inner = "\n        ".join(dict.fromkeys(world.facts))
    listed = "\n        ".join(declared)
    return (
        f"(define (problem {name})\n    (:domain alfred)\n    (:objects\n        {listed}\n    )\n"
        f"    (:init\n        {inner}\n    )\n    (:goal\n        {world.goal}\n    )\n)\n"
    )
