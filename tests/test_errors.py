"""One tree of errors: what a user can fix derives from `RlsdError` or `AlgorithmError`, as docs/concepts.md lists."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import rlsd.agents
import rlsd.algorithms
import rlsd.envs
import rlsd.harness
from rlsd.agents.chat import TemplateError
from rlsd.agents.hf.models import ModelError
from rlsd.algorithms import errors as algorithm_errors
from rlsd.algorithms.errors import AlgorithmError
from rlsd.envs import errors as env_errors
from rlsd.envs.errors import RlsdError

ROOT = Path(__file__).resolve().parents[1]

NUMBERED = [f"n{i:02}" for i in range(22)]
INTERNAL = {
    "rlsd.agents.types.ContextFull": "ends an episode, as its stop reason",
    "rlsd.envs.remote.http_client.HttpFailure": "becomes the error of the client that asked",
    "rlsd.envs.babyai.planner._NoWay": "the plan goes another way, or there is none",
    "rlsd.envs.scienceworld.engine.world.scala.NeedsDraws": "the episode is played again with random numbers",
    "rlsd.envs.scienceworld.engine.world.rest._Busy": "the room does not rest",
    "rlsd.envs.babyai.world.EndlessLayout": "the seed is passed over",
    "rlsd.agents.vllm.fake.state.Refused": "the fake server answers it with status 500",
    "rlsd.harness.learner.step.OutOfMemory": "the learner halves the micro-batch, and raises MemoryFull if it cannot",
    "rlsd.harness.rollout.env_calls.EpisodeError": "is recorded as the failed episode's error",
    "rlsd.harness.rollout.env_calls._NoAnswer": "becomes an EpisodeError",
    "rlsd.harness.rollout.env_calls._Raised": "becomes an EpisodeError",
    "rlsd.harness.serve.guard._Gone": "ends a request whose client hung up",
    "rlsd.harness.serve.openenv._Refused": "is sent as the answer to the message",
}
"""Exceptions that are caught where they are raised from, each with what becomes of it."""


def defined() -> set[type[BaseException]]:
    """Every exception class that a module of the four packages defines."""
    found: set[type[BaseException]] = set()
    for package in (rlsd.envs, rlsd.agents, rlsd.algorithms, rlsd.harness):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            classes = [value for value in vars(module).values() if isinstance(value, type)]
            found.update(c for c in classes if issubclass(c, BaseException) and c.__module__ == info.name)
    return found


ERRORS = {f"{c.__module__}.{c.__qualname__}": c for c in defined()}


def test_every_error_is_one_a_user_can_fix_or_internal() -> None:
    loose = {name for name, error in ERRORS.items() if not issubclass(error, RlsdError | AlgorithmError)}
    assert loose == set(INTERNAL)


def test_the_algorithms_layer_has_one_error() -> None:
    assert [n for n in ERRORS if n.startswith("rlsd.algorithms.")] == ["rlsd.algorithms.errors.AlgorithmError"]
    assert AlgorithmError.__bases__ == (ValueError,)


@pytest.mark.parametrize("error", [ModelError, TemplateError])
def test_errors_that_were_value_errors_still_are(error: type[Exception]) -> None:
    assert error.__bases__ == (RlsdError, ValueError)


def test_the_documented_tree_is_the_code() -> None:
    """Class, module, and a dot before those whose base is the last class without one."""
    text = (ROOT / "docs" / "concepts.md").read_text().partition("## Errors")[2].partition("## Where")[0]
    rows = re.findall(r"^\| (· )?`(\w+)`[^|]*\| (?:`([\w.]+)`|same) \|", text, re.MULTILINE)
    listed: dict[str, type[BaseException]] = {}
    module, parent = "", ""
    for inner, name, where in rows:
        module = where or module
        parent = parent if inner else f"{module}.{name}"
        listed[f"{module}.{name}"] = ERRORS[parent] if inner else RlsdError
    assert set(listed) == set(ERRORS) - set(INTERNAL)
    del listed["rlsd.envs.errors.RlsdError"], listed["rlsd.algorithms.errors.AlgorithmError"]
    assert {name: ERRORS[name].__bases__[0] for name in listed} == listed


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("rlds", ["grpo", "rlsd"], ". Did you mean 'rlsd'? Known: grpo, rlsd."),
        ("xyz", ["grpo", "rlsd"], ". Known: grpo, rlsd."),
        ("", ["b", "a", "b"], ". Known: a, b."),
        ("itʼs", ["it's"], """. Did you mean "it's"? Known: it's."""),
        ("z", NUMBERED[:20], f". Known: {', '.join(NUMBERED[:20])}."),
        ("n21", NUMBERED, f". Did you mean 'n21'? Known: {', '.join(NUMBERED[:20])}, … (22 in all)."),
    ],
)
def test_both_layers_name_the_closest_in_the_same_words(name: str, known: list[str], told: str) -> None:
    assert env_errors.closest(name, known) == told
    assert algorithm_errors.closest(name, known) == told
