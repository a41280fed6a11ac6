"""Rules and text branches covered by a transcript: the coverage of the parity tests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.text import NOTHING_HAPPENS
from rlsd.envs.alfworld.engine.world import World

from .transcripts import Transcript

_VERBS = ("go", "open", "close", "take", "move", "use", "heat", "cool", "clean", "slice", "examine")
_NUMBERS = ("nothing", "one thing", "two things", "three and more")
_LOOKS = (
    "hot and clean sliced",
    "cool and clean sliced",
    "clean sliced",
    "hot sliced",
    "cool sliced",
    "hot and clean",
    "cool and clean",
    "hot",
    "clean",
    "cold",
    "sliced",
)
BRANCHES: tuple[str, ...] = (
    *(f"start: {way}" for way in ("in the middle of the room", "at a receptacle", "something in the hand")),
    *(f"start: {way}" for way in ("the goal holds already", "a thing on the floor", "a thing in two receptacles")),
    *(
        f"start: {way}"
        for way in ("a shared location", "an open receptacle", "a receptacle nowhere", "a thing nowhere")
    ),
    *(f"goal: {kind}" for kind in ("place", "place two", "look", "clean", "hot", "cool", "sliced", "two states")),
    *(f"{verb}: done" for verb in (*_VERBS, "look", "inventory", "help")),
    *(f"{verb}: refused" for verb in _VERBS),
    *(f"view, on: {n}" for n in _NUMBERS),
    *(f"view, open: {n}" for n in _NUMBERS),
    "view, closed",
    "look: in the middle of the room",
    "look: facing one receptacle",
    "look: facing several",
    "look: next to it nothing",
    "look: next to it one thing",
    "look: next to it several",
    "inventory: empty",
    "inventory: carrying",
    "examine thing: box, empty",
    "examine thing: box, filled",
    *(f"examine thing: {look}" for look in _LOOKS),
    "examine thing: lamp that is on",
    "examine thing: nothing special",
    "examine thing: refused, in sight but not in the hand",
    "go: refused, same location",
    "open: refused, open already",
    "open: refused, has no door",
    "close: refused, closed already",
    "take: one of two receptacles that hold it",
    "take: refused, closed receptacle",
    "take: refused, hand is full",
    "take: refused, cannot be picked up",
    "move: to another receptacle of the same location",
    "move: refused, closed receptacle",
    "move: refused, does not belong there",
    "move: refused, not in the hand",
    "use: lamp that was on already",
    "use: lamp in a closed receptacle",
    "use: refused, no switch",
    *(f"{verb}: {how}" for verb in ("heat", "cool") for how in ("appliance closed", "appliance open")),
    "heat: was cool",
    "cool: was hot",
    *(f"{verb}: was sliced" for verb in ("heat", "cool", "clean")),
    *(f"{verb}: refused, wrong appliance" for verb in ("heat", "cool", "clean")),
    *(f"{verb}: refused, thing is not able" for verb in ("heat", "cool", "clean")),
    "clean: at a sink that is no basin",
    "slice: with a knife",
    "slice: with a butterknife",
    "slice: sliced already",
    "slice: on the floor",
    "slice: refused, tool is no knife",
    "slice: refused, no knife in the hand",
    "goal: reached",
    "goal: lost again",
    "goal: steps go on while it holds",
    "odd: white space around the command",
    "odd: white space within",
    "odd: capitals",
    "odd: empty",
    "odd: unknown words",
)
"""Every branch that is counted."""

_ENDED = re.compile(r"you see (.*)\.$", re.S)


def branches(transcript: Transcript, game: Game) -> Counter[str]:
    """How often one transcript takes each branch; the native world only provides the states."""
    world = World(game)
    first = world.reset()
    counts = Counter(_start(game, world, first))
    for step in transcript.steps:
        was = world.won
        counts.update(_step(world, step.command, step.observation))
        world.step(step.command)
        if world.won:
            counts["goal: steps go on while it holds" if was else "goal: reached"] += 1
        elif was:
            counts["goal: lost again"] += 1
    return counts


def _start(game: Game, world: World, first: str) -> Iterator[str]:
    yield "start: at a receptacle" if "You are facing" in first else "start: in the middle of the room"
    places = [place for place in game.places if place >= 0]
    features = {
        "something in the hand": game.in_hand >= 0,
        "the goal holds already": world.won,
        "a thing on the floor": any(a and not b for a, b in zip(game.lies_at, game.inside, strict=True)),
        "a thing in two receptacles": any(len(inside) > 1 for inside in game.inside),
        "a shared location": len(set(places)) < len(places),
        "an open receptacle": bool(game.opened & game.openable),
        "a receptacle nowhere": len(places) < len(game.places),
        "a thing nowhere": any(
            not (a or b) and o != game.in_hand for o, (a, b) in enumerate(zip(game.lies_at, game.inside, strict=True))
        ),
    }
    yield from (f"start: {name}" for name, holds in features.items() if holds)
    goal = game.goal
    yield "goal: look" if goal.kind == "look" else "goal: place two" if goal.count > 1 else "goal: place"
    yield from (f"goal: {state}" for state in goal.states)
    if len(goal.states) > 1:
        yield "goal: two states"


def _step(world: World, command: str, observation: str) -> Iterator[str]:
    """The branches of one command, in the state before it."""
    plain = command.strip()
    verb = plain.split(" ")[0]
    if observation == NOTHING_HAPPENS:
        yield from _refused(world, plain, verb)
        return
    if plain != command:
        yield "odd: white space around the command"
    yield f"{verb}: done"
    yield from _views(observation)
    rest = plain[len(verb) + 1 :]
    if verb in ("heat", "cool", "clean"):
        yield from _treated(world, verb, *rest.split(" with "))
    elif verb == "slice":
        o, tool = (world.game.object_index[name] for name in rest.split(" with "))
        yield f"slice: with a {world.game.object_types[tool]}"
        if o in world.sliced:
            yield "slice: sliced already"
        if not world.inside[o]:
            yield "slice: on the floor"
    elif verb == "take":
        if len(world.inside[world.game.object_index[rest.split(" from ")[0]]]) > 1:
            yield "take: one of two receptacles that hold it"
    elif verb == "move":
        if any(world.game.places[r] == world.place for o, r in world._left if o == world.in_hand):
            yield "move: to another receptacle of the same location"
    elif verb == "use":
        o = world.game.object_index[rest]
        if o in world.lit:
            yield "use: lamp that was on already"
        if not any(world.reachable(r) for r in world.inside[o]):
            yield "use: lamp in a closed receptacle"
    elif verb == "inventory":
        yield "inventory: carrying" if world.in_hand >= 0 else "inventory: empty"
    elif verb == "examine" and rest not in world.game.receptacle_index:
        yield from _described(observation)


def _views(observation: str) -> Iterator[str]:
    if " is closed." in observation:
        yield "view, closed"
    listed = _ENDED.search(observation)
    kind = "on" if "On the " in observation else "open" if " is open. In it" in observation else ""
    if listed and kind:
        yield f"view, {kind}: {_NUMBERS[min(_count(listed[1]), 3)]}"
    elif observation.startswith("You are in the middle"):
        yield "look: in the middle of the room"
    elif listed and observation.startswith("You are facing the "):
        facing = observation.partition(". Next to it")[0]
        yield "look: facing several" if ", and " in facing else "look: facing one receptacle"
        yield "look: next to it " + ("nothing", "one thing", "several")[min(_count(listed[1]), 2)]


def _count(listed: str) -> int:
    return 0 if listed == "nothing" else listed.count(", ") + 1


def _described(observation: str) -> Iterator[str]:
    if observation.startswith("This is a normal "):
        yield "examine thing: box, " + ("empty" if observation.endswith("nothing.") else "filled")
    elif observation.endswith(" is on."):
        yield "examine thing: lamp that is on"
    elif observation.startswith("There's nothing special"):
        yield "examine thing: nothing special"
    else:
        look = observation.removeprefix("This is a ").removesuffix(".").rsplit(" ", 2)[0]
        yield f"examine thing: {look}"


def _treated(world: World, verb: str, thing: str, name: str) -> Iterator[str]:
    game, o, r = world.game, world.game.object_index[thing], world.game.receptacle_index[name]
    if verb != "clean":
        yield f"{verb}: appliance " + ("closed" if r in game.openable and r not in world.opened else "open")
    elif game.receptacle_types[r] == "sink":
        yield "clean: at a sink that is no basin"
    if verb == "heat" and o in world.cool:
        yield "heat: was cool"
    if verb == "cool" and o in world.hot:
        yield "cool: was hot"
    if o in world.sliced:
        yield f"{verb}: was sliced"


def _refused(world: World, plain: str, verb: str) -> Iterator[str]:
    game = world.game
    if not plain:
        yield "odd: empty"
    elif plain.lower() != plain and plain.lower() in world.admissible():
        yield "odd: capitals"
    elif plain != " ".join(plain.split()) and " ".join(plain.split()) in world.admissible():
        yield "odd: white space within"
    elif verb not in _VERBS:
        yield "odd: unknown words"
    else:
        yield f"{verb}: refused"
        names = re.findall(r"[a-z]+ \d+", plain)
        o = next((game.object_index[n] for n in names if n in game.object_index), -1)
        r = next((game.receptacle_index[n] for n in names if n in game.receptacle_index), -1)
        yield from _why(world, verb, plain, o, r)


def _why(world: World, verb: str, plain: str, o: int, r: int) -> Iterator[str]:
    """The reason of a refusal, if exactly one condition fails."""
    game = world.game
    here = r >= 0 and game.places[r] == world.place
    shut = r in game.openable and r not in world.opened
    in_hand = o >= 0 and o == world.in_hand
    if verb == "slice" and o >= 0:
        tool = game.object_index.get(plain.partition(" with ")[2], -1)
        if tool >= 0 and o in game.sliceable and world.place in world.lies_at[o]:
            yield f"slice: refused, {'tool is no knife' if tool not in game.knives else 'no knife in the hand'}"
        return
    if verb == "examine" and o >= 0 and any(world.reachable(x) for x in world.inside[o]):
        yield "examine thing: refused, in sight but not in the hand"
    elif verb == "use" and o >= 0 and any(world.reachable(x) for x in world.inside[o]):
        yield "use: refused, no switch"
    if not here:
        return
    inside = o >= 0 and r in world.inside[o]
    reasons = {
        "go: refused, same location": verb == "go",
        "open: refused, open already": verb == "open" and not shut and r in game.openable,
        "open: refused, has no door": verb == "open" and r not in game.openable,
        "close: refused, closed already": verb == "close" and shut,
        "take: refused, closed receptacle": verb == "take" and inside and shut,
        "take: refused, hand is full": verb == "take" and inside and not shut and world.in_hand >= 0,
        "take: refused, cannot be picked up": verb == "take" and inside and o not in game.pickupable,
        "move: refused, closed receptacle": verb == "move" and in_hand and shut,
        "move: refused, does not belong there": verb == "move" and in_hand and not shut and r not in game.fits[o],
        "move: refused, not in the hand": verb == "move" and o >= 0 and not in_hand and not shut,
    }
    yield from (name for name, holds in reasons.items() if holds)
    appliances = {"heat": game.microwaves, "cool": game.fridges, "clean": game.sinks}
    if verb in appliances and in_hand:
        yield f"{verb}: refused, " + ("thing is not able" if r in appliances[verb] else "wrong appliance")
