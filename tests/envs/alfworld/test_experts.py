"""The oracle against breadth-first search, the explorer against its promise, hindsight against the world."""

from __future__ import annotations

import gc
import math
import random
from collections import deque
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rlsd.envs.alfworld import hindsight
from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts import oracle
from rlsd.envs.alfworld.experts.explorer import Explorer
from rlsd.envs.alfworld.experts.goal_sentence import Wish, read_wish
from rlsd.envs.alfworld.hindsight import Witness, goal_facts, whereabouts
from rlsd.envs.errors import EnvError

IDLE = ("look", "inventory", "help", "examine")


def acts(world: World) -> list[str]:
    return [c for c in world.admissible() if c.split()[0] not in IDLE]


def shortest(world: World, limit: int = 30_000) -> float | None:
    """Length of the shortest plan by exhaustive search; inf: none; None: too many states."""
    if world.won:
        return 0
    seen, queue = {world.key()[:-1]}, deque([(world, 0)])
    while queue:
        here, depth = queue.popleft()
        for command in acts(here):
            there = here.copy()
            there.step(command)
            key = there.key()[:-1]  # without the memory that only `look` shows
            if key in seen:
                continue
            if there.won:
                return depth + 1
            seen.add(key)
            if len(seen) > limit:
                return None
            queue.append((there, depth + 1))
    return math.inf


def wander(game: Game, seed: int) -> World:
    world, draw = World(game), random.Random(seed)
    for _ in range(draw.randrange(25)):
        choices = acts(world)
        world.step(draw.choice(choices + 2 * [c for c in choices if not c.startswith("go")]))
    return world


def test_plans_are_shortest_and_work(tiny: SimpleNamespace) -> None:
    checked = 0
    for seed in range(250):
        world = wander(tiny.random_game(seed), seed)
        best = shortest(world)
        if best is None:
            continue
        checked += 1
        assert oracle.distance(world) == best, seed
        for command in oracle.plan(world) or ():
            assert command in world.admissible()
            world.step(command)
        assert world.won or math.isinf(best)
    assert checked > 200


def sliced_game(tiny: SimpleNamespace, kind: str = "place") -> Game:
    receptacles = [("SinkBasin", 1), ("Drawer", 2), ("Fridge", 3), ("Shelf", 4)]
    objects = [("Apple", 1), ("Knife", 0), ("Mug", 3), ("Apple", 3), ("DeskLamp", 3)]
    goal = tiny.goal_text(kind, "Apple", "DeskLamp" if kind == "look" else "Shelf", ("cool",), sliced=True)
    sentence = (
        "look at sliced cool apple under the desklamp." if kind == "look" else "put a cool sliced apple in shelf."
    )
    return Game.parse(tiny.problem_text(receptacles, objects, goal), task=sentence, source="sliced")


@pytest.mark.parametrize("kind", ["place", "look"])
def test_sliced_goals_are_planned(tiny: SimpleNamespace, kind: str) -> None:
    game = sliced_game(tiny, kind)
    for seed in range(12):
        world = wander(game, seed)
        route = oracle.plan(world)
        assert route is not None, seed
        best = shortest(world, 60_000)
        assert best is None or len(route) <= best + 1
        for command in route:
            assert command in world.admissible()
            world.step(command)
        assert world.won


def test_out_of_reach_is_none(tiny: SimpleNamespace) -> None:
    goal = tiny.goal_text("place", "Mug", "Shelf", ("hot",))
    game = Game.parse(tiny.problem_text([("Shelf", 1)], [("Mug", 0)], goal), task="t", source="no microwave")
    assert oracle.plan(World(game)) is None
    assert math.isinf(oracle.distance(World(game)))


def test_a_thing_in_two_receptacles_stays_in_the_other(tiny: SimpleNamespace) -> None:
    goal = tiny.goal_text("place", "Mug", "Shelf", ("clean",))
    text = tiny.problem_text([("SinkBasin", 1), ("Shelf", 2), ("Fridge", 3)], [("Mug", 2)], goal)
    text = text.replace("(:init", "(:init\n(inReceptacle Mug_bar_00 Shelf_bar_01)")
    world = World(Game.parse(text, task="t", source="twice"))
    route = oracle.plan(world)
    assert route is not None
    assert route[-1] == "clean mug 1 with sinkbasin 1"
    assert len(route) == shortest(world.copy())


