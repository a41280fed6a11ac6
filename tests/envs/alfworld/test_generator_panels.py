"""Frozen panels of generated games, worlds of several rooms, difficulty and the curriculum."""

import json
import math
import random
from types import SimpleNamespace

import pytest

from rlsd.envs import Panel, make
from rlsd.envs.alfworld import games
from rlsd.envs.alfworld.engine.furniture import fixtures
from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.generate.difficulty import difficulty
from rlsd.envs.alfworld.generate.generator import WorldConfig, generate
from rlsd.envs.alfworld.generate.presets import (
    FROZEN,
    FROZEN_TRAIN,
    LEVELS,
    PRESETS,
    preset_game,
    preset_generated,
)
from rlsd.envs.errors import EnvError

TINY = PRESETS["gen-tiny"].config


FIRST_SIX = {
    "gen-tiny": "77ffb57e7e6bb21c",
    "gen-easy": "1bde4a845691eeb5",
    "gen-default": "cfc072bc19205d8f",
    "gen-hard": "2b510c20a7fde3aa",
    "gen-level-1": "0f4c207c1e56a282",
    "gen-level-2": "32058875889bdd27",
    "gen-level-3": "52e84703966741b2",
    "gen-level-4": "47c017ee79db7b07",
    "gen-level-5": "142f2987764f4947",
    "gen-level-6": "3df148b4b9e32b32",
    "gen-level-7": "946662365bd13bff",
    "gen-level-8": "d91ebe840529f5a5",
}
"""Preset → digest of the first six test games, one a task type."""


def digest(name: str, split: str, chosen: slice) -> str:
    env = make("rlsd/ALFWorld-v0", games=name, split=split)
    return Panel.of(env, env.tasks()[chosen]).digest


@pytest.mark.parametrize("name", FIRST_SIX)
def test_the_first_games_of_every_preset_are_frozen(name: str) -> None:
    assert digest(name, "test", slice(6)) == FIRST_SIX[name]


@pytest.mark.parametrize("panel", ["gen-tiny/valid", "gen-tiny/test"])
def test_the_panels_that_results_quote_are_frozen(panel: str) -> None:
    name, split = panel.split("/")
    assert digest(name, split, slice(None)) == FROZEN[panel]


@pytest.mark.slow
@pytest.mark.parametrize("panel", FROZEN)
def test_every_panel_is_frozen(panel: str) -> None:
    name, split = panel.split("/")
    assert digest(name, split, slice(None)) == FROZEN[panel]


@pytest.mark.slow
@pytest.mark.parametrize("name", FROZEN_TRAIN)
def test_training_games_are_frozen(name: str) -> None:
    assert digest(name, "train", slice(None, None, 100)) == FROZEN_TRAIN[name]


def test_every_panel_has_a_frozen_digest() -> None:
    assert set(FIRST_SIX) == {*PRESETS, *LEVELS} == {*games.PRESETS, *games.LEVELS}
    assert set(FROZEN) == {f"{name}/{split}" for name in (*PRESETS, *LEVELS) for split in ("valid", "test")}
    assert set(FROZEN_TRAIN) == set(PRESETS)


def test_later_knobs_leave_earlier_games_alone() -> None:
    """A game is drawn from the text of its knobs: knobs that came later are not in it at their default."""
    assert {"rooms", "difficulty"}.isdisjoint(WorldConfig().to_json())
    config = WorldConfig(rooms=(1, 2), difficulty=(5, 9))
    assert WorldConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_worlds_of_several_rooms() -> None:
    config = WorldConfig(rooms=(2, 3), receptacles=(40, 110), objects=(40, 140), horizon=14)
    for seed in range(12):
        made = generate(seed, config)
        game = made.game()
        rooms = [room for room, kinds in fixtures().items() if {k.lower() for k in kinds} >= set(game.receptacle_types)]
        assert rooms == [], "the furniture of no single room explains this world"
        assert 40 <= len(game.receptacles) <= 110
        world = World(game)
        for command in made.walkthrough:
            assert command in world.admissible()
            world.step(command)
        assert world.won


def test_several_rooms_are_those_asked_for() -> None:
    kitchen = set(fixtures()["kitchen"])
    assert {"Bed", "Toilet", "Sofa"}.isdisjoint(kitchen)
    config = WorldConfig(rooms=(4, 4), receptacles=(60, 160), objects=(60, 200), horizon=14)
    types = {kind for seed in range(6) for kind in generate(seed, config).game().receptacle_types}
    assert {"bed", "toilet", "sofa", "fridge"} <= types


def searched(game: Game, draw: random.Random) -> int:
    """Commands spent in vain by one who looks into receptacles in random order until the goal's things are seen."""
    order = list(range(len(game.receptacles)))
    draw.shuffle(order)
    things, lamps = set(game.goal_objects), set(game.goal_targets) if game.goal.kind == "look" else set()
    need, spent, seen = min(game.goal.count, len({r for o in things for r in game.inside[o]})), 0, 0
    for r in order:
        here = {o for o in range(len(game.objects)) if r in game.inside[o]}
        if seen >= need and not lamps:
            break
        if not here & (set(game.goal_objects) | (set(game.goal_targets) if game.goal.kind == "look" else set())):
            spent += 2 if r in game.openable else 1
        seen += bool(here & things)
        if here & lamps:
            lamps = set()
    return spent


@pytest.mark.parametrize("index", range(6))
def test_difficulty_is_what_a_random_search_costs(index: int) -> None:
    """The closed form against 3,000 simulated searches, for each task type."""
    game = next(
        game
        for game in (preset_game("gen-easy", "train", i) for i in range(index, 200, 6))
        if len({r for o in (*game.goal_objects, *game.goal_targets) for r in game.inside[o]})
        == len(game.goal_objects) + len(game.goal_targets) * (game.goal.kind == "look")
        or game.goal.kind == "place"
    )
    draw = random.Random(index)
    mean = sum(searched(game, draw) for _ in range(3000)) / 3000
    assert difficulty(game) == pytest.approx(len(game.walkthrough) + mean, abs=0.4)
    assert difficulty(game) == difficulty(game, len(game.walkthrough))


def test_difficulty_of_a_lost_cause(tiny: SimpleNamespace) -> None:
    goal = tiny.goal_text("place", "Mug", "Shelf", ("hot",))
    game = Game.parse(tiny.problem_text([("Shelf", 1)], [("Mug", 0)], goal), task="t", source="no microwave")
    assert difficulty(game) == math.inf


def test_the_curriculum_climbs() -> None:
    """Each level keeps to its range, and the ranges follow each other without a gap."""
    top = 0
    for name, level in LEVELS.items():
        low, high = level.config.difficulty
        assert low == top
        top = high
        for index in range(6):
            made = preset_generated(name, "valid", index)
            assert low <= difficulty(made.game()) < high
            assert len(made.walkthrough) < level.max_steps
    easy, hard = (preset_game(name, "valid", 0) for name in ("gen-level-1", "gen-level-8"))
    assert len(easy.receptacles) < 7
    assert len(hard.receptacles) >= 45
    assert make("rlsd/ALFWorld-v0", games="gen-level-4", split="test").tasks()[5].task_id == "gen-level-4/test/5"


@pytest.mark.parametrize("knobs", [{"rooms": (0, 1)}, {"rooms": (1, 5)}, {"rooms": (2, 1)}, {"difficulty": (9, 3)}])
def test_wrong_rooms_and_difficulty_are_refused(knobs: dict) -> None:
    with pytest.raises(EnvError, match=next(iter(knobs))):
        WorldConfig(**knobs)
