"""Step-for-step equality with recordings of the original engine.

The corner cases carry their worlds; the published games need their files, from RLSD_DATA or ALFWORLD_DATA.
"""

from __future__ import annotations

import dataclasses
import json
import lzma
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

import rlsd.envs  # noqa: F401  (registers the environment)
from benchmarks.parity.branches import BRANCHES, branches
from benchmarks.parity.transcripts import (
    Transcript,
    differences,
    read_transcripts,
    transcript_from_json,
    write_transcripts,
)
from rlsd.envs.alfworld.engine.game import Game, game_from_json, load_game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts import oracle
from rlsd.envs.errors import DataError

ROOT = Path(os.environ.get("RLSD_DATA", "no-such-folder")) / "alfworld"
GOLDEN = ROOT / "golden_traces.jsonl.xz"
RECORDED = Path(__file__).parents[2] / "data"
CORNERS, PUBLISHED = RECORDED / "alfworld_corners.jsonl.xz", RECORDED / "alfworld_published.jsonl.xz"
ARCHIVES = ("games_train_valid_seen.tar.xz", "games_valid_unseen_valid_train.tar.xz")

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_file(), reason="golden traces: RLSD_DATA names no folder with alfworld/golden_traces.jsonl.xz"
)
needs_games = pytest.mark.skipif(
    not (ROOT / "json_2.1.1").is_dir(), reason="published games: RLSD_DATA names no alfworld/json_2.1.1"
)


def packed_games(wanted: set[str] | None) -> Iterator[tuple[str, Game]]:
    """Games by path, straight from the archives; None: all of them."""
    left = set(wanted or ())
    for archive in ARCHIVES:
        if (wanted is not None and not left) or not (ROOT / archive).is_file():
            continue
        with tarfile.open(ROOT / archive) as tar:
            for member in tar:
                name = member.name.removeprefix("./").removeprefix("json_2.1.1/")
                if not name.endswith("game.tw-pddl") or (wanted is not None and name not in left):
                    continue
                file = tar.extractfile(member)
                assert file is not None
                yield name, game_from_json(json.loads(file.read()), name)
                left.discard(name)
                if wanted is not None and not left:
                    break


@needs_golden
def test_recorded_traces() -> None:
    with lzma.open(GOLDEN, "rt") as file:
        traces = [json.loads(line) for line in file]
    keys = {"f": "game", "obs": "observation", "adm": "admissible"}
    transcripts = {t["f"]: transcript_from_json({keys.get(k, k): v for k, v in t.items()}) for t in traces}
    assert (len(traces), sum(len(t["steps"]) for t in traces)) == (50, 2250)
    done = 0
    for name, game in packed_games(set(transcripts)):
        assert list(differences(transcripts[name], World(game))) == []
        done += 1
    assert done == len(transcripts)


@pytest.fixture(scope="module")
def corners() -> list[Transcript]:
    return list(read_transcripts(CORNERS))


def test_corner_cases(corners: list[Transcript]) -> None:
    assert len(corners) >= 90
    assert sum(len(t.steps) for t in corners) >= 3000
    for transcript in corners:
        assert list(differences(transcript, World(transcript.made_game()))) == []


def test_the_corner_cases_go_through_every_rule_and_branch(corners: list[Transcript]) -> None:
    counts: Counter[str] = Counter()
    for transcript in corners:
        counts += branches(transcript, transcript.made_game())
    assert set(counts) <= set(BRANCHES)
    assert [name for name in BRANCHES if not counts[name]] == []


def test_the_environment_shows_what_the_engine_shows(corners: list[Transcript], tmp_path: Path) -> None:
    for transcript in corners[::9]:
        file = tmp_path / "game.json"
        file.write_text(json.dumps({"pddl_problem": transcript.problem, "task": transcript.task}))
        env = gymnasium.make("rlsd/ALFWorld-v0", games=file, max_steps=1000)
        observation, info = env.reset(seed=0)
        assert (observation, info["admissible_actions"]) == (transcript.observation, transcript.admissible)
        for step in transcript.steps:
            observation, reward, terminated, _, info = env.step(step.command)
            shown = (observation, info["admissible_actions"], reward, terminated, info["success"])
            assert shown == step[1:]


