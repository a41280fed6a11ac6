"""`backend="textworld"`: the original engine behind our class. All but one test need `pip install "rlsd[alfworld]"`."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import pytest

import rlsd.envs  # noqa: F401  (registers the environment)
from benchmarks.parity.transcripts import read_transcripts
from rlsd.envs import EnvError, Hindsight

INSTALLED = find_spec("textworld") is not None and find_spec("alfworld") is not None
needs_original = pytest.mark.skipif(not INSTALLED, reason='the original engine: run pip install "rlsd[alfworld]"')
# The packages themselves warn: about syntax they use, and about files they leave open.
quiet = pytest.mark.filterwarnings("ignore")


def open_env(games: str | Path = "gen-tiny", **kwargs) -> gymnasium.Env:
    return gymnasium.make("rlsd/ALFWorld-v0", games=games, split="test", **kwargs)


@pytest.mark.skipif(INSTALLED, reason="the original engine is installed")
def test_without_the_package_one_error_says_what_to_install() -> None:
    with pytest.raises(EnvError, match=r"not installed \(missing: alfworld.*pip install 'rlsd\[alfworld\]'"):
        open_env(backend="textworld")


@quiet
@needs_original
def test_both_backends_show_the_same_and_know_the_same() -> None:
    arguments = list(sys.argv)
    original, native = open_env(backend="textworld"), open_env()
    assert original.get_wrapper_attr("blocking")
    assert not native.get_wrapper_attr("blocking")
    task = native.get_wrapper_attr("tasks")()[3].task_id
    told, shown = (env.reset(seed=0, options={"task": task}) for env in (original, native))
    assert told == shown
    for n in range(40):
        assert original.get_wrapper_attr("hindsight")() == native.get_wrapper_attr("hindsight")()
        expert = native.get_wrapper_attr("expert")
        assert original.get_wrapper_attr("expert")("explorer") == expert("explorer")
        action = expert("oracle")
        if n % 3 == 1:
            action = ("look", "Go to nowhere", "examine", "inventory", " help ")[n % 5]
        told, shown = original.step(action), native.step(action)
        assert told == shown
        if told[2]:
            break
        if n == 4:
            kept = [(env, env.get_wrapper_attr("save")()) for env in (original, native)]
    assert told[2], "the oracle wins on the original engine"
    told, shown = (env.get_wrapper_attr("restore")(saved) for env, saved in kept)
    assert told == shown
    assert original.step("look") == native.step("look")
    assert original.get_wrapper_attr("hindsight")() == native.get_wrapper_attr("hindsight")()
    assert sys.argv == arguments
    for env in (original, native):
        env.close()
        with pytest.raises(EnvError, match="no episode is open"):
            env.step("look")


@quiet
@needs_original
def test_hindsight_ends_where_the_native_world_parts_from_the_original(tmp_path: Path) -> None:
    """Under the installed rules a sink that is no basin does not clean; the native engine has the published rules."""
    recorded = Path(__file__).parents[2] / "data/alfworld_corners.jsonl.xz"
    for transcript in read_transcripts(recorded):
        sinks = [s for s in transcript.steps if s.command.startswith("clean ") and " sink " in s.command]
        if sinks and sinks[0].observation.startswith("You clean"):
            break
    else:
        pytest.fail("no recorded world cleans at a sink")
    file = tmp_path / "game.json"
    file.write_text(json.dumps({"pddl_problem": transcript.problem, "task": transcript.task}))
    env = open_env(file, backend="textworld", max_steps=1000)
    env.reset(seed=0)
    assert env.get_wrapper_attr("hindsight")() != Hindsight()
    for step in transcript.steps:
        observation, _, _, _, info = env.step(step.command)
        if step.command == sinks[0].command:
            break
    assert (observation, info["valid_action"]) == ("Nothing happens.", False)
    assert env.get_wrapper_attr("hindsight")() == Hindsight()
    assert env.get_wrapper_attr("expert")("oracle") is None
    assert env.get_wrapper_attr("expert")("explorer") in info["admissible_actions"]
    env.reset(seed=0)
    assert env.get_wrapper_attr("hindsight")() != Hindsight()
