"""Small hand-made ALFWorld problems, so that no data is needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from rlsd.envs.alfworld.engine.game import Game

APPLIANCES = {"sinkbasin": "Sink", "microwave": "Microwave", "fridge": "Fridge"}
OPENABLE = {"Microwave", "Fridge", "Drawer", "Cabinet"}
PROPERTIES = {
    "Mug": "pickupable cleanable heatable coolable",
    "Apple": "pickupable cleanable heatable coolable sliceable",
    "Pen": "pickupable",
    "Knife": "pickupable cleanable",
    "DeskLamp": "toggleable",
    "Box": "pickupable isReceptacleObject",
}
STATE_FACTS = {
    "clean": ("cleanable", "isClean"),
    "hot": ("heatable", "isHot"),
    "cool": ("coolable", "isCool"),
}


def goal_text(kind: str, thing: str, target: str, states: tuple[str, ...] = (), *, sliced: bool = False) -> str:
    """A `:goal` section in the words of the published games; `kind` is place, two or look."""

    def about(o: str) -> str:
        facts = [f"({able} {o}) ({fact} {o})" for able, fact in (STATE_FACTS[s] for s in states)]
        facts += [f"(sliceable {o}) (isSliced {o})"] if sliced else []
        return f"(objectType {o} {thing}Type) " + " ".join(facts)

    if kind == "look":
        lamp = f"(objectType ?ot {target}Type) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)"
        return (
            f"(:goal (and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and {lamp} "
            "(atLocation ?a ?l) (inReceptacle ?ot ?r))) "
            f"(exists (?o - object ?a - agent) (and {about('?o')} (holds ?a ?o)))))"
        )
    one = f"{about('?o1')} (receptacleType ?r {target}Type) (inReceptacle ?o1 ?r)"
    if kind == "two":
        second = f"{about('?o2')} (receptacleType ?r {target}Type) (inReceptacle ?o2 ?r)"
        one += f" (exists (?o2 - object) (and (not (= ?o1 ?o2)) {second}))"
    return f"(:goal (and (exists (?r - receptacle) (exists (?o1 - object) (and {one})))))"


def problem_text(
    receptacles: list[tuple[str, int]], objects: list[tuple[str, int]], goal: str, *, picky: bool = False
) -> str:
    """A whole problem: receptacles as (type, location), objects as (type, index of their receptacle)."""
    facts = ["(atLocation agent1 loc_bar_start)"]
    r_ids, o_ids = [], []
    for i, (kind, place) in enumerate(receptacles):
        name = f"Sink_bar_{i:02d}_bar_SinkBasin" if kind == "SinkBasin" else f"{kind}_bar_{i:02d}"
        r_ids.append(name)
        facts.append(f"(receptacleType {name} {kind}Type) (receptacleAtLocation {name} loc_bar_{place})")
        if kind in OPENABLE:
            facts.append(f"(openable {name})")
    for i, (kind, r) in enumerate(objects):
        name = f"{kind}_bar_{i:02d}"
        o_ids.append(name)
        facts.append(f"(objectType {name} {kind}Type) (inReceptacle {name} {r_ids[r]})")
        facts.append(f"(objectAtLocation {name} loc_bar_{receptacles[r][1]})")
        facts += [f"({word} {name})" for word in PROPERTIES[kind].split()]
    for r_kind in dict.fromkeys(kind for kind, _ in receptacles):
        for o_kind in PROPERTIES:
            if not (picky and r_kind in ("Microwave", "SinkBasin") and o_kind in ("Pen", "Knife")):
                facts.append(f"(canContain {r_kind}Type {o_kind}Type)")
    body = "\n".join(facts)
    return f"(define (problem tiny)\n(:domain alfred)\n(:objects\n)\n(:init\n{body}\n)\n{goal}\n)"


def random_game(seed: int) -> Game:
    """A small solvable-looking game with a random goal; the same for the same seed."""
    draw = random.Random(seed)
    kinds = [
        "SinkBasin",
        "Microwave",
        "Fridge",
        "Drawer",
        "Shelf",
        *draw.sample(["Drawer", "Shelf", "Cabinet"], 1),
    ]
    receptacles = [(kind, draw.randrange(5)) for kind in kinds]
    things = ["Mug", "Mug", draw.choice(["Apple", "Pen"]), "DeskLamp"]
    objects = [(kind, draw.randrange(len(kinds))) for kind in things]
    kind = draw.choice(["place", "place", "place", "two", "look"])
    states = draw.choice([(), ("clean",), ("hot",), ("cool",), ("clean", "hot")]) if kind == "place" else ()
    target = "DeskLamp" if kind == "look" else draw.choice(["Drawer", "Shelf", "Fridge"])
    text = problem_text(receptacles, objects, goal_text(kind, "Mug", target, states), picky=draw.random() < 0.5)
    return Game.parse(text, task=f"tiny {kind}.", source=f"random_game({seed})")


@pytest.fixture(scope="session")
def make_game() -> Callable[[int], Game]:
    return random_game


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """The builders above, for tests that shape their own world."""
    return SimpleNamespace(goal_text=goal_text, problem_text=problem_text, random_game=random_game)


@pytest.fixture
def kitchen(tiny: SimpleNamespace) -> Game:
    """Sink and shelf share a location; a mug in a drawer, another on the shelf, a knife, an apple, a box, a lamp."""
    receptacles = [("SinkBasin", 1), ("Shelf", 1), ("Drawer", 2), ("Microwave", 3), ("Fridge", 4), ("Shelf", 5)]
    objects = [("Mug", 2), ("Mug", 1), ("Knife", 5), ("Apple", 5), ("Box", 5), ("DeskLamp", 2)]
    goal = tiny.goal_text("place", "Mug", "Shelf", ("hot",))
    return Game.parse(tiny.problem_text(receptacles, objects, goal), task="put a hot mug in shelf.", source="kitchen")
