"""A compiled game: the constant part of one ALFWorld problem."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.envs.alfworld.engine.pddl import Facts, Goal, read_facts, read_goal, split_problem
from rlsd.envs.errors import GameFileError

_TASK_RULE = re.compile(r"Your task is to: ((?:[^\"\\]|\\.)*)\"")
_PREFIX = "Your task is to: "
FIX = "download the file again (alfworld-download) or remove it from the folder"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Game:
    """One problem; objects, receptacles and locations are small integers in the original's id order.

    Games compare by identity: loading one file twice gives two games.
    """

    source: str
    """Source for error messages: a path or a generated game's id."""
    task: str
    """The task sentence without "Your task is to: "."""
    task_type: str
    goal: Goal
    walkthrough: tuple[str, ...]
    """An expert's commands from start to goal; empty when none is known."""

    objects: tuple[str, ...]
    """Shown names, as "mug 1"."""
    object_types: tuple[str, ...]
    receptacles: tuple[str, ...]
    receptacle_types: tuple[str, ...]
    places: tuple[int, ...]
    """Location of each receptacle; several may share one. -1: nowhere, out of reach."""
    at_place: tuple[tuple[int, ...], ...]
    """Receptacles at each location."""
    go: tuple[tuple[str, ...], ...]
    """The "go to" commands from each location, sorted."""
    fits: tuple[frozenset[int], ...]
    """Receptacles each object may be put in."""
    openable: frozenset[int]
    pickupable: frozenset[int]
    cleanable: frozenset[int]
    heatable: frozenset[int]
    coolable: frozenset[int]
    toggleable: frozenset[int]
    sliceable: frozenset[int]
    knives: frozenset[int]
    boxes: dict[int, tuple[int, ...]]
    """Objects that hold objects → their contents, which never change."""
    sinks: frozenset[int]
    microwaves: frozenset[int]
    fridges: frozenset[int]

    start: int
    """Initial location of the agent."""
    in_hand: int
    """Object initially in hand, or -1."""
    opened: frozenset[int]
    inside: tuple[tuple[int, ...], ...]
    """Receptacles each object is initially in (normally one)."""
    contents: tuple[tuple[int, ...], ...]
    """Objects initially in each receptacle."""
    lies_at: tuple[tuple[int, ...], ...]
    """Locations each object is initially recorded at (normally one)."""
    states: tuple[tuple[str, frozenset[int]], ...]
    """(state, objects initially in it) for clean, hot, cool, sliced, lit."""

    goal_objects: tuple[int, ...]
    """Objects that can satisfy the goal: right type, right properties."""
    goal_targets: tuple[int, ...]
    """Receptacles ("place") or lamps ("look") that can satisfy the goal."""
    object_index: dict[str, int]
    receptacle_index: dict[str, int]

    @classmethod
    def parse(
        cls,
        problem: str,
        *,
        task: str,
        walkthrough: Sequence[str] = (),
        task_type: str | None = None,
        source: str,
    ) -> Game:
        """Compile a PDDL problem of the ALFRED domain.

        Args:
            problem: the whole `(define (problem …) …)` text.
            task: the task sentence, with or without "Your task is to: ".
            task_type: one of the six published names; default: derived from the goal.
            source: name of the game in errors.

        Raises:
            GameFileError: truncated or malformed, or a goal outside the six families.
        """
        init, goal_text = split_problem(problem, source)
        goal = read_goal(goal_text, source)
        fields = _compile(read_facts(init), goal, source)
        return cls(
            source=source,
            task=task.strip().removeprefix(_PREFIX),
            task_type=task_type or goal.task_type,
            goal=goal,
            walkthrough=tuple(walkthrough),
            **fields,
        )


def load_game(path: str | Path) -> Game:
    """Read a published `game.tw-pddl`, or a generated game (the same JSON with "task" instead of "grammar").

    Raises:
        GameFileError: missing, not JSON, truncated or malformed; names the file and the fix.
    """
    source = str(path)
    try:
        data: Any = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise GameFileError(f"{source}: no such game file; check the path, or {FIX}") from None
    except OSError as error:
        raise GameFileError(f"{source}: cannot be read ({error.strerror}); check the path and its rights") from None
    except (ValueError, RecursionError) as error:
        raise GameFileError(f"{source}: not a JSON game file, perhaps truncated ({error}); {FIX}") from None
    return game_from_json(data, source)


