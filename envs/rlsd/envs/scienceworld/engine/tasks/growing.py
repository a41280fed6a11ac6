"""Growing plants and fruit, and finding out which trait is dominant."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.world.bred import PeaPlant, UnknownPlant
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox, FlowerPot, vessel
from rlsd.envs.scienceworld.engine.world.genetics import COLOR, HEIGHT, SHAPE, TRAITS, pure_genes
from rlsd.envs.scienceworld.engine.world.plants import PLANT, tree
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

_SEEDS = ("apple", "avocado", "banana", "cherry", "lemon", "orange", "peach")
_SEED_ROOMS = ("kitchen", "bathroom", "living room", "bedroom", "workshop", "greenhouse")
_SEEDS_IN_JAR = 5
_POTS = 3
_ROOM = "greenhouse"
_STAGES = [stage.name for stage in PLANT[:-1]]
_TWO = "atLeast2Reproducing"


def grow_plant(state: State, variation: int) -> Assignment:
    """Grow a plant from a seed until it reproduces."""
    kind, room, pots, additions = _seeds_and_pots(state, variation)
    names = ("seed", "seedling", "adult", "reproducing")
    return Assignment(
        f"Your task is to grow a {kind} plant from seed. Seeds can be found in the {room}. First, focus on a seed. "
        "Then, make changes to the environment that grow the plant until it reaches the reproduction life stage.",
        Goals(
            [
                Goal(f"focus plant is in {name} stage", g.grows(kind, stage), asks=kind)
                for name, stage in zip(names, _STAGES, strict=True)
            ],
            [*_jar(), *_soil(), *_moving(), *_prepared(kind, pots)],
        ),
        additions,
    )


def grow_fruit(state: State, variation: int) -> Assignment:
    """Grow plants that pollinate each other, until there is a fruit."""
    kind, room, pots, additions = _seeds_and_pots(state, variation)
    return Assignment(
        f"Your task is to grow a {kind}. This will require growing several plants, and them being crosspollinated to "
        f"produce fruit.  Seeds can be found in the {room}. To complete the task, focus on the grown {kind}.",
        Goals(
            [Goal("focus on the grown fruit", g.named(kind), asks=kind)],
            [
                *_jar(),
                *_soil(),
                *_moving(),
                *_prepared(kind, pots),
                *_growing(kind, 2),
                Goal("bee hive open (after reprod. life stage)", g.is_open("bee hive")),
                _bee(),
                Goal("be in same location as fruit", g.in_room_with(kind)),
            ],
        ),
        additions,
    )


def _seeds_and_pots(state: State, variation: int) -> tuple[str, str, list[str], list[Addition]]:
    """Kind of seeds, their room, names of the pots; pots hold soil, or soil lies nearby, or there is none."""
    at, soil = divmod(variation, 3)
    kind, room = _SEEDS[at // len(_SEED_ROOMS)], _SEED_ROOMS[at % len(_SEED_ROOMS)]
    jar = vessel(state, "ceramic cup", *(tree(state, kind) for _ in range(_SEEDS_IN_JAR)))
    jar.name = "seed jar"
    additions = [Addition(jar, room)]
    names = [f"flower pot {i + 1}" for i in range(_POTS)]
    for name in names:
        pot = FlowerPot(state, name)
        additions.append(Addition(pot, _ROOM))
        if soil == 0:
            pot.put(make(state, "soil"))
        elif soil == 1:
            additions.append(Addition(make(state, "soil"), _ROOM))
    return kind, room, names, additions


def _jar() -> list[Goal]:
    return [
        Goal("be in same location as seed jar", g.in_room_with("seed jar")),
        Goal("have seed jar in inventory", g.holds("inventory", "seed jar"), key="haveSeedJar"),
    ]


def _soil() -> list[Goal]:
    return [
        Goal("have shovel in inventory", g.holds("inventory", "shovel")),
        Goal("have soil in inventory", g.holds("inventory", "soil")),
        Goal("be in same location as soil", g.in_room_with("soil")),
    ]


def _moving() -> list[Goal]:
    return [
        Goal("move to a new location", g.moved_on()),
        Goal("move to the greenhouse", g.at_location(_ROOM), key="move1"),
        Goal("move to the greenhouse (after having seed jar)", g.at_location(_ROOM), key="move2", after="haveSeedJar"),
    ]


def _prepared(kind: str, pots: list[str]) -> list[Goal]:
    """Soil, then water, then a seed in each pot."""
    return [
        Goal(f"have {what} in flower pot ({i})", g.holds(pot, thing))
        for what, thing in (("soil", "soil"), ("water", "water"), ("seed", f"{kind} seed"))
        for i, pot in enumerate(pots, start=1)
    ]


def _growing(kind: str, most: int) -> list[Goal]:
    told = ("seeds", "seedlings", "adult plants", "reproducing plants")
    return [
        Goal(
            f"have at least {count} plants as {name}",
            g.in_stage_here(kind, stage, count),
            key=f"atLeast{count}Reproducing" if stage == _STAGES[-1] else "",
        )
        for count in range(1, most + 1)
        for name, stage in zip(told, _STAGES, strict=True)
    ]


def _bee() -> Goal:
    text = "be in same location as pollinator (after reprod. life stage)"
    return Goal(text, g.in_room_with("adult bee"), after=_TWO)


_BOXES = ("red", "green", "blue", "orange")
_NUMBERS = range(1, 10)
_DRAWS_BEFORE_PEAS = 784
_DRAWS_OF_PEAS = 12
_DRAWS_BEFORE_PEA_POTS = 880
_DRAWS_BEFORE_UNKNOWN = 920
_DRAWS_OF_KIND, _DRAWS_OF_LOOK, _DRAWS_OF_UNKNOWN = 260, 36, 28
_DRAWS_BEFORE_UNKNOWN_POTS = 1960
_DRAWS_OF_POTS = 8
"""Random numbers that the original draws when it makes all task types: before, for a jar of seeds, and for pots."""
_PEA_TRAITS = (HEIGHT, SHAPE, COLOR, SHAPE)
_UNKNOWN = ("unknown E", "unknown B", "unknown C", "unknown D")


def pea_genes(state: State, variation: int) -> Assignment:
    """Is a trait of peas dominant or recessive?"""
    jar_at, pots, boxes = _parts(variation)
    trait, recessive = _PEA_TRAITS[jar_at // 2], jar_at % 2 == 1
    state.random.seed(variation)
    state.random.skip(_DRAWS_BEFORE_PEAS + _DRAWS_OF_PEAS * jar_at)
    seeds = [PeaPlant(state, pure_genes(state.random, "pea", trait, dominant)) for dominant in (True, False)]
    pot_draws = _DRAWS_BEFORE_PEA_POTS + _DRAWS_OF_POTS * pots
    return _dominance(state, variation, ("pea", "pea plant"), (trait, recessive), seeds, pot_draws, boxes)


def unknown_genes(state: State, variation: int) -> Assignment:
    """Is a trait of an unknown plant dominant or recessive?"""
    jar_at, pots, boxes = _parts(variation)
    at, jar_of_kind = divmod(jar_at, 8)
    kind = _UNKNOWN[at]
    trait, recessive = list(TRAITS[kind])[jar_of_kind // 2], jar_of_kind % 2 == 1
    state.random.seed(variation)
    draws = _DRAWS_OF_KIND * at + _DRAWS_OF_LOOK + _DRAWS_OF_UNKNOWN * jar_of_kind
    state.random.skip(_DRAWS_BEFORE_UNKNOWN + draws)
    seeds: list[PeaPlant] = [
        UnknownPlant(state, kind, pure_genes(state.random, kind, trait, dominant)) for dominant in (True, False)
    ]
    pot_draws = _DRAWS_BEFORE_UNKNOWN_POTS + _DRAWS_OF_POTS * pots
    return _dominance(state, variation, (kind, f"{kind} plant"), (trait, recessive), seeds, pot_draws, boxes)


def _parts(variation: int) -> tuple[int, int, int]:
    """Which jar of seeds, which pots, which boxes."""
    rest, boxes = divmod(variation, len(_BOXES) - 1)
    return rest // 5, rest % 5, boxes


def _dominance(
    state: State,
    variation: int,
    plant: tuple[str, str],
    asked: tuple[str, bool],
    seeds: list[PeaPlant],
    pot_draws: int,
    box: int,
) -> Assignment:
    """`asked`: the trait, and whether its recessive value is asked about."""
    kind, told = plant
    trait, recessive = asked
    jar = vessel(state, "ceramic cup", *seeds)
    jar.name = "seed jar"
    state.random.seed(variation)
    state.random.skip(pot_draws)
    pots = [FlowerPot(state, f"flower pot {i}") for i in state.random.shuffled(_NUMBERS)[:6]]
    for pot in pots:
        pot.put(make(state, "soil"))
    dominant_box, recessive_box = AnswerBox(state, _BOXES[box]), AnswerBox(state, _BOXES[box + 1])
    right = recessive_box.name if recessive else dominant_box.name
    things: list[Thing] = [*pots, dominant_box, recessive_box]
    return Assignment(
        f"Your task is to determine whether {TRAITS[kind][trait][recessive]} {trait} is a dominant or recessive trait "
        f"in the {told}. If the trait is dominant, focus on the {dominant_box.name}. If the trait is recessive, focus "
        f"on the {recessive_box.name}. ",
        Goals(
            [Goal("focus on the correct answer box", g.named(right), defocus=True, asks=right)],
            [
                *_jar(),
                *_moving(),
                *_prepared(kind, [pot.name for pot in pots]),
                *_growing(kind, 6),
                Goal("bee hive open (after reprod. life stage)", g.is_open("bee hive"), after=_TWO),
                _bee(),
                Goal("be in same location as grown seed", g.in_room_with(kind), after=_TWO),
            ],
        ),
        [Addition(jar, _ROOM, always=True), *(Addition(thing, _ROOM) for thing in things)],
    )
