"""One kitchen and a few scripts through it, for rare cases: every description of an object, slices mixed with states,
refusals for one reason each, several objects moved within one location."""

from __future__ import annotations

RECEPTACLES = {
    "CounterTop_bar_1": ("CounterTop", 1),
    "Sink_bar_1_bar_SinkBasin": ("SinkBasin", 1),
    "Microwave_bar_1": ("Microwave", 2),
    "Fridge_bar_1": ("Fridge", 3),
    "Drawer_bar_1": ("Drawer", 4),
    "Shelf_bar_1": ("Shelf", 5),
}
OBJECTS = {
    "Apple_bar_1": ("CounterTop_bar_1", "pickupable cleanable heatable coolable sliceable"),
    "Apple_bar_2": ("CounterTop_bar_1", "pickupable cleanable heatable coolable sliceable"),
    "Knife_bar_1": ("CounterTop_bar_1", "pickupable cleanable"),
    "ButterKnife_bar_1": ("CounterTop_bar_1", "pickupable cleanable"),
    "Egg_bar_1": ("Fridge_bar_1", "pickupable cleanable heatable coolable sliceable"),
    "Bowl_bar_1": ("Shelf_bar_1", "pickupable cleanable coolable isReceptacleObject"),
    "Pan_bar_1": ("Shelf_bar_1", "pickupable cleanable coolable"),
    "Book_bar_1": ("Shelf_bar_1", "pickupable"),
    "Spoon_bar_1": ("Drawer_bar_1", "pickupable cleanable"),
    "DeskLamp_bar_1": ("Drawer_bar_1", "pickupable toggleable"),
    "HousePlant_bar_1": ("Shelf_bar_1", ""),
}
FITS = {
    "CounterTop": "Apple Knife ButterKnife Egg Bowl Pan Book Spoon",
    "SinkBasin": "Apple Knife ButterKnife Egg Bowl Pan Spoon",
    "Microwave": "Apple Egg Bowl",
    "Fridge": "Apple Egg Bowl Pan",
    "Drawer": "Knife ButterKnife Book Spoon DeskLamp",
    "Shelf": "Bowl Pan Book DeskLamp",
}
APPLE, EGG = "apple 1", "egg 1"
SLICES = f"""
go to countertop 1 / go to sinkbasin 1 / take knife 1 from countertop 1 / slice {APPLE} with butterknife 1
slice {APPLE} with apple 2 / slice bowl 1 with knife 1 / slice {EGG} with knife 1 / slice {APPLE} with knife 1
slice {APPLE} with knife 1 / slice apple 2 with knife 1 / take {APPLE} from countertop 1 / move knife 1 to sinkbasin 1
take {APPLE} from countertop 1 / examine {APPLE} / slice apple 2 with knife 1 / go to microwave 1
heat {APPLE} with fridge 1 / heat {APPLE} with microwave 1 / examine {APPLE} / move {APPLE} to microwave 1
open microwave 1 / open microwave 1 / move {APPLE} to microwave 1 / take {APPLE} from microwave 1
go to fridge 1 / cool {APPLE} with fridge 1 / examine {APPLE} / go to sinkbasin 1 / clean {APPLE} with countertop 1
clean {APPLE} with sinkbasin 1 / examine {APPLE} / go to microwave 1 / heat {APPLE} with microwave 1
examine {APPLE} / close microwave 1 / close microwave 1 / heat {APPLE} with microwave 1 / go to sinkbasin 1
clean {APPLE} with sinkbasin 1 / examine {APPLE} / move {APPLE} to sinkbasin 1 / look / take apple 2 from countertop 1
clean apple 2 with sinkbasin 1 / examine apple 2 / move apple 2 to sinkbasin 1 / look / examine sinkbasin 1
take butterknife 1 from countertop 1 / move butterknife 1 to sinkbasin 1 / look / take apple 2 from sinkbasin 1 / look
inventory / move apple 2 to countertop 1 / look
"""
WHOLE = f"""
go to fridge 1 / take {EGG} from fridge 1 / open fridge 1 / take {EGG} from fridge 1 / take {EGG} from fridge 1
examine {EGG} / cool {EGG} with fridge 1 / examine {EGG} / close fridge 1 / cool {EGG} with fridge 1
go to microwave 1 / heat {EGG} with microwave 1 / examine {EGG} / go to countertop 1 / clean {EGG} with sinkbasin 1
examine {EGG} / go to fridge 1 / cool {EGG} with fridge 1 / examine {EGG} / move {EGG} to fridge 1 / open fridge 1
move {EGG} to fridge 1 / go to countertop 1 / take apple 2 from countertop 1 / take {APPLE} from countertop 1
clean apple 2 with sinkbasin 1 / examine apple 2 / examine {APPLE} / go to shelf 1 / move apple 2 to shelf 1
go to drawer 1 / move apple 2 to drawer 1 / open drawer 1 / move apple 2 to drawer 1 / move spoon 1 to drawer 1
"""
REFUSED = """
go to shelf 1 / examine bowl 1 / take houseplant 1 from shelf 1 / use book 1 / use bowl 1 / open shelf 1
close shelf 1 / take book 1 from shelf 1 / examine book 1 / go to microwave 1 / heat book 1 with microwave 1
go to fridge 1 / cool book 1 with fridge 1 / heat book 1 with fridge 1 / go to sinkbasin 1
clean book 1 with sinkbasin 1 / move book 1 to sinkbasin 1 / move book 1 to countertop 1 / go to shelf 1
take bowl 1 from shelf 1 / examine bowl 1 / go to microwave 1 / heat bowl 1 with microwave 1 / go to drawer 1
use desklamp 1 / use desklamp 1 / take desklamp 1 from drawer 1 / open drawer 1 / open drawer 1
take desklamp 1 from drawer 1 / move bowl 1 to drawer 1 / go to shelf 1 / move bowl 1 to shelf 1 / go to drawer 1
take desklamp 1 from drawer 1 / examine desklamp 1 / use desklamp 1 / move desklamp 1 to drawer 1
use desklamp 1 / close drawer 1 / use desklamp 1 / take spoon 1 from drawer 1 / close drawer 1 / go to drawer 1
go to fridge 1 / cool desklamp 1 with fridge 1 / go to desklamp 1 / go to countertop / go to Countertop 1
go to countertop 1 extra / go  to countertop 1 / goto countertop 1 / put book 1 in shelf 1 / Look / look around
"""
SCRIPTS = {"slices": SLICES, "whole": WHOLE, "refused": REFUSED}


