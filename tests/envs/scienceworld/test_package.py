"""The original behind our class: package `scienceworld` and Java; skipped, with the reason, where one is absent."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import warnings
from importlib.util import find_spec

import pytest

from rlsd.envs.errors import EnvError, EnvLost
from rlsd.envs.registry import make
from rlsd.envs.scienceworld.env import ScienceWorldEnv
from rlsd.envs.scienceworld.java import borrow, end_idle
from rlsd.envs.scienceworld.package import PackageEngine
from rlsd.envs.scienceworld.task_types import TASK_TYPES

INSTALLED = find_spec("scienceworld") is not None and find_spec("py4j") is not None
JAVA = shutil.which("java") is not None
needs_package = pytest.mark.skipif(not INSTALLED, reason='the original: run pip install "rlsd[scienceworld]"')
needs_java = pytest.mark.skipif(not JAVA, reason="the original needs Java: install a JRE")
# The package py4j leaves sockets to the garbage collector.
quiet = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True, scope="module")
def _no_process_stays():
    yield
    end_idle()
    with warnings.catch_warnings():  # py4j leaves sockets to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.skipif(INSTALLED, reason="the package is installed")
def test_without_the_package_one_error_says_what_to_install() -> None:
    with pytest.raises(EnvError, match=r"missing: scienceworld, py4j.*pip install 'rlsd\[scienceworld\]'"):
        make("rlsd/ScienceWorld-v0", backend="package")


@quiet
@needs_package
@needs_java
def test_the_gold_path_wins_and_an_episode_repeats_word_for_word() -> None:
    env = ScienceWorldEnv(task_types="find-living-thing", backend="package")
    told = []
    for _ in range(2):
        episode = [env.reset(options={"task": "find-living-thing/3"})]
        while (action := env.expert("oracle")) is not None:
            episode.append(env.step(action))
        told.append(episode)
    assert told[0] == told[1]
    assert told[0][-1][4]["success"]
    assert sum(step[1] for step in told[0][1:]) == pytest.approx(1.0)
    env.close()


@quiet
@needs_package
@needs_java
def test_types_and_variations_are_those_of_the_package() -> None:
    java = borrow()
    assert {name: java.call("getTaskMaxVariations", name) for name in java.call("getTaskNames")} == {
        name: kind.variations for name, kind in TASK_TYPES.items()
    }


@quiet
@needs_package
@needs_java
def test_a_process_is_used_again_and_its_death_is_one_failed_episode() -> None:
    first, second = PackageEngine(), PackageEngine()
    first.open("find-animal", 0, "")
    assert first._java is not None
    pid = first._java.pid
    first.close()
    second.open("find-animal", 0, "")
    assert second._java is not None
    assert second._java.pid == pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EnvLost, match="the Java process of ScienceWorld") as lost:
        second.step("look around")
    assert lost.value.own
    del lost
    gc.collect()  # the socket of py4j's failed call, while its warning is ignored
    second.close()
    assert "This" in second.open("find-animal", 0, "").look
    assert second._java.pid != pid
    second.close()
