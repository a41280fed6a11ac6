"""Draw one layout: room, goal, furniture, objects, places, in this order.

What the goal needs is placed first; the rest follows the frequencies of the published games.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rlsd.envs.alfworld.engine.furniture import (
    ALWAYS_SHUT,
    APPLIANCES,
    NO_TARGETS,
    SINGLE_USE,
    SOMETIMES_SHUT,
    Fixture,
    Thing,
    can_contain,
    fixtures,
    properties,
    things,
)
from rlsd.envs.alfworld.generate.config import WorldConfig
from rlsd.envs.alfworld.generate.layout import Layout

ROOMS: dict[str, dict[str, int]] = {
    "pick_and_place_simple": {"bathroom": 33, "bedroom": 29, "livingroom": 27, "kitchen": 11},
    "look_at_obj_in_light": {"bedroom": 85, "livingroom": 15},
    "pick_clean_then_place_in_recep": {"kitchen": 76, "bathroom": 24},
    "pick_heat_then_place_in_recep": {"kitchen": 100},
    "pick_cool_then_place_in_recep": {"kitchen": 100},
    "pick_two_obj_and_place": {"bedroom": 29, "bathroom": 29, "livingroom": 27, "kitchen": 15},
}
"""Task type → room → percent of the published games."""
_TREATMENTS = {
    "pick_clean_then_place_in_recep": ("clean", "cleanable"),
    "pick_heat_then_place_in_recep": ("heat", "heatable"),
    "pick_cool_then_place_in_recep": ("cool", "coolable"),
}
_LOOK, _TWO, _SIMPLE = "look_at_obj_in_light", "pick_two_obj_and_place", "pick_and_place_simple"


def draw_layout(rng: random.Random, task_type: str, config: WorldConfig) -> Layout:
    """One layout of this task type: solvable by construction, but neither planned nor filtered."""
    room = _weighted(rng, ROOMS[task_type])
    thing = rng.choice(sorted(_goals(task_type, room)))
    target = rng.choice(_goals(task_type, room)[thing])
    rooms = _rooms(rng, room, config.rooms)
    stock = _stocked(rooms)
    barred = {target} if task_type in (_SIMPLE, _TWO) else frozenset[str]()
    home = _home(rng, stock[thing], None, barred, config)
    needed = {home, target}
    if task_type == _LOOK:
        needed = {home, _home(rng, stock[target], None, frozenset(), config)}
    elif task_type in _TREATMENTS:
        needed.add(APPLIANCES[_TREATMENTS[task_type][0]])
    counts = _furnish(rng, _furniture(rooms), sorted(needed), config.receptacles)
    receptacles = tuple(kind for kind in sorted(counts) for _ in range(counts[kind]))
    where: dict[str, list[int]] = {}
    for r, kind in enumerate(receptacles):
        where.setdefault(kind, []).append(r)
    wanted = {thing: max(rng.randint(*config.goal_objects), 2 if task_type == _TWO else 1)}
    if task_type == _LOOK:
        wanted[target] = 1
    stocked = _stock(rng, stock, where, wanted, config.objects)
    objects = tuple(kind for kind in sorted(stocked) for _ in range(stocked[kind]))
    inside = tuple(
        rng.choice(where[_home(rng, stock[kind], where, barred if kind == thing else frozenset(), config)])
        for kind in objects
    )
    return Layout(
        task_type=task_type,
        thing=thing,
        target=target,
        receptacles=receptacles,
        openable=tuple(
            kind in ALWAYS_SHUT or (kind in SOMETIMES_SHUT and rng.random() < config.closed_share)
            for kind in receptacles
        ),
        spots=_spots(rng, receptacles, config.shared_share),
        objects=objects,
        inside=inside,
    )


def _rooms(rng: random.Random, first: str, bounds: tuple[int, int]) -> tuple[str, ...]:
    """The goal's room and, with several rooms, others of different kinds."""
    if bounds == (1, 1):
        return (first,)  # draw nothing, so that games of one room stay the same
    others = sorted(set(things()) - {first})
    return (first, *rng.sample(others, rng.randint(*bounds) - 1))


@lru_cache(maxsize=64)
def _furniture(rooms: tuple[str, ...]) -> dict[str, Fixture]:
    """Receptacle type → its frequency in these rooms together."""
    if len(rooms) == 1:
        return fixtures()[rooms[0]]
    joint: dict[str, Fixture] = {}
    for kind in sorted({kind for room in rooms for kind in fixtures()[room]}):
        entries = [fixtures()[room][kind] for room in rooms if kind in fixtures()[room]]
        presence, mean = _joint(entries)
        joint[kind] = Fixture(kind=kind, presence=presence, mean=mean, most=sum(f.most for f in entries))
    return joint


@lru_cache(maxsize=64)
def _stocked(rooms: tuple[str, ...]) -> dict[str, Thing]:
    """Object type → its frequency and places in these rooms together."""
    if len(rooms) == 1:
        return things()[rooms[0]]
    joint: dict[str, Thing] = {}
    for kind in sorted({kind for room in rooms for kind in things()[room]}):
        entries = [things()[room][kind] for room in rooms if kind in things()[room]]
        presence, mean = _joint(entries)
        homes: Counter[str] = Counter()
        for thing in entries:
            homes.update({home: round(w * 10 * thing.presence * thing.mean) + 1 for home, w in thing.homes.items()})
        joint[kind] = Thing(
            kind=kind,
            presence=presence,
            mean=mean,
            most=sum(f.most for f in entries),
            homes=dict(sorted(homes.items())),
        )
    return joint