# --- explorer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "wish"),
    [
        ("put some mug on shelf.", Wish(kind="place", thing="mug", target="shelf")),
        ("put a clean mug in shelf.", Wish(kind="place", thing="mug", target="shelf", states=("clean",))),
        ("heat some egg and put it in fridge.", Wish(kind="place", thing="egg", target="fridge", states=("hot",))),
        ("find two pen and put them in drawer.", Wish(kind="place", thing="pen", target="drawer", count=2)),
        ("put two pen in drawer.", Wish(kind="place", thing="pen", target="drawer", count=2)),
        ("look at bowl under the desklamp.", Wish(kind="look", thing="bowl", target="desklamp")),
        ("examine the bowl with the desklamp.", Wish(kind="look", thing="bowl", target="desklamp")),
        (
            "put a hot sliced apple in fridge.",
            Wish(kind="place", thing="apple", target="fridge", states=("sliced", "hot")),
        ),
    ],
)
def test_task_sentences(sentence: str, wish: Wish) -> None:
    assert read_wish("Your task is to: " + sentence) == wish
    assert read_wish(sentence) == wish


def test_strange_sentence_is_refused() -> None:
    with pytest.raises(EnvError, match="known are sentences like"):
        read_wish("make me happy")


SENTENCES = {"place": "put a {}mug in {}.", "two": "put two {}mug in {}.", "look": "look at {}mug under the {}."}


def explore(game: Game, explorer: Explorer, limit: int = 50) -> int | None:
    world = World(game)
    goal = game.goal
    form = SENTENCES["look" if goal.kind == "look" else "two" if goal.count == 2 else "place"]
    sentence = form.format("".join(f"{s} " for s in goal.states), goal.target_type)
    if goal.object_type != "mug":
        sentence = game.task
    observation = world.reset()
    explorer.reset(observation, sentence)
    for step in range(1, limit + 1):
        observation = world.step(explorer.act(observation, world.admissible()))
        if world.won:
            return step
    return None


@pytest.mark.parametrize("order", ["listed", "random", "likely"])
def test_explorer_wins_small_worlds(tiny: SimpleNamespace, order) -> None:
    lost, extra, played = [], 0, 0
    for seed in range(120):
        game = tiny.random_game(seed)
        best = oracle.distance(World(game))
        if math.isinf(best) or best == 0:
            continue
        played += 1
        steps = explore(game, Explorer(seed=seed, order=order))
        if steps is None:
            lost.append(seed)
        else:
            extra += steps - int(best)
    assert lost == []
    assert extra / played < 8


def test_explorer_slices(tiny: SimpleNamespace) -> None:
    assert explore(sliced_game(tiny), Explorer()) is not None


def test_explorer_is_reproducible(tiny: SimpleNamespace) -> None:
    game = tiny.random_game(3)
    assert explore(game, Explorer(seed=5, order="random")) == explore(game, Explorer(seed=5, order="random"))


def test_unknown_order_names_the_closest() -> None:
    with pytest.raises(EnvError, match="likely"):
        Explorer(order="likly")  # type: ignore[arg-type]


# --- hindsight --------------------------------------------------------------------------------------------------


def test_hindsight_follows_the_episode(kitchen: Game) -> None:
    witness = Witness(World(kitchen))
    start = witness.hindsight()
    assert start.missing == ("some mug is hot", "a hot mug is on a shelf")
    assert start.whereabouts == ("mug 2 is in drawer 1 (closed)", "mug 1 is on shelf 2")
    assert start.distance == len(start.plan) == 6
    assert start.feedback == ""
    witness.step("go to shelf 2")
    assert witness.hindsight().feedback == (
        "You are now at shelf 2 and sinkbasin 1: nearer to the goal (6 -> 5 steps left)."
    )
    witness.step("take mug 1 from shelf 2")
    witness.step("go to microwave 1")
    witness.step("heat mug 1 with microwave 1")
    assert witness.hindsight().missing == ("a hot mug is on a shelf",)
    witness.step("go to fridge 1")
    assert "farther from" in witness.hindsight().feedback or "no nearer" in witness.hindsight().feedback
    witness.step("cool mug 1 with fridge 1")
    cooled = witness.hindsight()
    assert cooled.lost == ("no longer true: some mug is hot",)
    assert cooled.changed == ("mug 1 is no longer hot", "mug 1 is now cool")
    assert (cooled.distance_before, cooled.distance) == (2, 4)
    assert "farther from the goal" in cooled.feedback
    witness.step("nonsense")
    assert witness.hindsight().feedback.startswith("The command was refused: no nearer to the goal")


