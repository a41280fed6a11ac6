"""Against the package's own environments: the same missions, rules, rewards and bot."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rlsd.envs import Panel

pytest.importorskip("minigrid", reason="needs minigrid: pip install 'rlsd[babyai]'")

from gymnasium.envs.registration import load_env_creator
from minigrid.utils.baby_ai_bot import BabyAIBot

from rlsd.envs.babyai.bot import bot_plan
from rlsd.envs.babyai.env import BabyAIEnv
from rlsd.envs.babyai.frozen import BEYOND_THE_BOT, FROZEN, LISTED
from rlsd.envs.babyai.levels import SPLITS, bare_name, levels, make_world, part
from rlsd.envs.babyai.words import COMMANDS
from rlsd.envs.babyai.world import EndlessLayout


def original(level: str, seed: int) -> Any:
    spec = levels()[level]
    env = load_env_creator(spec.entry_point)(**spec.kwargs)
    env.reset(seed=seed)
    return env


SOME = ("GoToRedBall", "PickupLoc", "OpenDoorLoc", "PutNextS5N2Carrying", "UnlockPickupDist", "MiniBossLevel")


@pytest.mark.parametrize("level", SOME)
def test_random_episodes_go_as_they_go_in_the_package(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    draw, won = random.Random(level), 0
    env = BabyAIEnv(level=level, split="valid")
    for task in env.tasks()[:6]:
        theirs = original(level, env.package_seed(task.task_id))
        capsys.readouterr()
        _, info = env.reset(options={"task": task.task_id})
        assert capsys.readouterr().out == ""
        assert info["goal"] == theirs.mission + "."
        terminated = truncated = False
        while not (terminated or truncated):
            action = env.expert("oracle") if draw.random() < 0.7 else draw.choice(COMMANDS)
            assert action is not None
            _, reward, terminated, truncated, info = env.step(action)
            _, their_reward, *ended, _ = theirs.step(COMMANDS.index(action))
            assert (reward, [terminated, truncated and not terminated]) == (
                pytest.approx(their_reward),
                [ended[0], ended[1] and not ended[0]],
            )
            sight, lit = theirs.gen_obs_grid()
            world = env._episode()
            mine = {(right + 3, 6 - ahead): thing for ahead, right, thing in world.view()}
            assert set(mine) | {(3, 6)} == {(i, j) for i in range(7) for j in range(7) if lit[i, j]}
            for (i, j), thing in mine.items():
                seen = sight.get(i, j)
                assert (thing and thing.encode()) == (seen and seen.encode())
        won += terminated
    assert won >= 3


@pytest.mark.parametrize("level", SOME)
def test_the_explorer_is_the_packages_bot(level: str) -> None:
    compared = 0
    for seed in range(4):
        world, theirs = make_world(level, seed), original(level, seed)
        mine = bot_plan(world, world.save(), at_most=world.limit)
        if theirs.carrying is not None:
            continue  # the package's bot does not expect to carry something
        bot, actions, ended = BabyAIBot(theirs), [], False
        while not ended:
            actions.append(int(bot.replan()))
            *_, ended, _, _ = theirs.step(actions[-1])
        assert mine == tuple(actions)
        compared += 1
    assert compared == (0 if level.endswith("Carrying") else 4)


def test_every_level_of_the_package_is_played_or_left_out_for_a_reason() -> None:
    from gymnasium.envs.registration import registry

    names = {bare_name(env_id) for env_id in registry if env_id.startswith("BabyAI-")}
    assert names == set(levels()) | set(BEYOND_THE_BOT)
    assert not set(levels()) & set(BEYOND_THE_BOT)
    assert set(FROZEN) == set(levels())


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("level", LISTED)
def test_panels_are_frozen(level: str, split: str) -> None:
    env = BabyAIEnv(level=level, split=split)
    assert Panel.of(env, env.tasks()).digest == FROZEN[level][split == "test"]


def test_splits_share_no_layout() -> None:
    contents = {}
    for split, seeds in SPLITS.items():
        env = BabyAIEnv(level="GoToObjS4", split=split)
        contents[split] = {env.content(task.task_id) for task in env.tasks()[:60]}
        assert {part(content) for content in contents[split]} == set(range(*seeds.parts))
    assert not contents["train"] & contents["valid"] | contents["train"] & contents["test"]
    assert not contents["valid"] & contents["test"]


def test_a_seed_by_which_the_package_never_ends_is_given_up() -> None:
    with pytest.raises(EndlessLayout):
        make_world("SynthS5R2", 4289781275)
