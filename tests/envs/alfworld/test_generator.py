"""Generated games: deterministic, solvable, not won at the start, splits apart, exported only with the original."""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from itertools import product

import pytest

from rlsd.envs.alfworld.engine.furniture import can_contain, fixtures, properties, things
from rlsd.envs.alfworld.engine.game import Game, game_from_json, load_game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts.oracle import plan
from rlsd.envs.alfworld.generate.generator import SENTENCES, TASK_TYPES, GeneratedGame, WorldConfig, generate
from rlsd.envs.alfworld.generate.presets import (
    PRESETS,
    SPLITS,
    preset_game,
    preset_generated,
    preset_tasks,
)
from rlsd.envs.alfworld.parity.export import export_game
from rlsd.envs.errors import DataError, EnvError, TaskError

TINY = PRESETS["gen-tiny"].config


@pytest.fixture(scope="module")
def sample() -> list[tuple[str, GeneratedGame]]:
    """24 test games of each preset, four of each task type."""
    return [(name, preset_generated(name, "test", i)) for name in PRESETS for i in range(24)]


def test_a_seed_and_knobs_determine_the_game() -> None:
    for seed in range(12):
        assert generate(seed, TINY) == generate(seed, TINY)
    assert generate(0, TINY).problem != generate(6, TINY).problem
    assert generate(0, TINY).problem != generate(0, replace(TINY, prior_strength=1.0)).problem


