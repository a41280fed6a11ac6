"""TextArena's single-player games behind the contract."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from rlsd.envs import EnvError, make
from rlsd.envs.adapters.textarena_games import GAMES
from rlsd.envs.checker import check_env
from rlsd.envs.opened_checks import Opener

INSTALLED = find_spec("textarena") is not None
real = pytest.mark.skipif(not INSTALLED, reason="needs textarena")


def lights(*rows: str) -> Any:
    grid = [[cell == "O" for cell in row] for row in rows]
    return SimpleNamespace(size=len(rows), state=SimpleNamespace(game_state={"grid": grid}))


@pytest.mark.parametrize(
    ("rows", "fewest"),
    [(("...", "...", "..."), 0), ((".O.", "OOO", ".O."), 1), (("OO.", "O..", "..."), 1), (("O.O", "...", "O.O"), 4)],
)
def test_the_fewest_presses_put_all_lights_out(rows: tuple[str, ...], fewest: int) -> None:
    env = lights(*rows)
    grid = env.state.game_state["grid"]
    plan = GAMES["LightsOut"].plan(env)
    assert plan is not None
    for press in plan:
        r, c = map(int, press.strip("[]").split())
        for y, x in ((r, c), (r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if 0 <= y < 3 and 0 <= x < 3:
                grid[y][x] = not grid[y][x]
    assert not any(map(any, grid))
    assert len(plan) == fewest


def test_lights_that_cannot_be_put_out_have_no_plan() -> None:
    assert GAMES["LightsOut"].plan(lights("O....", ".....", ".....", ".....", ".....")) is None


@pytest.mark.skipif(INSTALLED, reason="textarena is installed")
def test_a_missing_package_names_the_command_that_installs_it() -> None:
    with pytest.raises(EnvError, match=r"textarena is not installed: pip install 'rlsd\[textarena\]'"):
        make("rlsd/TextArena-v0")


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"game": "GuesTheNumber-v0"}, "Did you mean 'GuessTheNumber'?"),
        ({"game": "Poker-v0"}, "unknown game 'Poker'"),
        ({"settings": 7}, "settings=7: expected names with values"),
        ({"split": "tests"}, "Did you mean 'test'?"),
        ({"gam": "LightsOut-v0"}, "Did you mean 'game'?"),
    ],
)
def test_wrong_arguments_are_one_clear_line(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make("rlsd/TextArena-v0", **kwargs)
    assert words in str(caught.value)


@real
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("game", ["GuessTheNumber-v0", "FrozenLake-v0", "Minesweeper-v0-small"])
def test_the_contract_holds(game: str) -> None:
    findings = check_env(Opener(open=lambda: make("rlsd/TextArena-v0", game=game)))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


@real
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "game", ["GuessTheNumber-v0-hardcore", "FrozenLake-v0", "LightsOut-v0", "Mastermind-v0", "Sudoku-v0-very-easy"]
)
def test_the_plan_wins(game: str) -> None:
    env = make("rlsd/TextArena-v0", game=game, split="test")
    for task in env.tasks()[:5]:
        env.reset(options={"task": task.task_id})
        steps, distance, ended, info, reward = 0, env.hindsight().distance, False, {}, 0.0
        while not ended:
            _, reward, ended, _, info = env.step(env.expert("oracle") or "")
            steps += 1
        assert (info["success"], reward, steps) == (True, 1.0, distance)


@real
@pytest.mark.filterwarnings("default")
def test_splits_share_no_game_and_settings_reach_it() -> None:
    contents = []
    for split in ("train", "valid", "test"):
        env = make("rlsd/TextArena-v0", split=split, settings={"max_number": 16})
        contents.append({env.content(task.task_id) for task in env.tasks()})
        assert "between 1 and 16" in env.reset(seed=0)[0]
    assert [len(c) for c in contents] == [12, 2, 2]
    assert len(set.union(*contents)) == 16


@real
@pytest.mark.filterwarnings("default")
def test_two_misfires_in_a_row_end_the_game_as_textarena_has_it() -> None:
    env = make("rlsd/TextArena-v0")
    env.reset(seed=0)
    observation, reward, ended, _, info = env.step("seven")
    assert "invalid move" in observation
    assert (reward, ended, info["valid_action"]) == (0.0, False, False)
    observation, _, ended, truncated, info = env.step("seven")
    assert (ended, truncated, info["success"], info["valid_action"]) == (True, False, False, False)


@real
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"game": "GuessTheNumber-v0-hardcor"}, "Did you mean 'GuessTheNumber-v0-hardcore'?"),
        ({"settings": {"most": 50}}, "cannot be opened with settings="),
    ],
)
def test_what_textarena_does_not_know_is_named(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make("rlsd/TextArena-v0", **kwargs)
    assert words in str(caught.value)
