"""What must hold in every world: random walks over generated games of all sizes.

`WALKS` games of `STEPS` steps; a tenth of them in the fast suite, all under `make test-slow`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from rlsd.envs import EnvError, make
from rlsd.envs.alfworld.engine.text import NOTHING_HAPPENS
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.env import ALFWorldEnv
from rlsd.envs.alfworld.generate.generator import generate
from rlsd.envs.alfworld.generate.presets import PRESETS, SPLITS, preset_generated

WALKS, STEPS = 500, 200
VERBS = ("go to {0}", "open {0}", "close {0}", "examine {0}", "use {0}", "take {0} from {1}", "move {0} to {1}")
TOOLS = ("clean {0} with {1}", "heat {0} with {1}", "cool {0} with {1}", "slice {0} with {1}")


def everything(world: World) -> list[str]:
    """Every command the grammar can form with the names of this world, right or wrong."""
    names = [*world.game.objects, *world.game.receptacles]
    singles = [form.format(a) for form, a in product([v for v in VERBS if "{1}" not in v], names)]
    pairs = [form.format(a, b) for form, a, b in product([v for v in (*VERBS, *TOOLS) if "{1}" in v], names, names)]
    return [*singles, *pairs, "look", "inventory", "help"]


def walk(number: int) -> None:
    """One random walk, with every promise checked at every step."""
    draw = random.Random(number)
    name = list(PRESETS)[number % len(PRESETS)]
    split = list(SPLITS)[number // len(PRESETS) % len(SPLITS)]
    index = draw.randrange(SPLITS[split].size)
    made = preset_generated(name, split, index)
    assert made == generate(made.seed, replace(PRESETS[name].config, parts=SPLITS[split].parts))
    world = World(made.game())
    wrong = everything(world)
    for n in range(STEPS):
        listed = world.admissible()
        assert listed == sorted(set(listed))
        if draw.random() < 0.8:
            command = draw.choice(listed)
            assert world.step(command) != NOTHING_HAPPENS
            assert world.understood
        for command in draw.sample(wrong, 3):
            if command in world.admissible():
                continue
            before = world.key()
            assert world.step(command) == NOTHING_HAPPENS
            assert not world.understood
            assert world.key() == before
        if n % 50 == 0:
            assert_copy_is_exact(world, draw)


def assert_copy_is_exact(world: World, draw: random.Random) -> None:
    """What happens after a copy is what would have happened, and leaves the copied world alone."""
    key, listed, twin = world.key(), world.admissible(), world.copy()
    commands, shown = [], []
    for _ in range(8):
        commands.append(draw.choice(twin.admissible()))
        shown.append(twin.step(commands[-1]))
    assert (world.key(), world.admissible()) == (key, listed)
    again = world.copy()
    assert [again.step(command) for command in commands] == shown
    assert (again.key(), again.won) == (twin.key(), twin.won)


@pytest.mark.parametrize("batch", range(5))
def test_random_walks(batch: int) -> None:
    for number in range(batch * WALKS // 50, (batch + 1) * WALKS // 50):
        walk(number)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(10))
def test_all_random_walks(batch: int) -> None:
    for number in range(batch * WALKS // 10, (batch + 1) * WALKS // 10):
        walk(number)


@pytest.mark.parametrize("name", ["gen-tiny", "gen-easy"])
def test_what_is_listed_is_exactly_what_is_accepted(name: str) -> None:
    """Every command the grammar can form, tried in states along random walks."""
    draw = random.Random(name)
    for index in range(4):
        world = World(preset_generated(name, "test", index).game())
        commands = everything(world)
        for _ in range(6):
            accepted = []
            for command in commands:
                twin = world.copy()
                twin.step(command)
                if twin.understood:
                    accepted.append(command)
            assert sorted(accepted) == world.admissible()
            for _ in range(3):
                world.step(draw.choice(world.admissible()))


def open_env() -> ALFWorldEnv:
    env = make("rlsd/ALFWorld-v0", games="gen-easy", split="test")
    assert isinstance(env, ALFWorldEnv)
    return env


def play_on(env: ALFWorldEnv, seed: int, steps: int) -> list[object]:
    """Random, expert and wrong actions by turns; everything the environment says."""
    draw, said = random.Random(seed), []
    for n in range(steps):
        listed = env.step("look")[4]["admissible_actions"]
        chosen = [draw.choice(listed), env.expert("explorer"), env.expert("oracle"), "nonsense", None][n % 5]
        said += [chosen, env.step(chosen), env.hindsight()]  # type: ignore[arg-type]
    return said


@pytest.mark.parametrize("index", range(12))
def test_save_and_restore_are_exact(index: int) -> None:
    env = open_env()
    env.reset(options={"task": env.tasks()[index].task_id})
    play_on(env, index, index)
    last = env.step("help" if index % 2 else "nonsense")
    saved = env.save()
    first = play_on(env, 99, 10)
    for _ in range(2):
        observation, info = env.restore(saved)
        assert (observation, info) == (last[0], last[4])
        assert play_on(env, 99, 10) == first
    env.reset(options={"task": env.tasks()[-1].task_id})
    env.restore(saved)  # from within another episode, too
    assert play_on(env, 99, 10) == first


def test_restored_episodes_keep_their_step_limit() -> None:
    env = make("rlsd/ALFWorld-v0", games="gen-tiny", split="test", max_steps=3)
    assert isinstance(env, ALFWorldEnv)
    env.reset(seed=0)
    env.step("look")
    saved = env.save()
    env.step("look")
    env.restore(saved)
    assert [env.step("look")[3] for _ in range(2)] == [False, True]


def test_save_and_restore_say_what_they_need() -> None:
    env = open_env()
    with pytest.raises(EnvError, match="call reset"):
        env.save()
    with pytest.raises(EnvError, match="what save"):
        env.restore("yesterday")  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_episode() -> None:
    one, two = open_env(), open_env()
    for seed in range(5):
        assert one.reset(seed=seed) == two.reset(seed=seed)
        assert play_on(one, seed, 6) == play_on(two, seed, 6)
