"""Finding living things, their spans and stages of life."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Check, Goal, Goals
from rlsd.envs.scienceworld.engine.world.bred import PeaPlant
from rlsd.envs.scienceworld.engine.world.containers import (
    AnswerBox,
    FlowerPot,
    SelfWateringFlowerPot,
)
from rlsd.envs.scienceworld.engine.world.living import ANIMALS, Animal
from rlsd.envs.scienceworld.engine.world.plants import ADULT, PLANT, Plant, tree
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make

_WILD = (
    "butterfly", "moth", "frog", "common toad", "giant tortoise", "turtle", "crocodile", "parrot", "dove", "blue jay",
    "elephant", "brown bear", "beaver", "wolf",
)  # fmt: skip
_COLORS = ("red", "green", "blue", "orange", "yellow", "purple")
_BOX_ROOMS = ("kitchen", "bathroom", "living room", "bedroom", "workshop")
_POTS = range(1, 10)
_DRAWS_BEFORE_FIND = 56
_DRAWS_OF_PLANTS = 16
_DRAWS_BEFORE_STAGES = 700
_DRAWS_OF_POTS = 8
"""Random numbers that the original draws for task types and variations that come before, when it makes all of them."""


def find(asked: str, check: Check, text: str, rank: int) -> Callable[[State, int], Assignment]:
    """Find a thing and move it to a box: animals outside, plants in the greenhouse."""

    def assign(state: State, variation: int) -> Assignment:
        house, box = divmod(variation, len(_COLORS) * len(_BOX_ROOMS))
        state.random.seed(variation)
        state.random.skip(_DRAWS_BEFORE_FIND + (10 * rank + house) * _DRAWS_OF_PLANTS)
        wild = JavaRandom(house).shuffled(_WILD)[:3]
        additions = [Addition(Animal(state, kind), "outside") for kind in wild]
        additions += _potted(state, house)
        room, color = _BOX_ROOMS[box // len(_COLORS)], _COLORS[box % len(_COLORS)]
        answer = AnswerBox(state, color)
        additions.append(Addition(answer, room))
        return Assignment(
            f"Your task is to find a(n) {asked}. First, focus on the thing. Then, move it to the {answer.name} in the "
            f"{room}.",
            Goals(
                [Goal(text, check), Goal("move living thing to answer box", g.in_container(answer.name))],
                [
                    Goal("Pick up object", g.in_container("inventory")),
                    Goal("Be in a room with an open door", g.open_door),
                    Goal("Move to a new location", g.moved_on()),
                    Goal("Move to the location of the answer box", g.at_location(room)),
                ],
            ),
            additions,
        )

    return assign


def _potted(state: State, house: int) -> list[Addition]:
    """Three plants in pots, and two empty pots."""
    kinds = ("apple", "avocado", "banana", "cherry", "lemon", "orange", "peach")
    plants: list[Plant] = [tree(state, kind) for kind in kinds]
    plants.append(PeaPlant(state))
    numbers = state.random.shuffled(_POTS)
    pots = []
    for plant in plants:
        pot = FlowerPot(state)
        plant.cycle.at = ADULT
        pot.put(plant)
        pot.put(make(state, "soil"))
        pots.append(pot)
    chosen = [*JavaRandom(house).shuffled(pots)[:3], FlowerPot(state), FlowerPot(state)]
    for pot, number in zip(chosen, numbers):
        pot.name = f"flower pot {number}"
    return [Addition(pot, "greenhouse", always=True) for pot in chosen]


_LONG = ("giant tortoise", "parrot", "elephant", "crocodile", "brown bear")
_MEDIUM = ("beaver", "wolf", "chipmunk", "common toad", "rabbit")
_SHORT = ("hedgehog", "mouse", "chameleon", "dragonfly", "ant")


def lifespan(text: str, *asked: str) -> Callable[[State, int], Assignment]:
    """Focus on the animal that lives longest, or shortest, or both in turn."""

    def assign(state: State, variation: int) -> Assignment:
        every = [(a, b, c) for a in _LONG for b in _MEDIUM for c in _SHORT]
        chosen = JavaRandom(0).shuffled(every)[variation]
        names = {"longest": chosen[0], "shortest": chosen[2]}
        ordered = [
            Goal(f"focus on animal with {span} life span", g.named(names[span]), defocus=i + 1 < len(asked))
            for i, span in enumerate(asked)
        ]
        return Assignment(
            text,
            Goals(ordered, _moving("outside")),
            [Addition(Animal(state, kind), "outside") for kind in chosen],
        )

    return assign


def _moving(room: str, unless_in: str | None = None) -> list[Goal]:
    return [
        Goal(
            "Move to a new location (unless starting in task location)",
            g.moved_on(unless_in=room if unless_in is None else unless_in),
        ),
        Goal("Move to the location asked by the task", g.at_location(room)),
    ]


def _staying(room: str) -> list[Goal]:
    return [Goal(f"Stay in goal location for {n} steps", g.stayed(room, n)) for n in (10, 20, 30)]


def animal_stages(state: State, variation: int) -> Assignment:
    """Focus on each stage of an animal's life in turn."""
    kind_at = JavaRandom(1).shuffled(range(len(_WILD)))[variation]
    kind = _WILD[kind_at]
    stages = [stage.name for stage in ANIMALS[kind][:-1]]
    others = JavaRandom(kind_at).shuffled(_WILD)[:5]
    return Assignment(
        f"Your task is to focus on the {len(stages)} life stages of the {kind}, starting from earliest to latest.",
        Goals(
            [
                Goal(f"focus on animal in life stage {i + 1}", g.in_stage(kind, stage), defocus=True)
                for i, stage in enumerate(stages)
            ],
            [*_moving("outside"), *_staying("outside")],
        ),
        [Addition(Animal(state, name), "outside") for name in (kind, *others)],
    )


_GROWN = ("apple", "apricot", "avocado", "banana", "cherry", "grapefruit", "lemon", "orange", "peach", "pear")
_BESIDE = (0, 6, 1, 2, 3, 6, 4, 5, 6, 6)
"""Seeds by which the animal beside each plant is drawn."""


def plant_stages(state: State, variation: int) -> Assignment:
    """Focus on each stage of a plant's life in turn; one plant in each stage stands outside."""
    kind = _GROWN[variation]
    plants = []
    for at in range(len(PLANT)):
        plant = tree(state, kind)
        plant.cycle.at = at
        plants.append(plant)
    state.random.seed(variation)
    state.random.skip(_DRAWS_BEFORE_STAGES + variation * _DRAWS_OF_POTS)
    additions = []
    for plant, number in zip(plants, state.random.shuffled(_POTS)):
        pot = SelfWateringFlowerPot(state)
        pot.put(make(state, "soil"))
        pot.put(plant)
        pot.name = f"self watering flower pot {number}"
        additions.append(Addition(pot, "outside", always=True))
    beside = JavaRandom(_BESIDE[variation]).shuffled(_WILD)[0]
    for at in range(len(ANIMALS[beside])):
        animal = Animal(state, beside)
        animal.cycle.at = at
        additions.append(Addition(animal, "outside", always=True))
    stages = [stage.name for stage in PLANT[:-1]]
    return Assignment(
        f"Your task is to focus on the life stages of the {kind} plant, starting from earliest to latest. The plants "
        "are located outside.",
        Goals(
            [
                Goal(f"focus on plant in life stage {i + 1}", g.in_stage(kind, stage), defocus=True)
                for i, stage in enumerate(stages)
            ],
            [*_moving("outside", unless_in=kind), *_staying("outside")],
        ),
        additions,
    )
