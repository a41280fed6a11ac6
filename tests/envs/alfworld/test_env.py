"""ALFWorld through Gymnasium: arguments, episodes, data on disk and its faults."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import pytest

import rlsd.envs
from rlsd.envs import DataError, EnvError, Hindsight, Panel, TaskError, TextEnv, check_env, make

ID = "rlsd/ALFWorld-v0"


@pytest.fixture
def folder(tmp_path: Path, tiny: SimpleNamespace) -> Path:
    """Six small games in the published layout, two a split, the training ones with domain-less generated files."""
    receptacles = [("SinkBasin", 1), ("Shelf", 2), ("Microwave", 3), ("Drawer", 4)]
    for split in ("train", "valid_seen"):
        for number, states in enumerate([("hot",), ("clean",), ()]):
            name = {"hot": "pick_heat_then_place_in_recep", "clean": "pick_clean_then_place_in_recep"}.get(
                "".join(states), "pick_and_place_simple"
            )
            problem = tiny.problem_text(
                receptacles, [("Mug", 3), ("Pen", 1)], tiny.goal_text("place", "Mug", "Shelf", states)
            )
            sentence = f"put a {' '.join([*states, 'mug'])} in shelf."
            data = {"pddl_problem": problem, "solvable": True, "walkthrough": ["go to drawer 1"]}
            if split == "train":
                data["task"] = sentence
            else:
                data["grammar"] = '"task": [ { "rhs": "Your task is to: ' + sentence + '" } ]'
            where = tmp_path / split / f"{name}-Mug-None-Shelf-{number}" / f"trial_{number}"
            where.mkdir(parents=True)
            (where / "game.tw-pddl").write_text(json.dumps(data))
            (where / "traj_data.json").write_text("{}")
    return tmp_path


def open_env(folder: Path, **kwargs) -> TextEnv:
    return make(ID, games=folder, **{"split": "valid_seen", **kwargs})


def test_contract(folder: Path) -> None:
    findings = check_env(lambda: open_env(folder))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []
    assert len(findings) > 12


def test_gymnasium_opens_it_without_a_wrapper(folder: Path) -> None:
    env = gymnasium.make(f"rlsd.envs:{ID}", games=folder, split="valid_seen", max_steps=3)
    assert env.unwrapped is env
    observation, info = env.reset(seed=0, options={"task": env.get_wrapper_attr("tasks")()[0].task_id})
    assert observation.startswith("-= Welcome to TextWorld, ALFRED! =-\n\n")
    assert info["task_id"] == "valid_seen/pick_and_place_simple-Mug-None-Shelf-2/trial_2"
    assert info["goal"] == "put a mug in shelf."
    assert info["task_type"] == "pick_and_place_simple"
    assert isinstance(env.get_wrapper_attr("hindsight")(), Hindsight)


def test_an_episode_ends_in_success_or_truncation(folder: Path) -> None:
    env = open_env(folder, max_steps=3)
    _, info = env.reset(seed=1)
    assert not info["success"]
    outcomes = [env.step("help")[1:4] for _ in range(3)]
    assert outcomes == [(0.0, False, False), (0.0, False, False), (0.0, False, True)]


@pytest.mark.parametrize("kind", ["oracle", "explorer"])
def test_experts_win(folder: Path, kind: str) -> None:
    for order in ("listed", "likely", "random"):
        env = open_env(folder, expert_seed=1, expert_order=order)
        for task in env.tasks():
            env.reset(options={"task": task.task_id})
            for _ in range(50):
                action = env.expert(kind)
                assert action is not None
                _, reward, terminated, truncated, info = env.step(action)
                if terminated or truncated:
                    break
            assert (reward, terminated, truncated, info["success"], info["score"]) == (1.0, True, False, True, 1.0)
            assert env.expert(kind) == "look"


def test_explorer_takes_over_in_the_middle(folder: Path) -> None:
    env = open_env(folder)
    env.reset(options={"task": env.tasks()[-1].task_id})
    for action in ("go to drawer 1", "open drawer 1", "nonsense", "take mug 1 from drawer 1"):
        env.step(action)
    terminated = False
    for _ in range(8):
        action = env.expert("explorer")
        assert action is not None
        assert not action.startswith(("take", "go to drawer"))
        terminated = env.step(action)[2]
        if terminated:
            break
    assert terminated


def test_hindsight_stays_out_of_info(folder: Path) -> None:
    env = open_env(folder)
    _, info = env.reset(seed=0)
    for _ in range(4):
        known = env.hindsight()
        shown = json.dumps(info)
        assert all(fact not in shown for fact in (*known.missing, *known.whereabouts, known.feedback) if fact)
        _, _, _, _, info = env.step(info["admissible_actions"][0])


def test_unknown_arguments_are_named(folder: Path) -> None:
    cases = {
        "did you mean 'max_steps'": {"max_step": 3},
        "unknown backend 'nativ'": {"backend": "nativ"},
        "textworld": {"backend": "textworld"},
        "no split 'valid_sen'. Did you mean 'valid_seen'": {"split": "valid_sen"},
        "neither a preset": {"games": "gen-eazy"},
        "max_steps must be": {"max_steps": 0},
        "unknown order": {"expert_order": "sideways"},
    }
    for words, kwargs in cases.items():
        with pytest.raises(EnvError) as caught:
            make(ID, **{"games": folder, "split": "valid_seen", **kwargs})
        assert words.lower() in str(caught.value).lower()


def test_unknown_task_names_the_closest(folder: Path) -> None:
    env = open_env(folder)
    with pytest.raises(TaskError, match="trial_2"):
        env.reset(options={"task": "valid_seen/pick_and_place_simple-Mug-None-Shelf-2/trial_3"})


def test_step_before_reset_says_so(folder: Path) -> None:
    with pytest.raises(EnvError, match="call reset"):
        open_env(folder).step("look")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a JSON game file"),
        ('{"pddl_problem": "(define', "not a JSON game file"),
        ("[]", "pddl_problem"),
        ('{"pddl_problem": "(define (problem x))", "task": "t"}', "truncated"),
        ('{"pddl_problem": "x"}', "no task sentence"),
    ],
)
def test_a_damaged_file_is_named_when_it_is_opened(folder: Path, content: str, words: str) -> None:
    env = open_env(folder)
    task = env.tasks()[0]
    path = folder / task.task_id / "game.tw-pddl"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        env.reset(options={"task": task.task_id})
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_named(folder: Path) -> None:
    env = open_env(folder)
    task = env.tasks()[0]
    (folder / task.task_id / "game.tw-pddl").unlink()
    with pytest.raises(DataError, match="no such game file"):
        env.reset(options={"task": task.task_id})


def test_one_file_and_a_flat_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = sorted(folder.rglob("game.tw-pddl"))[0]
    env = make(ID, games=source, split="anything")
    assert [(t.task_id, t.split) for t in env.tasks()] == [("game.tw-pddl", "anything")]
    assert env.reset()[1]["task_type"] == env.tasks()[0].task_type
    flat = tmp_path_factory.mktemp("flat")
    (flat / "b.json").write_bytes(source.read_bytes())
    (flat / "a.tw-pddl").write_bytes(source.read_bytes())
    (flat / "c.json").write_text("{}")
    tasks = make(ID, games=flat).tasks()
    assert [t.task_id for t in tasks] == ["a.tw-pddl", "b.json", "c.json"]
    assert tasks[2].task_type == "unknown"


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no .*game in it"):
        make(ID, games=tmp_path)


@pytest.mark.parametrize("variable", ["ALFWORLD_DATA", "RLSD_DATA"])
def test_real_data_is_found_through_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("ALFWORLD_DATA", "RLSD_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match="alfworld-download"):
        make(ID, games="real", split="valid_seen")
    home = tmp_path / "data" / ("alfworld" if variable == "RLSD_DATA" else "") / "json_2.1.1"
    home.mkdir(parents=True)
    for split in ("train", "valid_seen"):
        (folder / split).rename(home / split)
    monkeypatch.setenv(variable, str(tmp_path / "data"))
    assert len(make(ID, games="real", split="train").tasks()) == 3
    with pytest.raises(EnvError, match="unknown split 'test'"):
        make(ID, games="real", split="test")


def test_games_are_shared_between_environments(folder: Path) -> None:
    one, two = open_env(folder), open_env(folder)
    assert one.tasks() is two.tasks()
    task = one.tasks()[0].task_id
    assert one._library.game(task) is two._library.game(task)  # type: ignore[attr-defined]


def test_panel_hash_tells_contents_apart(folder: Path) -> None:
    env = open_env(folder)
    before = Panel.of(env, env.tasks())
    assert before == Panel.of(env, env.tasks())
    contents = {env.content(t.task_id) for t in env.tasks()}
    assert len(contents) == 3
    path = folder / env.tasks()[0].task_id / "game.tw-pddl"
    path.write_text(path.read_text().replace("Pen", "Mug"))
    assert Panel.of(env, env.tasks()).digest != before.digest


def test_public_names() -> None:
    for name in rlsd.envs.__all__:
        assert hasattr(rlsd.envs, name)


def test_generated_games_need_no_data() -> None:
    assert make(ID).tasks()[0].task_id.startswith("gen-default/train/")
    findings = check_env(lambda: make(ID, games="gen-tiny", split="test"))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []
    with pytest.raises(EnvError, match="Did you mean 'test'"):
        make(ID, games="gen-tiny", split="tests")


@pytest.mark.parametrize("kind", ["oracle", "explorer"])
def test_experts_win_generated_games(kind: str) -> None:
    env = make(ID, games="gen-easy", split="valid")
    for task in env.tasks()[:24]:
        env.reset(options={"task": task.task_id})
        distance = env.hindsight().distance
        steps = 0
        while steps < 50:
            steps += 1
            action = env.expert(kind)
            assert action is not None
            _, _, terminated, _, info = env.step(action)
            assert info["valid_action"]
            if terminated:
                break
        assert info["success"]
        assert kind == "explorer" or steps == distance
