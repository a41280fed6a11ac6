"""Step-for-step equality with recordings of the original engine; needs the data named by RLSD_DATA."""

from __future__ import annotations

import json
import lzma
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.alfworld import oracle
from rlsd.envs.alfworld.game import Game, game_from_json, load_game
from rlsd.envs.alfworld.world import World

ROOT = Path(os.environ.get("RLSD_DATA", "no-such-folder")) / "alfworld"
GOLDEN = ROOT / "golden_traces.jsonl.xz"
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


def differences(game: Game, trace: dict[str, Any]) -> list[str]:
    world = World(game)
    found = []
    if (world.reset(), world.admissible(), world.won) != (trace["obs"], trace["adm"], trace["won"]):
        found.append("reset")
    for command, observation, admissible, reward, done, won in trace["steps"]:
        got = (world.step(command), world.admissible(), world.won, float(world.won))
        if got != (observation, admissible, won, float(reward)) or done != won:
            found.append(command)
        assert world.understood == (observation != "Nothing happens.")
    return found


@needs_golden
def test_recorded_traces() -> None:
    with lzma.open(GOLDEN, "rt") as file:
        traces = [json.loads(line) for line in file]
    steps = sum(len(trace["steps"]) for trace in traces)
    assert (len(traces), steps) == (50, 2250)
    by_file = {trace["f"]: trace for trace in traces}
    done = 0
    for name, game in packed_games(set(by_file)):
        assert differences(game, by_file[name]) == [], name
        done += 1
    assert done == len(by_file)


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