def directed() -> dict[str, tuple[str, str, list[str]]]:
    """Name → problem, task sentence and commands."""
    problem = _problem()
    task = "put a hot sliced apple in sinkbasin."
    return {
        name: (problem, task, [c.strip() for line in script.strip().splitlines() for c in line.split(" / ")])
        for name, script in SCRIPTS.items()
    }


def _problem() -> str:
    facts = ["(atLocation agent1 loc_bar_0)"]
    for r, (kind, place) in RECEPTACLES.items():
        facts += [f"(receptacleType {r} {kind}Type)", f"(receptacleAtLocation {r} loc_bar_{place})"]
        if kind in ("Microwave", "Fridge", "Drawer"):
            facts.append(f"(openable {r})")
    for o, (r, able) in OBJECTS.items():
        facts += [f"(objectType {o} {o.split('_')[0]}Type)", f"(inReceptacle {o} {r})"]
        facts += [f"(objectAtLocation {o} loc_bar_{RECEPTACLES[r][1]})", *(f"({name} {o})" for name in able.split())]
    facts += ["(inReceptacleObject Spoon_bar_1 Bowl_bar_1)"]
    facts += [f"(canContain {holder}Type {kind}Type)" for holder, kinds in FITS.items() for kind in kinds.split()]
    otypes = sorted({f"{o.split('_')[0]}Type" for o in OBJECTS})
    rtypes = sorted({f"{kind}Type" for kind, _ in RECEPTACLES.values()} | {"SinkType"})
    declared = ["agent1 - agent", *(f"{t} - otype" for t in otypes), *(f"{t} - rtype" for t in rtypes)]
    declared += [f"{o} - object" for o in OBJECTS] + [f"{r} - receptacle" for r in RECEPTACLES]
    declared += [f"loc_bar_{n} - location" for n in range(6)]
    goal = (
        "(and (exists (?r - receptacle) (exists (?o - object) (and (objectType ?o AppleType) "
        "(receptacleType ?r SinkBasinType) (inReceptacle ?o ?r) (heatable ?o) (isHot ?o) "
        "(sliceable ?o) (isSliced ?o)))))"
    )
    inner, listed = "\n        ".join(facts), "\n        ".join(declared)
    return (
        f"(define (problem directed)\n    (:domain alfred)\n    (:objects\n        {listed}\n    )\n"
        f"    (:init\n        {inner}\n    )\n    (:goal\n        {goal}\n    )\n)\n"
    )
