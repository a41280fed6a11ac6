"""The rules and texts of the native engine, on hand-made worlds."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from rlsd.envs.alfworld.engine.game import Game, shown_names
from rlsd.envs.alfworld.engine.text import described, listing, things
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.errors import DataError


def play(world: World, *commands: str) -> list[str]:
    return [world.step(command) for command in commands]


def test_first_observation_lists_all_receptacles_in_id_order(kitchen: Game) -> None:
    assert World(kitchen).reset() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a drawer 1, a fridge 1, "
        "a microwave 1, a shelf 2, a shelf 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a hot mug in shelf."
    )


def test_texts_of_one_winning_episode(kitchen: Game) -> None:
    world = World(kitchen)
    seen = play(
        world,
        "go to drawer 1",
        "open drawer 1",
        "use desklamp 1",
        "take mug 2 from drawer 1",
        "examine mug 2",
        "inventory",
        "go to microwave 1",
        "heat mug 2 with microwave 1",
        "examine mug 2",
        "go to shelf 2",
    )
    assert seen == [
        "You arrive at drawer 1. The drawer 1 is closed.",
        "You open the drawer 1. The drawer 1 is open. In it, you see a desklamp 1, and a mug 2.",
        "You turn on the desklamp 1.",
        "You pick up the mug 2 from the drawer 1.",
        "There's nothing special about mug 2.",
        "You are carrying: a mug 2.",
        "You arrive at microwave 1. The microwave 1 is closed.",
        "You heat the mug 2 using the microwave 1.",
        "This is a hot mug 2.",
        "You arrive at shelf 2. On the shelf 2, you see a mug 1.",
    ]
    assert not world.won
    assert world.step("move mug 2 to shelf 2") == "You move the mug 2 to the shelf 2."
    assert world.won
    play(world, "take mug 2 from shelf 2")
    assert not world.won, "the goal can be lost again"


def test_shared_location(kitchen: Game) -> None:
    world = World(kitchen)
    world.step("go to shelf 2")
    commands = world.admissible()
    assert "go to sinkbasin 1" not in commands
    assert {"examine shelf 2", "examine sinkbasin 1", "take mug 1 from shelf 2"} <= set(commands)
    assert world.step("look") == "You are facing the shelf 2, and sinkbasin 1. Next to it, you see nothing."
    play(world, "take mug 1 from shelf 2", "clean mug 1 with sinkbasin 1", "move mug 1 to sinkbasin 1")
    assert world.step("look") == "You are facing the shelf 2, and sinkbasin 1. Next to it, you see a mug 1."


def test_slicing_and_boxes(kitchen: Game) -> None:
    world = World(kitchen)
    play(world, "go to shelf 1", "take knife 1 from shelf 1")
    assert "slice apple 1 with knife 1" in world.admissible()
    assert world.step("slice apple 1 with knife 1") == "You sliced the apple 1 with the knife 1."
    assert world.step("slice mug 1 with knife 1") == "Nothing happens."
    play(world, "move knife 1 to shelf 1", "take box 1 from shelf 1")
    assert world.step("examine box 1") == "This is a normal box 1. In it, you see nothing."


@pytest.mark.parametrize(
    "command", ["", "dance", "Go to drawer 1", "go to drawer 9", "take mug 2 from drawer 1", "open shelf 1", "go to"]
)
def test_refusals(kitchen: Game, command: str) -> None:
    world = World(kitchen)
    before = world.key()
    assert world.step(command) == "Nothing happens."
    assert not world.understood
    assert world.key() == before


def test_white_space_around_a_command_is_forgiven(kitchen: Game) -> None:
    assert World(kitchen).step("  go to drawer 1\n").startswith("You arrive at drawer 1.")


def test_admissible_is_sorted_unique_and_complete(tiny: SimpleNamespace) -> None:
    """Every listed command is understood, and of all conceivable commands no other one is."""
    for seed in range(25):
        world = World(tiny.random_game(seed))
        game = world.game
        names = [*game.objects, *game.receptacles]
        verbs = ["go to {}", "open {}", "close {}", "examine {}", "use {}"]
        pairs = ["take {} from {}", "move {} to {}", "heat {} with {}", "cool {} with {}"]
        pairs += ["clean {} with {}", "slice {} with {}"]
        conceivable = {v.format(n) for v in verbs for n in names} | {"help", "inventory", "look"}
        conceivable |= {p.format(a, b) for p in pairs for a in names for b in names}
        for turn in range(12):
            commands = world.admissible()
            assert commands == sorted(set(commands))
            accepted = set()
            for command in conceivable:
                twin = world.copy()
                twin.step(command)
                if twin.understood:
                    accepted.add(command)
            assert accepted == set(commands)
            world.step(commands[(seed * 7 + turn * 5) % len(commands)])


def test_copy_is_independent(kitchen: Game) -> None:
    world = World(kitchen)
    twin = world.copy()
    play(twin, "go to drawer 1", "open drawer 1", "take mug 2 from drawer 1")
    assert world.key() == World(kitchen).key()
    assert "open drawer 1" not in world.admissible()


def test_names_are_numbered_from_the_highest_down() -> None:
    names = shown_names(["mug_bar_2", "mug_bar_1", "sink_bar_1_bar_sinkbasin", "sink_bar_1", "sinkbasin_bar_1"])
    assert names["mug_bar_1"] == "mug 2"
    assert names["sink_bar_1_bar_sinkbasin"] == "sinkbasin 1"
    assert names["sinkbasin_bar_1"] == "sinkbasinbasin 1"


def test_lists_and_descriptions() -> None:
    assert (things([]), things(["a"]), things(["b", "a"])) == ("nothing", "a a", "a b, and a a")
    assert listing(["x", "y", "z"]) == "x, y, and z"
    assert described("egg 1", {"cool"}, toggleable=False, sliceable=True) == "This is a cold egg 1."
    both = described("egg 1", {"clean", "hot", "sliced"}, toggleable=False, sliceable=True)
    assert both == "This is a hot and clean sliced egg 1."
    assert described("lamp 1", {"lit"}, toggleable=True, sliceable=False) == "This lamp 1 is on."


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:200], "truncated"),
        (lambda text: text[: text.index("(:goal") + 40], "six ALFWorld families"),
        (lambda text: text.replace("(isHot", "(isWet"), "iswet"),
        (lambda text: text.replace("(atLocation agent1 loc_bar_start)", ""), "0 agent locations"),
        (lambda text: "", "truncated"),
    ],
)
def test_damaged_problems_are_named(tiny: SimpleNamespace, damage, words: str) -> None:
    goal = tiny.goal_text("place", "Mug", "Shelf", ("hot",))
    text = tiny.problem_text([("Shelf", 0), ("Microwave", 1)], [("Mug", 0)], goal)
    with pytest.raises(DataError, match="broken game") as caught:
        Game.parse(damage(text), task="t", source="broken game")
    assert words in str(caught.value)


def test_goal_families(tiny: SimpleNamespace) -> None:
    def goal(*args, **kwargs):
        text = tiny.problem_text([("Shelf", 0)], [("Mug", 0)], tiny.goal_text(*args, **kwargs))
        return Game.parse(text, task="t", source="s").goal

    assert goal("place", "Mug", "Shelf").task_type == "pick_and_place_simple"
    assert goal("two", "Mug", "Shelf").task_type == "pick_two_obj_and_place"
    assert goal("look", "Mug", "DeskLamp").task_type == "look_at_obj_in_light"
    sliced = goal("place", "Apple", "Shelf", ("cool",), sliced=True)
    assert (sliced.task_type, sliced.states) == ("pick_cool_then_place_in_recep", ("cool", "sliced"))


def test_random_damage_is_a_data_error_or_a_playable_game(tiny: SimpleNamespace) -> None:
    draw = random.Random(0)
    goal = tiny.goal_text("two", "Mug", "Shelf")
    whole = tiny.problem_text([("Shelf", 0), ("Drawer", 1), ("Fridge", 1)], [("Mug", 1), ("Mug", 2)], goal)
    refused = 0
    for _ in range(400):
        text = whole[: draw.randrange(len(whole))] if draw.random() < 0.3 else whole
        for _ in range(draw.randrange(1, 20)):
            at = draw.randrange(len(text)) if text else 0
            text = text[:at] + draw.choice(["", "(", ")", " ", "?o1", "\n", "mug"]) + text[at + draw.randrange(4) :]
        try:
            world = World(Game.parse(text, task="t", source="damaged"))
        except DataError:
            refused += 1
            continue
        for _ in range(5):
            world.step(draw.choice(world.admissible()))
            assert world.won in (True, False)
    assert 50 < refused < 400
