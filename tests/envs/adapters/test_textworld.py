"""TextWorld's games behind the contract, and what is refused before a game is made."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlsd.envs import EnvError, make
from rlsd.envs.adapters.adapted import part
from rlsd.envs.adapters.textworld import TextWorldEnv, tidy
from rlsd.envs.adapters.textworld_facts import changes, places, sentence
from rlsd.envs.adapters.textworld_games import SPLITS, content, family, game_file
from rlsd.envs.checker import check_env
from rlsd.envs.opened_checks import Opener

INSTALLED = find_spec("textworld") is not None
real = pytest.mark.skipif(not INSTALLED, reason="needs textworld")
ignored = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games")


def fact(name: str, *arguments: str) -> Any:
    return SimpleNamespace(name=name, arguments=[SimpleNamespace(name=a) for a in arguments])


def test_facts_are_said_in_words() -> None:
    said = [
        sentence(f)
        for f in (
            fact("at", "P", "kitchen"),
            fact("in", "apple", "I"),
            fact("in", "apple", "fridge"),
            fact("on", "knife", "table"),
            fact("closed", "fridge"),
            fact("north_of", "kitchen", "hall"),
            fact("free", "slot"),
        )
    ]
    assert said == [
        "you are in the kitchen",
        "you hold the apple",
        "the apple is in the fridge",
        "the knife is on the table",
        "the fridge is closed",
        None,
        None,
    ]


def test_places_name_what_the_plan_needs_and_changes_what_is_new() -> None:
    before = [fact("at", "P", "kitchen"), fact("in", "apple", "fridge"), fact("on", "knife", "table")]
    after = [fact("at", "P", "kitchen"), fact("in", "apple", "I"), fact("on", "knife", "table")]
    plan = ("take apple from fridge", "eat apple")
    assert places(before, plan) == ("you are in the kitchen", "the apple is in the fridge")
    assert changes(before, after) == ("you hold the apple",)


def test_texts_lose_blank_lines_the_prompt_and_the_interpreters_questions() -> None:
    told = "\n\n-= Kitchen =-\nA kitchen.\n\n\n>                    -= Kitchen =-0/1"
    assert tidy(told) == "-= Kitchen =-\nA kitchen."
    end = "You eat it.\n\n      *** The End ***\nYou scored 1 out of 1.\nWould you like to RESTART?\n> "
    assert tidy(end) == "You eat it."


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"challenge": "coins"}, "unknown challenge 'coins'. Did you mean 'coin'?"),
        ({"level": 3}, "level=3: simple has no levels"),
        ({"challenge": "treasure", "level": 31}, "level must be a whole number from 1 to 30, got 31"),
        ({"challenge": "coin", "level": 190}, "more than 100 rooms"),
        ({"challenge": "cooking", "goal": "detailed"}, "the cookbook has the details"),
        ({"goal": "short"}, "unknown goal 'short'. Known: brief, detailed."),
        ({"challenge": "cooking", "settings": {"recipes": 2}}, "no setting 'recipes'. Did you mean 'recipe'?"),
        ({"challenge": "cooking", "settings": {"take": 2}}, "take=2 is above recipe=1"),
        ({"challenge": "cooking", "settings": {"go": 7}}, "1, 6, 9 or 12 rooms"),
        ({"challenge": "cooking", "settings": {"cook": 1}}, "cook=1: expected true or false"),
        ({"settings": {"rewards": "many"}}, "unknown rewards 'many'"),
        ({"settings": "dense"}, "settings='dense': expected names with values"),
        ({"split": "tests"}, "unknown split 'tests'. Did you mean 'test'?"),
        ({"tasks": 0}, "tasks must be a whole number of at least 1, got 0"),
        ({"chalenge": "coin"}, "no such argument. Did you mean 'challenge'?"),
    ],
)
def test_wrong_arguments_are_one_clear_line_whether_or_not_the_package_is_there(
    kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(EnvError) as caught:
        make("rlsd/TextWorld-v0", **kwargs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(INSTALLED, reason="textworld is installed")
def test_a_missing_package_names_the_command_that_installs_it() -> None:
    with pytest.raises(EnvError, match=r"textworld is not installed: pip install 'rlsd\[textworld\]'"):
        make("rlsd/TextWorld-v0")


def test_a_familys_name_says_what_differs_from_its_challenge() -> None:
    assert family("coin", None, "detailed", None).name == "coin5-detailed"
    assert family("cooking", 2, "brief", {"cut": True, "open": True}).name == "cooking2-cut=True"
    assert family("simple", None, "brief", {"rewards": "dense"}).name == "simple"


@real
@ignored
def test_the_contract_holds(cache: Path) -> None:
    kwargs = {"challenge": "coin", "level": 2, "cache": str(cache)}
    findings = check_env(Opener.named("rlsd/TextWorld-v0", kwargs))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


@real
@ignored
@pytest.mark.parametrize("challenge", ["coin", "treasure", "simple", "cooking"])
def test_the_plan_wins_and_the_distance_falls_to_zero(challenge: str, cache: Path) -> None:
    env = TextWorldEnv(challenge=challenge, cache=cache)
    _, info = env.reset(options={"task": env.tasks()[0].task_id})
    assert info["goal"]
    distance, total, ended, steps = env.hindsight().distance, 0.0, False, 0
    while not ended:
        action = env.expert("oracle")
        assert action in info["admissible_actions"]
        _, reward, ended, truncated, info = env.step(action)
        total, steps = total + reward, steps + 1
        assert not truncated
    assert info["success"]
    assert total == pytest.approx(1.0)
    assert steps == distance
    assert env.hindsight().distance == 0.0
    env.close()


@real
@ignored
def test_words_of_the_interpreter_change_nothing(cache: Path) -> None:
    env = TextWorldEnv(challenge="simple", cache=cache)
    env.reset(options={"task": env.tasks()[0].task_id})
    env.step("open chest drawer")
    before = env.hindsight().plan
    for action in ("restart", "undo", "quit", "save", "look. restart", "go east\nrestart"):
        observation, _, ended, _, info = env.step(action)
        assert (observation, ended, info["valid_action"]) == ("That is not a command of this game.", False, False)
    assert env.hindsight().plan == before
    env.close()


@real
@ignored
def test_each_split_of_simple_has_games_of_its_own(cache: Path) -> None:
    import textworld

    kind, parts = family("simple", None, "brief", None), {"train": range(4), "valid": range(4, 8), "test": range(8)}
    for split, own in parts.items():
        game = textworld.Game.load(str(game_file(kind, split, 0, cache).with_suffix(".json")))
        assert part(content(game)) in own
        new = re.search("kiwi|carrot|garlic", content(game)) is not None
        assert new is (split == "test")


@real
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = TextWorldEnv(cache=tmp_path / "file")
    with pytest.raises(Exception, match="set cache to a folder"):
        env.reset()


def test_splits_have_seeds_and_parts_of_their_own() -> None:
    spans = [(s.first, s.first + s.size) for s in SPLITS.values()]
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert [s.parts for s in SPLITS.values()] == [(0, 4), (4, 6), (6, 8)]