def test_siblings_know_what_each_would_know_alone(tiny: SimpleNamespace) -> None:
    """What is worked out for one episode of a game serves the others; a second reading of the game knows nothing."""
    for seed in range(30):
        game = tiny.random_game(seed)
        pairs = [(Witness(World(game)), Witness(World(replace(game)))) for _ in range(4)]
        draw = random.Random(seed)
        for _ in range(20):
            for together, alone in pairs:
                command = draw.choice([*together.world.admissible(), "nonsense"])
                assert together.step(command) == alone.step(command)
                assert together.hindsight() == alone.hindsight()


def test_what_is_kept_of_a_game_is_bounded_and_goes_with_it(kitchen: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hindsight, "_MOST_SEEN", 5)
    game, draw = replace(kitchen), random.Random(0)
    witness = Witness(World(game))
    kept = hindsight._SEEN
    for _ in range(60):
        witness.step(draw.choice(witness.world.admissible()))
        witness.hindsight()
        assert len(kept[game]) <= 5
    games = len(kept)
    del game, witness
    gc.collect()
    assert len(kept) == games - 1


def test_hindsight_is_of_this_very_state_whenever_it_is_asked_for(tiny: SimpleNamespace) -> None:
    """Nothing that was told of an earlier state stays: asked at every step, now and then, or of a copy."""
    for seed in range(40):
        world, draw = World(tiny.random_game(seed)), random.Random(seed)
        often, seldom = Witness(world.copy()), Witness(world.copy())
        for _ in range(25):
            command = draw.choice([*often.world.admissible(), "nonsense"])
            held = {fact.text for fact in goal_facts(often.world) if fact.holds}
            for witness in (often, seldom):
                witness.step(command)
            known, now = often.hindsight(), goal_facts(often.world)
            assert known.missing == tuple(fact.text for fact in now if not fact.holds)
            assert known.whereabouts == whereabouts(often.world)
            lost = [f"no longer true: {fact.text}" for fact in now if fact.text in held and not fact.holds]
            assert [text for text in known.lost if text.startswith("no longer")] == lost
            if draw.random() < 0.3:
                told = draw.choice((seldom, seldom.copy())).hindsight()
                assert (told.missing, told.whereabouts, told.changed) == (
                    known.missing,
                    known.whereabouts,
                    known.changed,
                )
                assert told.distance == known.distance


def test_every_change_is_told_and_nothing_else(tiny: SimpleNamespace) -> None:
    """Along random walks: refused and idle commands change nothing, any other exactly what the state shows."""
    told = set()
    for seed in range(40):
        world, draw = World(tiny.random_game(seed)), random.Random(seed)
        witness = Witness(world)
        assert witness.hindsight().changed == ()
        assert witness.hindsight().distance_before is None
        for _ in range(25):
            command = draw.choice([*world.admissible(), "nonsense"])
            before, distance = world.key(), witness.hindsight().distance
            witness.step(command)
            known = witness.hindsight()
            assert known.distance_before == distance
            assert bool(known.changed) == (before[:2] != world.key()[:2] or before[4:-1] != world.key()[4:-1]), command
            assert not known.changed or known.feedback.lower().startswith(known.changed[0].lower())
            assert command.split()[0] not in (*IDLE, "nonsense") or not known.changed
            told |= {fact.partition(" is ")[2].split(" ")[0] for fact in known.changed if " is " in fact}
            told |= {"go" for fact in known.changed if fact.startswith("you are now at ")}
    assert told >= {"now", "no", "go"}


def test_missing_is_empty_exactly_when_won(tiny: SimpleNamespace) -> None:
    for seed in range(60):
        world = wander(tiny.random_game(seed), seed)
        assert all(fact.holds for fact in goal_facts(world)) == world.won
        assert len(whereabouts(world)) >= 2


def test_distance_falls_by_one_along_the_plan(tiny: SimpleNamespace) -> None:
    for seed in range(30):
        witness = Witness(World(tiny.random_game(seed)))
        while route := witness.plan():
            witness.step(route[0])
            assert witness.hindsight().distance == len(route) - 1
