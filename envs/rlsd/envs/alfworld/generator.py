"""Solvable ALFWorld games by the thousand, from a seed and a few knobs.

A world is drawn in the order room, goal, furniture, objects, places; whatever the goal needs is put in first,
the rest follows the frequencies of the published games. The planner certifies every game.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from rlsd.envs.alfworld.game import Game
from rlsd.envs.alfworld.layout import Layout, location_id, object_id, receptacle_id, write_problem
from rlsd.envs.alfworld.oracle import plan
from rlsd.envs.alfworld.vocabulary import (
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
from rlsd.envs.alfworld.world import World
from rlsd.envs.errors import EnvError, closest

GENERATOR_VERSION = 1
"""Raised whenever the same seed and knobs would give another game."""
CONTENT_PARTS = 8
_ATTEMPTS = 2000

SENTENCES = {
    "pick_and_place_simple": ("put some {o} on {r}.", "put a {o} in {r}."),
    "look_at_obj_in_light": ("look at {o} under the {r}.", "examine the {o} with the {r}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    "pick_two_obj_and_place": ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}
"""The two wordings of each task type in the published games, about equally frequent there."""
TASK_TYPES = tuple(SENTENCES)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """The knobs of the generator. The defaults come close to the published games.

    Example: WorldConfig(receptacles=(4, 6), objects=(3, 6), goal_objects=(1, 1), horizon=9)

    Raises:
        EnvError: a range upside down, a share outside [0, 1], an unknown task type.
    """

    receptacles: tuple[int, int] = (6, 54)
    """Fewest and most. A room that would have fewer or more by nature gets a number drawn from this range."""
    objects: tuple[int, int] = (8, 64)
    """Fewest and most, drawn likewise; all lie in receptacles."""
    goal_objects: tuple[int, int] = (1, 4)
    """Objects of the goal's type; at least two where the task is about two."""
    closed_share: float = 0.83
    """Share of cabinets, drawers and safes that can be opened and are shut; fridge and microwave always are."""
    shared_share: float = 0.08
    """Share of receptacles that stand at the location of another of their type."""
    prior_strength: float = 1.0
    """Objects lie in a receptacle type in proportion to its published share to this power: 0 = anywhere they
    were ever seen, 1 = as published, above 1 = ever more in the usual place."""
    task_types: tuple[str, ...] = TASK_TYPES
    """The seed picks one by turns: seed 0 the first, seed 1 the second, …"""
    horizon: int = 12
    """Longest shortest plan allowed, in commands."""
    parts: tuple[int, int] = (0, CONTENT_PARTS)
    """Keep worlds whose content hash modulo 8 lies in this half-open range: configs with ranges that do not
    meet share no world, whatever their seeds."""

    def __post_init__(self) -> None:
        for name, least in (("receptacles", 3), ("objects", 2), ("goal_objects", 1)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise EnvError(f"{name}={low, high} must be (fewest, most) with {least} ≤ fewest ≤ most")
        for name in ("closed_share", "shared_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise EnvError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        if not self.task_types:
            raise EnvError("task_types must name at least one task type")
        for task_type in self.task_types:
            if task_type not in TASK_TYPES:
                raise EnvError(f"unknown task type {task_type!r}{closest(task_type, TASK_TYPES)}")
        if self.prior_strength < 0 or self.horizon < 1:
            raise EnvError("prior_strength must be at least 0 and horizon at least 1")
        if not 0 <= self.parts[0] < self.parts[1] <= CONTENT_PARTS:
            raise EnvError(f"parts={self.parts} must be a half-open range within (0, {CONTENT_PARTS})")

    def task_type(self, seed: int) -> str:
        """The task type of this seed; known without generating anything."""
        return self.task_types[seed % len(self.task_types)]

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorldConfig:
        """Raises EnvError for an unknown knob; names the closest one."""
        known = {f.name for f in fields(cls)}
        for name in data:
            if name not in known:
                raise EnvError(f"unknown knob {name!r}{closest(name, known)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedGame:
    """A certified game and what it was made from; equal seeds, knobs and versions give equal games."""

    seed: int
    config: WorldConfig
    task_type: str
    task: str
    """The task sentence, with its full stop."""
    problem: str
    """PDDL problem of the ALFRED domain, in the published format."""
    walkthrough: tuple[str, ...]
    """A shortest plan."""
    content: int
    """`Layout.content_hash()`: 64 bits over the world and the goal."""

    def game(self) -> Game:
        """The same, compiled for play."""
        return Game.parse(
            self.problem,
            task=self.task,
            walkthrough=self.walkthrough,
            task_type=self.task_type,
            source=f"generated game {self.seed}",
        )

    def to_json(self) -> dict[str, Any]:
        """What a generated game's file holds; `rlsd.envs.alfworld.game.load_game` reads it."""
        return {
            "pddl_problem": self.problem,
            "task": self.task,
            "task_type": self.task_type,
            "solvable": True,
            "walkthrough": list(self.walkthrough),
            "seed": self.seed,
            "config": self.config.to_json(),
        }


def generate(seed: int, config: WorldConfig) -> GeneratedGame:
    """The game of this seed: solvable within `config.horizon` commands and not won at the start.

    Raises:
        EnvError: a negative seed, or knobs that no world satisfies.
    """
    if seed < 0:
        raise EnvError(f"a seed must be at least 0, got {seed}")
    knobs = json.dumps(config.to_json(), sort_keys=True)
    rng = random.Random(f"{GENERATOR_VERSION}/{seed}/{knobs}")
    task_type = config.task_type(seed)
    for _ in range(_ATTEMPTS):
        layout = draw_layout(rng, task_type, config)
        content = layout.content_hash()
        if not config.parts[0] <= content % CONTENT_PARTS < config.parts[1]:
            continue
        problem, task = _write(rng, layout, seed)
        game = Game.parse(problem, task=task, task_type=task_type, source=f"generated game {seed}")
        walkthrough = plan(World(game))
        if walkthrough and len(walkthrough) <= config.horizon:
            return GeneratedGame(
                seed=seed,
                config=config,
                task_type=task_type,
                task=task,
                problem=problem,
                walkthrough=walkthrough,
                content=content,
            )
    raise EnvError(
        f"no {task_type} world within horizon={config.horizon} in {_ATTEMPTS} attempts; raise horizon or "
        "widen the other knobs"
    )


def draw_layout(rng: random.Random, task_type: str, config: WorldConfig) -> Layout:
    """One world of this task type: solvable by construction, but neither planned nor filtered."""
    room = _weighted(rng, ROOMS[task_type])
    thing = rng.choice(sorted(_goals(task_type, room)))
    target = rng.choice(_goals(task_type, room)[thing])
    stock = things()[room]
    barred = {target} if task_type in (_SIMPLE, _TWO) else frozenset[str]()
    home = _home(rng, stock[thing], None, barred, config)
    needed = {home, target}
    if task_type == _LOOK:
        needed = {home, _home(rng, stock[target], None, frozenset(), config)}
    elif task_type in _TREATMENTS:
        needed.add(APPLIANCES[_TREATMENTS[task_type][0]])
    counts = _furnish(rng, fixtures()[room], sorted(needed), config.receptacles)
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
        if not treatment:  # the thing must have another place to lie in at first
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
    """A receptacle type for an object to lie in, of those present (None: all), by prior and strength."""
    weights = {
        kind: weight**config.prior_strength
        for kind, weight in thing.homes.items()
        if kind not in barred and (present is None or kind in present)
    }
    return _weighted(rng, weights)


def _natural(rng: random.Random, entry: Fixture | Thing) -> int:
    """How many there are of one type in a room, at the published frequency."""
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

    Too many: the most frequent type loses one at a time, so that a small world is a varied one. Too few: types
    gain at their published frequency.
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
    counts.update(kind for kind in grown)


def _furnish(
    rng: random.Random, entries: Mapping[str, Fixture], needed: Sequence[str], bounds: tuple[int, int]
) -> Counter[str]:
    """Receptacle type → number, with one of each needed type at least."""
    counts = Counter({kind: _natural(rng, entry) for kind, entry in entries.items()})
    for kind in needed:
        counts[kind] = max(counts[kind], 1)
    several = {kind: entry for kind, entry in entries.items() if entry.most > 1}
    _fit(rng, counts, dict.fromkeys(needed, 1), several, bounds)
    return +counts


def _stock(
    rng: random.Random,
    entries: Mapping[str, Thing],
    present: Mapping[str, Sequence[int]],
    wanted: Mapping[str, int],
    bounds: tuple[int, int],
) -> Counter[str]:
    """Object type → number; exactly `wanted` of the goal's types, others only where they have a home."""
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
    """Location of each receptacle; now and then that of the one before, if that is of the same type."""
    spots: list[int] = []
    count = 0
    for r, kind in enumerate(receptacles):
        if r and receptacles[r - 1] == kind and rng.random() < shared_share:
            spots.append(spots[-1])
        else:
            spots.append(count)
            count += 1
    return tuple(spots)


def _write(rng: random.Random, layout: Layout, seed: int) -> tuple[str, str]:
    """The problem with random coordinates (hence random numbering), and the task sentence."""
    points = [
        (v // 620 % 620 - 310, v % 620 * 2 % 220, v // 384400 - 310)
        for v in rng.sample(range(620**3), len(layout.receptacles) + len(layout.objects))
    ]
    rs = [receptacle_id(kind, points.pop()) for kind in layout.receptacles]
    os = [object_id(kind, points.pop()) for kind in layout.objects]
    cells = rng.sample(range(40 * 40), max(layout.spots) + 2)
    locations = [location_id(v % 40 - 20, v // 40 - 20, v % 4, (45, 60, 30)[v % 3]) for v in cells]
    problem = write_problem(layout, name=f"plan_gen_{seed}", receptacle_ids=rs, object_ids=os, locations=locations)
    wording = rng.choice(SENTENCES[layout.task_type])
    return problem, wording.format(o=layout.thing.lower(), r=layout.target.lower())
