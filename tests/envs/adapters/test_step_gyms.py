"""GEM and SkyRL's gym: environments whose interface is `step(text)`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs import DataError, EnvError, make
from rlsd.envs.checker import check_env
from rlsd.envs.opened_checks import Opener

GEM, SKYRL = find_spec("gem") is not None, find_spec("skyrl_gym") is not None
gem = pytest.mark.skipif(not GEM, reason="needs gem-llm")
skyrl = pytest.mark.skipif(not SKYRL, reason="needs skyrl-gym")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Sixteen problems as SkyRL's data sets have them, one of them twice."""
    rows = [
        {
            "prompt": [{"role": "system", "content": "Count."}, {"role": "user", "content": f"{n} + 1 = ?"}],
            "reward_spec": {"method": "rule", "ground_truth": str(n + 1)},
            "extra_info": {"max_turns": 3},
        }
        for n in range(16)
    ]
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, rows[0]])))
    return path


@pytest.mark.skipif(GEM, reason="gem-llm is installed")
def test_a_missing_gem_names_the_command_that_installs_it() -> None:
    with pytest.raises(EnvError, match=r"gem-llm is not installed: pip install 'rlsd\[gem\]'"):
        make("rlsd/GEM-v0")


@pytest.mark.skipif(SKYRL, reason="skyrl-gym is installed")
def test_a_missing_skyrl_gym_names_the_command_that_installs_it() -> None:
    with pytest.raises(EnvError, match=r"skyrl-gym is not installed: pip install 'rlsd\[skyrl-gym\]'"):
        make("rlsd/SkyRLGym-v0")


@pytest.mark.parametrize(
    ("env_id", "kwargs", "words"),
    [
        ("rlsd/GEM-v0", {"game": "math:GSM8K"}, "expected a game:… or rg:… of GEM; the others load a data set"),
        ("rlsd/GEM-v0", {"split": "tests"}, "Did you mean 'test'?"),
        ("rlsd/SkyRLGym-v0", {"game": "gsm8"}, "Did you mean 'gsm8k'?"),
        ("rlsd/SkyRLGym-v0", {"game": "search"}, "search needs data=FILE"),
        ("rlsd/SkyRLGym-v0", {"pattern": "("}, "is no regular expression"),
        ("rlsd/SkyRLGym-v0", {"dat": "x"}, "Did you mean 'data'?"),
    ],
)
def test_wrong_arguments_are_one_clear_line(env_id: str, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make(env_id, **kwargs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@gem
@pytest.mark.parametrize("game", ["game:GuessTheNumber-v0-easy", "rg:basic_arithmetic"])
def test_gem_keeps_the_contract(game: str) -> None:
    findings = check_env(Opener(open=lambda: make("rlsd/GEM-v0", game=game)))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


@gem
@pytest.mark.parametrize("game", ["game:GuessTheNumber-v0-hard", "game:Mastermind-v0-easy", "rg:basic_arithmetic"])
def test_gems_solution_wins_at_once(game: str) -> None:
    env = make("rlsd/GEM-v0", game=game, split="test")
    for task in env.tasks()[:5]:
        env.reset(options={"task": task.task_id})
        assert env.hindsight().distance == 1.0
        _, reward, ended, truncated, info = env.step(env.expert("oracle") or "")
        assert (reward, ended, truncated, info["success"], info["score"]) == (1.0, True, False, True, 1.0)
        assert env.hindsight().distance == 0.0


@gem
@pytest.mark.parametrize(
    ("game", "words"),
    [
        ("game:GuessTheNumber-v0-eas", "Did you mean 'game:GuessTheNumber-v0-easy'?"),
        ("game:FifteenPuzzle-v0-random", "cannot be opened: TypeError"),
    ],
)
def test_a_game_that_gem_cannot_open_is_named(game: str, words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make("rlsd/GEM-v0", game=game)
    assert words in str(caught.value)


@skyrl
@pytest.mark.parametrize("game", ["gsm8k", "gsm8k_multi_turn", "aime"])
def test_skyrl_keeps_the_contract_on_sums(game: str) -> None:
    findings = check_env(Opener(open=lambda: make("rlsd/SkyRLGym-v0", game=game)))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


@skyrl
@pytest.mark.parametrize("game", ["gsm8k", "gsm8k_multi_turn", "aime"])
def test_the_written_solution_wins_at_once(game: str) -> None:
    env = make("rlsd/SkyRLGym-v0", game=game, split="test")
    env.reset(options={"task": env.tasks()[0].task_id})
    _, reward, ended, _, info = env.step(env.expert("oracle") or "")
    assert (reward, ended, info["success"]) == (1.0, True, True)


@skyrl
def test_turns_are_paid_as_skyrl_pays_them_and_end_where_it_ends_them(problems: Path) -> None:
    env = make("rlsd/SkyRLGym-v0", game="gsm8k_multi_turn", data=str(problems))
    observation, _ = env.reset(options={"task": env.tasks()[0].task_id})
    assert observation.startswith("Count.\n")
    first, second, third = env.step("I think."), env.step("#### 99"), env.step("#### 98")
    assert [s[1] for s in (first, second, third)] == pytest.approx([0.0, 0.2 / 3, 0.2 / 3])
    assert [s[4]["valid_action"] for s in (first, second, third)] == [False, True, True]
    assert first[0].startswith("Please provide your step-by-step reasoning")
    assert third[2:4] == (True, False)
    assert third[4]["success"] is False


@skyrl
def test_each_problem_of_a_file_is_in_one_split(problems: Path) -> None:
    splits = [make("rlsd/SkyRLGym-v0", data=str(problems), split=s) for s in ("train", "valid", "test")]
    contents = [{env.content(task.task_id) for task in env.tasks()} for env in splits]
    assert [len(c) for c in contents] == [12, 2, 2]
    assert len(set.union(*contents)) == 16


@skyrl
@pytest.mark.parametrize(
    ("text", "words"),
    [("{", ":1 is no problem"), ('{"prompt": 3}', ":1 is no problem"), ("", "0 different games")],
)
def test_a_damaged_file_is_named_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        make("rlsd/SkyRLGym-v0", data=str(path))
    assert words in str(caught.value)


@skyrl
def test_a_class_of_ones_own_is_an_environment(problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_gym.py").write_text(
        "from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput as Out\n"
        "class Say(BaseTextEnv):\n"
        "    def __init__(self, env_config=None, extras={}):\n"
        "        super().__init__()\n"
        "        self.wanted = extras['reward_spec']['ground_truth']\n"
        "    def step(self, action):\n"
        "        won = action == self.wanted\n"
        "        return Out(observations=[], reward=float(won), done=won, metadata={})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    env = make("rlsd/SkyRLGym-v0", game="own_gym:Say", data=str(problems))
    env.reset(options={"task": env.tasks()[0].task_id})
    assert env.step("no")[:2] == ("Go on.", 0.0)
    answer = env.hindsight().answer
    assert answer is not None
    assert env.step(answer)[4]["success"] is True
    with pytest.raises(EnvError, match="'own_gym:Sey' cannot be imported"):
        make("rlsd/SkyRLGym-v0", game="own_gym:Sey", data=str(problems))