def game_from_json(data: Any, source: str) -> Game:
    """A game from the decoded JSON of a game file.

    Raises:
        GameFileError: a key is missing or has the wrong kind of value.
    """
    if not isinstance(data, dict) or not isinstance(data.get("pddl_problem"), str):
        raise GameFileError(f'{source}: a game file is a JSON object with a text under "pddl_problem"; {FIX}')
    task = data.get("task")
    if task is None:
        match = _TASK_RULE.search(data["grammar"]) if isinstance(data.get("grammar"), str) else None
        if match is None:
            raise GameFileError(f'{source}: no task sentence: neither "task" nor a "task" rule in "grammar"; {FIX}')
        task = match.group(1)
    walkthrough = data.get("walkthrough") or []
    if (
        not isinstance(task, str)
        or not isinstance(walkthrough, list)
        or not all(isinstance(x, str) for x in walkthrough)
    ):
        raise GameFileError(f'{source}: "task" must be a text and "walkthrough" a list of texts; {FIX}')
    task_type = data.get("task_type")
    return Game.parse(
        data["pddl_problem"],
        task=task,
        walkthrough=walkthrough,
        task_type=task_type if isinstance(task_type, str) else None,
        source=source,
    )


def shown_names(ids: Iterable[str]) -> dict[str, str]:
    """Id → name as the original shows it: numbered per type, the first id gets the highest number."""
    ordered = sorted(ids)
    kinds = [_kind(i) for i in ordered]
    left = Counter(kinds)
    names: dict[str, str] = {}
    for i, kind in zip(ordered, kinds, strict=True):
        if "_bar_" in i:
            names[i] = f"{kind} {left[kind]}"
            left[kind] -= 1
        else:
            names[i] = f"{kind} "  # the original leaves the blank; no command can name such an object
    return names


def _kind(name_id: str) -> str:
    head, bar, _ = name_id.partition("_bar_")
    return head + "basin" if bar and "basin" in name_id else head