def _joint(entries: Sequence[Fixture | Thing]) -> tuple[float, float]:
    """Probability that there is any, and the mean number in that case."""
    presence = 1 - math.prod(1 - f.presence for f in entries)
    return presence, sum(f.presence * f.mean for f in entries) / presence


@lru_cache(maxsize=64)
def _goals(task_type: str, room: str) -> dict[str, list[str]]:
    """Object type → targets that make a goal of this task type in this room."""
    stock, fits = things()[room], can_contain()
    goals: dict[str, list[str]] = {}
    for kind, thing in stock.items():
        able = properties(kind)
        if "pickupable" not in able or not any(kind in fits.get(holder, ()) for holder in fixtures()[room]):
            continue
        if task_type == _LOOK:
            goals[kind] = ["DeskLamp"]
            continue
        treatment = _TREATMENTS.get(task_type)
        if treatment and treatment[1] not in able:
            continue
        barred = NO_TARGETS | ({APPLIANCES[treatment[0]]} if treatment else set())
        targets = [holder for holder in fixtures()[room] if kind in fits.get(holder, ()) and holder not in barred]
        if not treatment:  # the object needs another initial place
            targets = [holder for holder in targets if set(thing.homes) - {holder}]
        if targets:
            goals[kind] = targets
    return goals


def _weighted(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _home(
    rng: random.Random,
    thing: Thing,
    present: Mapping[str, Sequence[int]] | None,
    barred: frozenset[str] | set[str],
    config: WorldConfig,
) -> str:
    """Draws a receptacle type for an object, of those present (None: all), by prior and strength."""
    weights = {
        kind: weight**config.prior_strength
        for kind, weight in thing.homes.items()
        if kind not in barred and (present is None or kind in present)
    }
    return _weighted(rng, weights)


def _natural(rng: random.Random, entry: Fixture | Thing) -> int:
    """Draws how many there are of one type in a room, at the published frequency."""
    if rng.random() >= entry.presence:
        return 0
    return min(max(round(rng.gauss(entry.mean, entry.mean / 3)), 1), entry.most)


def _fit(
    rng: random.Random,
    counts: Counter[str],
    kept: Mapping[str, int],
    entries: Mapping[str, Fixture | Thing],
    bounds: tuple[int, int],
) -> None:
    """Bring the total of `counts` into `bounds`, never below `kept`.

    Too many: the most frequent type loses one at a time, so that a small game stays varied. Too few: types are
    added at their published frequency.
    """
    total = counts.total()
    if bounds[0] <= total <= bounds[1]:
        return
    size = rng.randint(*bounds)
    while total > size:
        spare = {kind: n for kind, n in counts.items() if n > kept.get(kind, 0)}
        if not spare:
            return
        largest = max((n, kind in SINGLE_USE) for kind, n in spare.items())
        kind = rng.choice(sorted(k for k, n in spare.items() if (n, k in SINGLE_USE) == largest))
        counts[kind] -= 1
        total -= 1
    grown = rng.choices(list(entries), [e.presence * e.mean for e in entries.values()], k=max(0, size - total))
    counts.update(grown)


def _furnish(
    rng: random.Random, entries: Mapping[str, Fixture], needed: Sequence[str], bounds: tuple[int, int]
) -> Counter[str]:
    """Receptacle type → number, with at least one of each needed type."""
    counts = Counter({kind: _natural(rng, entry) for kind, entry in entries.items()})
    for kind in needed:
        counts[kind] = max(counts[kind], 1)
    several = {kind: entry for kind, entry in entries.items() if entry.most > 2}  # avoids rooms with five beds
    _fit(rng, counts, dict.fromkeys(needed, 1), several, bounds)
    return +counts


def _stock(
    rng: random.Random,
    entries: Mapping[str, Thing],
    present: Mapping[str, Sequence[int]],
    wanted: Mapping[str, int],
    bounds: tuple[int, int],
) -> Counter[str]:
    """Object type → number; exactly `wanted` of the goal's types, others only if a place for them exists."""
    others = {
        kind: entry
        for kind, entry in entries.items()
        if kind not in wanted and any(home in present for home in entry.homes)
    }
    counts = Counter({kind: _natural(rng, entry) for kind, entry in others.items()})
    counts.update(wanted)
    _fit(rng, counts, wanted, {k: e for k, e in others.items() if e.most > 1}, bounds)
    return +counts


def _spots(rng: random.Random, receptacles: Sequence[str], shared_share: float) -> tuple[int, ...]:
    """Location of each receptacle; with probability `shared_share` that of the previous one of the same type."""
    spots: list[int] = []
    count = 0
    for r, kind in enumerate(receptacles):
        if r and receptacles[r - 1] == kind and rng.random() < shared_share:
            spots.append(spots[-1])
        else:
            spots.append(count)
            count += 1
    return tuple(spots)