def test_a_difference_is_found(corners: list[Transcript]) -> None:
    good = corners[0]
    n = next(n for n, step in enumerate(good.steps) if step.observation != "Nothing happens.")
    for change in (
        {"observation": "You see more."},
        {"admissible": good.steps[n].admissible[::-1]},
        {"reward": 0.5},
        {"done": not good.steps[n].done},
        {"won": not good.steps[n].won},
    ):
        steps = (*good.steps[:n], good.steps[n]._replace(**change), *good.steps[n + 1 :])
        found = list(differences(dataclasses.replace(good, steps=steps), World(good.made_game())))
        assert [(f["step"], f["command"], f["what"]) for f in found] == [(n, good.steps[n].command, *change)]
    refused = good.steps[n]._replace(observation="Nothing happens.")
    found = differences(dataclasses.replace(good, steps=(*good.steps[:n], refused)), World(good.made_game()))
    assert [f["what"] for f in found] == ["observation", "understood"]


def test_transcripts_survive_the_packing(corners: list[Transcript], tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl.xz"
    assert write_transcripts(file, corners[:5]) == file.stat().st_size
    assert list(read_transcripts(file)) == corners[:5]
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"some\.jsonl\.xz: cannot be read as transcripts"):
        list(read_transcripts(file))
    with pytest.raises(DataError, match="has no problem"):
        dataclasses.replace(corners[0], problem=None).made_game()


def unpacked(name: str) -> Path | None:
    """A published game's file in a data folder named by the environment."""
    named = (ROOT, *(Path(os.environ[n]) for n in ("RLSD_DATA", "ALFWORLD_DATA") if os.environ.get(n)))
    return next((f for base in named for f in (base / "json_2.1.1" / name, base / name) if f.is_file()), None)


def test_published_games_that_are_unpacked_here() -> None:
    done = 0
    for transcript in read_transcripts(PUBLISHED):
        path = unpacked(transcript.game)
        if path is not None:
            assert list(differences(transcript, World(load_game(path)))) == []
            done += 1
    if not done:
        pytest.skip("published games: neither RLSD_DATA nor ALFWORLD_DATA names a folder with json_2.1.1/")


@needs_golden
@pytest.mark.slow
def test_published_games() -> None:
    transcripts = {t.game: t for t in read_transcripts(PUBLISHED)}
    assert len(transcripts) >= 300
    kinds = {(name.split("/")[0], name.split("/")[1].split("-")[0]) for name in transcripts}
    assert len(kinds) == 4 * 6
    done = 0
    for name, game in packed_games(set(transcripts)):
        transcript = transcripts[name]
        assert list(differences(transcript, World(game))) == []
        walked = iter(step.command for step in transcript.steps)
        assert all(command in walked for command in game.walkthrough)
        done += 1
    assert done == len(transcripts)


def test_replay_from_the_command_line() -> None:
    script = Path(__file__).parents[3] / "benchmarks/alfworld_parity.py"
    environment = {k: v for k, v in os.environ.items() if k not in ("RLSD_DATA", "ALFWORLD_DATA")}
    ran = subprocess.run(
        [sys.executable, str(script), "replay"], capture_output=True, text=True, env=environment, check=True
    )
    report = json.loads(ran.stdout.splitlines()[-1])
    assert (report["differences"], report["branches_never_taken"]) == (0, [])
    assert report["games_by_source"] == {"corner": report["games"]}
    assert report["skipped_for_want_of_the_game_file"] > 0


def check_expert(name: str, game: Game) -> None:
    """The walkthrough is admissible throughout and wins; our plan is no longer."""
    world = World(game)
    for command in game.walkthrough:
        assert command in world.admissible(), (name, command)
        world.step(command)
    assert world.won, name
    ours = oracle.plan(World(game))
    assert ours is not None
    assert len(ours) <= len(game.walkthrough), name


@needs_games
def test_walkthroughs_of_unpacked_games() -> None:
    paths = sorted((ROOT / "json_2.1.1").rglob("game.tw-pddl"))
    assert paths
    for path in paths:
        check_expert(str(path), load_game(path))


@needs_golden
@pytest.mark.slow
def test_walkthroughs_of_all_games() -> None:
    count = 0
    for name, game in packed_games(None):
        check_expert(name, game)
        assert name.split("/")[1].split("-")[0] == game.task_type
        count += 1
    assert count == 4027