def _compile(facts: Facts, goal: Goal, source: str) -> dict[str, Any]:
    object_type = {a: b.removesuffix("type") for a, b in facts.get("objecttype", ())}
    receptacle_type = {a: b.removesuffix("type") for a, b in facts.get("receptacletype", ())}
    place_of: dict[str, str] = {}
    for r, where in facts.get("receptacleatlocation", ()):
        if place_of.setdefault(r, where) != where:
            raise GameFileError(f"{source}: receptacle {r} has two locations; expected one")
    agent = facts.get("atlocation", ())
    if len(agent) != 1 or not place_of or not object_type:
        counts = f"{len(agent)} agent locations, {len(place_of)} receptacles, {len(object_type)} objects"
        raise GameFileError(
            f"{source}: the initial facts are incomplete ({counts}; expected one, some and some); {FIX}"
        )
    loose = [o for name in ("inreceptacle", "objectatlocation") for o, _ in facts.get(name, ())]
    object_ids = sorted({*object_type, *loose})
    receptacle_ids = sorted({*receptacle_type, *place_of})
    names = shown_names({*object_ids, *receptacle_ids})
    o_of = {name: i for i, name in enumerate(object_ids)}
    r_of = {name: i for i, name in enumerate(receptacle_ids)}
    spots = {a: i for i, a in enumerate(sorted({*place_of.values(), agent[0][1]}))}
    for _, where in facts.get("objectatlocation", ()):
        spots.setdefault(where, len(spots))

    def some(predicate: str, index: dict[str, int]) -> frozenset[int]:
        return frozenset(index[a] for a, _ in facts.get(predicate, ()) if a in index)

    def related(predicate: str, index: dict[str, int]) -> tuple[tuple[int, ...], ...]:
        targets: list[list[int]] = [[] for _ in object_ids]
        for o, b in facts.get(predicate, ()):
            if o in o_of and b in index and index[b] not in targets[o_of[o]]:
                targets[o_of[o]].append(index[b])
        return tuple(tuple(sorted(row)) for row in targets)

    inside = related("inreceptacle", r_of)
    contents: list[list[int]] = [[] for _ in receptacle_ids]
    for o, holders in enumerate(inside):
        for r in holders:
            contents[r].append(o)
    objects = tuple(names[o] for o in object_ids)
    receptacles = tuple(names[r] for r in receptacle_ids)
    object_types = tuple(object_type.get(o, "") for o in object_ids)
    receptacle_types = tuple(receptacle_type.get(r, "") for r in receptacle_ids)
    places = tuple(spots[place_of[r]] if r in place_of else -1 for r in receptacle_ids)
    flags = {
        name: some(name, o_of)
        for name in ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable")
    }
    boxes: dict[int, tuple[int, ...]] = dict.fromkeys(sorted(some("isreceptacleobject", o_of)), ())
    for o, b in sorted(facts.get("inreceptacleobject", ())):
        if b in o_of and o in o_of and o_of[b] in boxes:
            boxes[o_of[b]] += (o_of[o],)
    if goal.kind == "place":
        targets = [r for r, t in enumerate(receptacle_types) if t == goal.target_type]
    else:
        targets = [o for o, t in enumerate(object_types) if t == goal.target_type and o in flags["toggleable"]]
    holding = [o_of[o] for _, o in facts.get("holds", ()) if o in o_of]
    start_states = (("clean", "isclean"), ("hot", "ishot"), ("cool", "iscool"), ("sliced", "issliced"))
    return {
        "objects": objects,
        "object_types": object_types,
        "receptacles": receptacles,
        "receptacle_types": receptacle_types,
        "places": places,
        "at_place": tuple(tuple(r for r, p in enumerate(places) if p == here) for here in range(len(spots))),
        "go": tuple(
            tuple(sorted("go to " + receptacles[r] for r, p in enumerate(places) if p not in (here, -1)))
            for here in range(len(spots))
        ),
        "fits": _fits(facts, object_types, receptacle_types),
        "openable": some("openable", r_of),
        **flags,
        "knives": frozenset(o for o, t in enumerate(object_types) if t in ("knife", "butterknife")),
        "boxes": boxes,
        "sinks": frozenset(r for r, t in enumerate(receptacle_types) if t in ("sink", "sinkbasin")),
        "microwaves": frozenset(r for r, t in enumerate(receptacle_types) if t == "microwave"),
        "fridges": frozenset(r for r, t in enumerate(receptacle_types) if t == "fridge"),
        "start": spots[agent[0][1]],
        "in_hand": holding[0] if holding else -1,
        "opened": some("opened", r_of),
        "inside": inside,
        "contents": tuple(map(tuple, contents)),
        "lies_at": related("objectatlocation", spots),
        "states": (
            *((word, some(predicate, o_of)) for word, predicate in start_states),
            ("lit", some("istoggled", o_of)),
        ),
        "goal_objects": tuple(
            o
            for o, t in enumerate(object_types)
            if t == goal.object_type and all(o in flags[p] for p in goal.properties)
        ),
        "goal_targets": tuple(targets),
        "object_index": {name: i for i, name in enumerate(objects)},
        "receptacle_index": {name: i for i, name in enumerate(receptacles)},
    }


def _fits(facts: Facts, object_types: tuple[str, ...], receptacle_types: tuple[str, ...]) -> tuple[frozenset[int], ...]:
    """Per object the receptacles whose type may contain its type; objects of one type share one set."""
    holders: dict[str, set[str]] = {}
    for r_type, o_type in facts.get("cancontain", ()):
        holders.setdefault(o_type.removesuffix("type"), set()).add(r_type.removesuffix("type"))
    shared: dict[str, frozenset[int]] = {}
    for o_type in set(object_types):
        able = holders.get(o_type, frozenset())
        shared[o_type] = frozenset(r for r, t in enumerate(receptacle_types) if t in able)
    return tuple(shared[t] for t in object_types)
