"""Damaged game files and arbitrary commands: a clear `GameFileError` or "Nothing happens.", never a crash or a hang.

One file, or five hundred commands, may take `PATIENCE_S` seconds of processor time, a thousand times what they need;
the process's peak of memory may not rise by more than `ROOM_MIB` over a whole batch.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from rlsd.envs import GameFileError, TextEnv, make
from rlsd.envs.alfworld.engine.game import load_game
from rlsd.envs.alfworld.engine.text import NOTHING_HAPPENS
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.generate.presets import preset_generated
from rlsd.envs.alfworld.hindsight import Witness
from tests.envs.conftest import goal_text, problem_text
from tests.support.mutations import damaged_file, random_command

PATIENCE_S = 20
ROOM_MIB = 128
FILES, COMMANDS, BATCHES = 100_000, 1_000_000, 20


@contextmanager
def bounded() -> Iterator[None]:
    """Fails if the peak of resident memory rises by more than `ROOM_MIB`."""
    before = _peak_mib()
    yield
    assert _peak_mib() - before < ROOM_MIB


@contextmanager
def patient() -> Iterator[None]:
    """Ends what takes more than `PATIENCE_S` seconds of processor time; a busy machine makes no difference."""

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still busy after {PATIENCE_S} s of processor time")

    kept = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, kept)


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


@lru_cache(maxsize=1)
def whole_files() -> list[dict[str, Any]]:
    """Six generated games, one a task type, and three by hand with boxes, knives, shared places and sliced goals."""
    files = [preset_generated("gen-tiny", "test", i).to_json() for i in range(6)]
    receptacles = [("SinkBasin", 1), ("Shelf", 1), ("Drawer", 2), ("Microwave", 3), ("Fridge", 4), ("Shelf", 5)]
    objects = [("Mug", 2), ("Mug", 1), ("Knife", 5), ("Apple", 5), ("Box", 5), ("DeskLamp", 2), ("Apple", 4)]
    goals = [
        goal_text("place", "Apple", "Fridge", ("hot",), sliced=True),
        goal_text("look", "Apple", "DeskLamp", sliced=True),
        goal_text("two", "Mug", "Drawer"),
    ]
    for goal in goals:
        files.append({"pddl_problem": problem_text(receptacles, objects, goal), "task": "t.", "walkthrough": ["look"]})
    return files


def try_file(path: Path, draw: random.Random) -> str:
    """ "refused", or "played" after a short walk with planning; any other error is the test's failure."""
    refusal = ""
    try:
        game = load_game(path)
    except GameFileError as error:
        refusal = str(error)
    if refusal:
        assert str(path) in refusal
        assert len(refusal) < 2000
        return "refused"
    world = World(game)
    witness = Witness(world)
    for _ in range(4):
        known = witness.hindsight()
        assert known.distance is not None
        assert (known.distance == 0) == world.won
        command = draw.choice(known.plan[:1] or world.admissible())
        assert command in world.admissible()
        witness.step(command)
        # As in the original, the name of a thing whose id has no "_bar_" ends with a blank, which no input keeps.
        assert world.understood or command.endswith(" ")
    return "played"


def fuzz_files(count: int, seed: int, folder: Path) -> Counter[str]:
    draw, path, files = random.Random(seed), folder / "game.tw-pddl", whole_files()
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        raw = damaged_file(draw, draw.choice(files))
        path.write_bytes(raw)
        try:
            with patient():
                outcomes[try_file(path, draw)] += 1
        except Exception:
            kept = folder / "failing.tw-pddl"
            kept.write_bytes(raw)
            print(f"seed {seed}: the file that failed is {kept}")
            raise
    return outcomes


def fuzz_commands(count: int, seed: int) -> Counter[str]:
    """Through the environment: what is listed is done, all else is refused and leaves the state as it was."""
    draw = random.Random(seed)
    env = make("rlsd/ALFWorld-v0", games="gen-easy", split="test")
    outcomes: Counter[str] = Counter()
    tasks = list(env.tasks())
    for _ in range(count // 500):
        with patient():
            _try_commands(env, draw.choice(tasks).task_id, draw, outcomes)
    env.close()
    return outcomes


def _try_commands(env: TextEnv, task_id: str, draw: random.Random, outcomes: Counter[str]) -> None:
    _, info = env.reset(options={"task": task_id})
    world: World = env._world  # type: ignore[attr-defined]  # the state is no part of the interface
    names = [*world.game.objects, *world.game.receptacles, "unicorn 1", "1", ""]
    key = world.key()
    for _ in range(500):
        command = random_command(draw, names, info["admissible_actions"])
        listed = command.strip() in info["admissible_actions"]
        observation, reward, terminated, _, info = env.step(command)
        assert info["valid_action"] == listed, command
        assert (observation == NOTHING_HAPPENS) == (not listed), command
        assert terminated == info["success"] == (reward == 1.0)
        if listed:
            key = world.key()
        else:
            assert world.key() == key, command
        outcomes["done" if listed else "refused"] += 1


def test_damaged_files_one_per_cent(tmp_path: Path) -> None:
    with bounded():
        outcomes = fuzz_files(FILES // 100, 0, tmp_path)
    assert outcomes["refused"] > 300
    assert outcomes["played"] > 150


def test_random_commands_one_per_cent() -> None:
    with bounded():
        outcomes = fuzz_commands(COMMANDS // 100, 0)
    assert outcomes["refused"] > 5000
    assert outcomes["done"] > 1500


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_files(tmp_path: Path, batch: int) -> None:
    with bounded():
        assert fuzz_files(FILES // BATCHES, 1000 + batch, tmp_path).total() == FILES // BATCHES


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_commands(batch: int) -> None:
    with bounded():
        assert fuzz_commands(COMMANDS // BATCHES, 2000 + batch).total() == COMMANDS // BATCHES


@pytest.mark.parametrize("action", [None, 3, b"look", ["look"], float("nan"), "x" * 1_000_000, "go to " * 100_000])
def test_what_is_no_command_at_all_is_refused(action: Any) -> None:
    env = make("rlsd/ALFWorld-v0", games="gen-tiny", split="test")
    env.reset(seed=0)
    observation, *_, info = env.step(action)
    assert (observation, info["valid_action"]) == (NOTHING_HAPPENS, False)
    json.dumps(info)