def test_games_do_not_depend_on_the_process() -> None:
    code = (
        "from rlsd.envs.alfworld.generate.presets import preset_generated as g;"
        "print([g('gen-tiny', 'test', i).content for i in range(6)])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == [preset_generated("gen-tiny", "test", i).content for i in range(6)]


def test_generating_leaves_the_global_generator_alone() -> None:

    before = random.getstate()
    generate(3, TINY)
    assert random.getstate() == before


def test_every_game_is_solvable_not_won_at_first_and_won_by_its_walkthrough(
    sample: list[tuple[str, GeneratedGame]],
) -> None:
    types = Counter()
    for _, made in sample:
        world = World(made.game())
        assert not world.won
        for n, command in enumerate(made.walkthrough):
            assert not world.won, f"{made.seed} is won after {n} of {len(made.walkthrough)} commands"
            assert command in world.admissible()
            world.step(command)
        assert world.won
        assert len(made.walkthrough) <= made.config.horizon
        types[made.task_type] += 1
    assert set(types) == set(TASK_TYPES)
    assert len(set(types.values())) == 1


def test_the_goal_read_back_is_the_goal_meant(sample: list[tuple[str, GeneratedGame]]) -> None:
    for _, made in sample:
        game = Game.parse(made.problem, task=made.task, source="test")  # the type is read off the goal here
        assert game.task_type == made.task_type
        forms = [
            re.escape(form).replace(r"\{o\}", game.goal.object_type).replace(r"\{r\}", game.goal.target_type)
            for form in SENTENCES[made.task_type]
        ]
        assert any(re.fullmatch(form, made.task) for form in forms)


def test_the_knobs_hold(sample: list[tuple[str, GeneratedGame]]) -> None:
    for name, made in sample:
        game, config = made.game(), PRESETS[name].config
        assert config.receptacles[0] <= len(game.receptacles) <= config.receptacles[1]
        assert config.objects[0] <= len(game.objects) <= config.objects[1]
        number = game.object_types.count(game.goal.object_type)
        low, high = config.goal_objects
        assert (max(low, 2) if made.task_type == "pick_two_obj_and_place" else low) <= number <= max(high, 2)
        if config.shared_share == 0:
            assert len(set(game.places)) == len(game.places)
        assert game.at_place[game.start] == ()
        assert not game.opened
        if made.task_type in ("pick_and_place_simple", "pick_two_obj_and_place"):
            assert not any(set(game.inside[o]) & set(game.goal_targets) for o in game.goal_objects)


def test_closed_share_and_prior_strength_do_what_they_say() -> None:
    def things_in(strength: float, kind: str, home: str) -> float:
        config = WorldConfig(task_types=("pick_heat_then_place_in_recep",), prior_strength=strength)
        games = [generate(seed, config).game() for seed in range(25)]
        at = [
            game.receptacle_types[game.inside[o][0]]
            for game in games
            for o, t in enumerate(game.object_types)
            if t == kind
        ]
        return at.count(home) / len(at)

    assert things_in(0, "pan", "stoveburner") < things_in(3, "pan", "stoveburner")
    for share, openable in ((0.0, set()), (1.0, {"cabinet", "drawer", "safe"})):
        game = generate(0, replace(PRESETS["gen-default"].config, closed_share=share)).game()
        found = {game.receptacle_types[r] for r in game.openable} - {"fridge", "microwave"}
        assert found == openable & set(game.receptacle_types)


def test_task_types_take_turns() -> None:
    assert [TINY.task_type(seed) for seed in range(7)] == [*TASK_TYPES, TASK_TYPES[0]]
    for name, split in product(PRESETS, SPLITS):
        tasks = preset_tasks(name, split)
        counts = Counter(task.task_type for task in tasks)
        assert max(counts.values()) - min(counts.values()) <= 1
        assert tasks[0].task_type == TASK_TYPES[0]
    test = preset_tasks("gen-tiny", "test")
    assert set(Counter(t.task_type for t in test).values()) == {40}
    assert test[17].task_id == "gen-tiny/test/17"
    assert generate(test[17].seed, TINY).task_type == test[17].task_type


def test_splits_have_their_sizes_and_disjoint_seeds() -> None:
    assert {name: split.size for name, split in SPLITS.items()} == {"train": 20_000, "valid": 120, "test": 240}
    seeds = [set(range(s.first, s.first + s.size)) for s in SPLITS.values()]
    assert sum(map(len, seeds)) == len(set().union(*seeds))
    parts = [set(range(*s.parts)) for s in SPLITS.values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 8


@pytest.mark.parametrize("name", PRESETS)
def test_splits_share_no_world(name: str) -> None:
    def contents(split: str, indices: range) -> set[int]:
        return {preset_generated(name, split, i).content for i in indices}

    valid, test = contents("valid", range(120)), contents("test", range(240))
    assert len(valid) == 120
    assert len(test) == 240
    train = contents("train", range(0, 20_000, 250))
    assert not train & valid
    assert not train & test
    assert not valid & test
    for split, found in (("train", train), ("valid", valid), ("test", test)):
        low, high = SPLITS[split].parts  # this is why the games not drawn here are apart as well
        assert all(low <= content % 8 < high for content in found)


def test_preset_games_are_cached_and_carry_their_walkthrough() -> None:
    game = preset_game("gen-tiny", "test", 17)
    assert game is preset_game("gen-tiny", "test", 17)
    assert game.walkthrough == plan(World(game))
    assert game.task == preset_generated("gen-tiny", "test", 17).task


def test_a_generated_game_survives_its_file(tmp_path) -> None:
    made = preset_generated("gen-easy", "valid", 5)
    path = tmp_path / "game.json"
    path.write_text(json.dumps(made.to_json()))
    loaded, direct = load_game(path), made.game()
    fields = [name for name in Game.__dataclass_fields__ if name != "source"]
    assert [getattr(loaded, f) for f in fields] == [getattr(direct, f) for f in fields]
    assert WorldConfig.from_json(json.loads(path.read_text())["config"]) == made.config


def test_names_follow_the_published_style() -> None:
    made = next(
        made
        for made in (preset_generated("gen-tiny", "train", i) for i in range(2, 200, 6))
        if "SinkBasin" in made.problem
    )
    assert re.search(r"Sink_bar_\w+_bar_SinkBasin - receptacle", made.problem)
    assert "sinkbasin 1" in made.game().receptacles
    for declared in ("ButterKnifeType - otype", "KnifeType - otype", "SinkType - rtype", "agent1 - agent"):
        assert declared in made.problem


def test_the_vocabulary_is_consistent() -> None:
    fits = can_contain()
    for room, stock in things().items():
        assert stock
        for kind, thing in stock.items():
            assert set(thing.homes) <= set(fixtures()[room]), kind
            assert min(thing.homes.values()) >= 1
    assert properties("Mug") == {"pickupable", "cleanable", "heatable", "coolable", "isReceptacleObject"}
    assert properties("DeskLamp") == {"toggleable"}
    assert {"Mug"} == fits["CoffeeMachine"]


@pytest.mark.parametrize(
    "knobs, message",
    [
        ({"receptacles": (6, 4)}, "receptacles"),
        ({"goal_objects": (0, 1)}, "goal_objects"),
        ({"closed_share": 1.5}, "closed_share"),
        ({"task_types": ()}, "task_types"),
        ({"task_types": ("pick_heat_then_place",)}, "Did you mean"),
        ({"horizon": 0}, "horizon"),
        ({"parts": (3, 9)}, "parts"),
    ],
)
def test_wrong_knobs_are_refused(knobs: dict, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        WorldConfig(**knobs)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(EnvError, match="Did you mean 'horizon'"):
        WorldConfig.from_json({"horzon": 3})
    with pytest.raises(EnvError, match="seed"):
        generate(-1, TINY)
    with pytest.raises(EnvError, match="raise horizon"):
        generate(5, replace(TINY, horizon=2, parts=(0, 1)))
    with pytest.raises(EnvError, match="Did you mean 'gen-tiny'"):
        preset_tasks("gen-tny", "test")
    with pytest.raises(EnvError, match="valid_seen"):
        preset_tasks("gen-tiny", "valid_seen")
    for index in (-1, 240):
        with pytest.raises(TaskError, match="0 to 239"):
            preset_game("gen-tiny", "test", index)


def test_export_needs_the_original_package(tmp_path) -> None:
    made, path = preset_generated("gen-tiny", "test", 0), tmp_path / "deep" / "game.tw-pddl"
    if find_spec("alfworld") is None:
        with pytest.raises(DataError, match=r"pip install \"rlsd\[alfworld\]\""):
            export_game(made, path)
        return
    data = json.loads(export_game(made, path).read_text())
    assert f"Your task is to: {made.task}" in data["grammar"]
    assert "(define (domain alfred)" in data["pddl_domain"]
    assert game_from_json(data, "test").walkthrough == made.walkthrough


def test_export_with_a_stand_in_for_the_original_package(tmp_path) -> None:
    """The same in a fresh process that has an `alfworld` of two data files on its path."""
    data = tmp_path / "site" / "alfworld" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (data / "alfred.pddl").write_text("(define (domain alfred))")
    (data / "alfred.twl2").write_text('"rhs": "Your task is to: UNKNOWN GOAL."')
    target = tmp_path / "out" / "game.tw-pddl"
    code = (
        f"import sys; sys.path.insert(0, {str(data.parent.parent)!r});"
        "from rlsd.envs.alfworld.parity.export import export_game;"
        "from rlsd.envs.alfworld.generate.presets import preset_generated as g;"
        f"export_game(g('gen-tiny', 'test', 0), {str(target)!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    made = preset_generated("gen-tiny", "test", 0)
    assert f'"Your task is to: {made.task}"' in json.loads(target.read_text())["grammar"]
    assert load_game(target).task == made.task
