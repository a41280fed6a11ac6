"""Environments that fail, hang or cannot be opened: an episode is lost, never the rollout."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.scripted import ExpertAgent
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError
from rlsd.harness.evals.evaluate import evaluate
from rlsd.harness.rollout.rollout import Rollout, RolloutError, RolloutSettings
from rlsd.harness.rollout.trajectory import StopReason, Trajectory
from rlsd.harness.scoring.tables import episode_metrics, token_batch
from tests.support.plain_worlds import Faulty, FaultyThreaded, Plain
from tests.support.rollouts import WALK, play


@pytest.mark.parametrize(
    "where, boundary, turns",
    [
        ("reset", "env.reset", 0),
        ("step 1", "env.step", 0),
        ("step 3", "env.step", 2),
        ("hindsight", "env.hindsight", 0),
    ],
)
def test_failing_environment_is_data_and_its_siblings_go_on(where: str, boundary: str, turns: int) -> None:
    left = {"t1": 2}
    groups = play(lambda: Faulty(where, left), slots=1, retries=0)
    assert [len(g.trajectories) for g in groups] == [2, 0, 2, 2]
    assert [len(g.failed) for g in groups] == [0, 2, 0, 0]
    for failed in groups[1].failed:
        assert failed.stop is StopReason.ERROR
        assert failed.error is not None
        assert failed.error.boundary == boundary
        assert failed.error.message.startswith("OSError: broken in")
        assert not failed.success
        assert len(failed.turns) == turns


def test_failure_is_tried_again() -> None:
    left = {"t1": 1}
    seen: list[Trajectory] = []
    rollout = Rollout(
        lambda: Faulty("step 2", left), WALK, RolloutSettings(slots=2, retries=1), on_episode=lambda t: seen.append(t)
    )
    groups = rollout.groups(Plain().tasks(), 2, stream="train", iteration=0)
    assert left == {"t1": 0}
    assert all(len(g.trajectories) == 2 and not g.failed for g in groups)
    attempts = sorted(t.key.attempt for t in groups[1].trajectories)
    assert attempts == [0, 1], "the failed episode was played again, under a key of its own"
    assert all(t.success and len(t.turns) == 3 for g in groups for t in g.trajectories)
    assert len(seen) == 8, "the failed attempt is not an episode"


def test_errored_sibling_leaves_its_group_instead_of_counting_as_zero() -> None:
    left = {"t0": 2}
    groups = play(lambda: Faulty("step 3", left), siblings=3, slots=1, retries=1)
    assert [len(g.trajectories) for g in groups] == [2, 3, 3, 3]
    assert len(groups[0].failed) == 1
    batch = token_batch(groups)
    assert batch.returns.tolist() == [1.0] * 11
    metrics = episode_metrics(groups)
    assert metrics["episodes"] == 11
    assert metrics["failed_episodes"] == 1
    assert metrics["success"] == 1.0


def test_broken_environment_is_replaced_by_a_new_one() -> None:
    left, made = {"t0": 1}, []

    def make() -> TextEnv:
        made.append(Faulty("step 2", left))
        return made[-1]

    play(make, siblings=1, slots=1, retries=1)
    assert len(made) == 2


def test_every_episode_failing_is_an_error_with_the_first_reason() -> None:
    left = {f"t{i}": 99 for i in range(4)}
    with pytest.raises(RolloutError, match=r"all 8 episodes failed .*env\.reset: OSError: broken in reset"):
        play(lambda: Faulty("reset", left))


def test_failed_episodes_count_as_lost_in_an_evaluation() -> None:
    left = {"t1": 9}
    result = evaluate(lambda: Faulty("reset", left), WALK, stream="test", settings=RolloutSettings(slots=2, retries=0))
    assert result.success == 0.75
    assert result.summary()["errors"] == 1
    assert result.summary()["episodes"] == 4
    assert result.wins() == {"t0": True, "t1": False, "t2": True, "t3": True}


def test_environment_that_cannot_be_opened() -> None:
    def make() -> TextEnv:
        raise OSError("no server")

    with pytest.raises(RolloutError, match=r"env\.reset: OSError: no server"):
        play(make)


def test_hanging_environment_is_given_up() -> None:
    left, release = {"t1": 1}, threading.Event()
    started = time.perf_counter()
    groups = play(lambda: FaultyThreaded("step 2", left, hang=release), slots=1, retries=0, step_timeout_s=0.2)
    assert time.perf_counter() - started < 20
    release.set()
    assert [len(g.trajectories) for g in groups] == [2, 1, 2, 2]
    (failed,) = groups[1].failed
    assert failed.error is not None
    assert failed.error.boundary == "env.step"
    assert failed.error.message == "no answer within 0.2 s"


def test_an_environment_that_makes_its_tasks_has_longer_for_reset_alone() -> None:
    class Making(FaultyThreaded):
        reset_timeout_s = 30.0

        def reset(self, **given: Any) -> tuple[str, dict[str, Any]]:
            time.sleep(1.3)
            return super().reset(**given)

    left, release = {"t1": 1}, threading.Event()
    groups = play(lambda: Making("step 2", left, hang=release), siblings=1, slots=4, retries=0, step_timeout_s=1.0)
    release.set()
    assert [len(g.trajectories) for g in groups] == [1, 0, 1, 1]
    (failed,) = groups[1].failed
    assert str(failed.error) == "env.step: no answer within 1 s"


def test_threaded_environment_gives_the_same_episodes() -> None:
    plain = play(lambda: Faulty("", {}), slots=3)
    threaded = play(lambda: FaultyThreaded("", {}), slots=3, step_timeout_s=30.0)
    assert [[t.to_json() for t in g.trajectories] for g in threaded] == [
        [t.to_json() for t in g.trajectories] for g in plain
    ]


def test_timeout_raised_by_the_environment_itself_is_told_apart() -> None:
    class Slow(Plain):
        blocking = True

        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            raise TimeoutError("the server did not answer")

    with pytest.raises(RolloutError, match=r"env\.step: TimeoutError: the server did not answer"):
        play(Slow, retries=0, step_timeout_s=30.0)


def test_interpreter_exits_while_an_environment_hangs() -> None:
    code = (
        "import threading\n"
        "from tests.support.plain_worlds import FaultyThreaded, Plain\n"
        "from rlsd.agents.scripted import ScriptedAgent\n"
        "from rlsd.harness.rollout.rollout import Rollout, RolloutSettings\n"
        "make = lambda: FaultyThreaded('step 2', {'t1': 1}, hang=threading.Event())\n"
        "rollout = Rollout(make, ScriptedAgent(['walk']), RolloutSettings(step_timeout_s=0.2, retries=0))\n"
        "groups = rollout.groups(Plain().tasks(), 1, stream='train', iteration=0)\n"
        "rollout.close()\n"
        "print(sum(len(g.failed) for g in groups))\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def test_fault_of_the_agent_stops_the_run_with_its_own_error() -> None:
    """Not a group of errors: one fault, told once."""
    with pytest.raises(EnvError, match="Plain has no 'oracle' expert"):
        play(Plain, ExpertAgent("oracle"), slots=4)


class Stuck(FaultyThreaded):
    """Hangs while it is opened or closed, as often as `left` says."""

    def __init__(self, where: str, left: dict[str, int], release: threading.Event) -> None:
        super().__init__("", {})
        self.stuck_at, self.times, self.release = where, left, release
        self.abandoned = False
        self._wait("open")

    def _wait(self, where: str) -> None:
        if where == self.stuck_at and self.times.get(where, 0) > 0:
            self.times[where] -= 1
            self.release.wait(600)

    def close(self) -> None:
        self._wait("close")

    def abandon(self) -> None:
        self.abandoned = True


def test_environment_that_hangs_while_it_is_opened_is_given_up() -> None:
    left, release = {"open": 1}, threading.Event()
    groups = play(lambda: Stuck("open", left, release), slots=2, retries=0, step_timeout_s=0.3)
    release.set()
    failed = [t for g in groups for t in g.failed]
    assert [str(f.error and f.error.message) for f in failed] == ["no answer within 0.3 s"]
    assert [f.error and f.error.boundary for f in failed] == ["env.reset"]
    assert sum(len(g.trajectories) for g in groups) == 7


def test_environment_that_hangs_while_it_is_closed_holds_nobody_up() -> None:
    left, release, made = {"close": 2}, threading.Event(), []

    def make() -> TextEnv:
        made.append(Stuck("close", left, release))
        return made[-1]

    rollout = Rollout(make, WALK, RolloutSettings(slots=3, step_timeout_s=0.3))
    rollout.groups(Plain().tasks(), 1, stream="train", iteration=0)
    rollout.close()  # returns
    assert sum(env.abandoned for env in made) == 2
    release.set()


def test_cheap_environments_are_opened_in_this_thread() -> None:
    """All but the first, of which nobody knows yet; so thousands of them cost no threads."""
    threads: list[int] = []

    def make() -> TextEnv:
        threads.append(threading.get_ident())
        return Plain()

    play(make, slots=4)
    assert threads[0] != threading.get_ident()
    assert set(threads[1:]) == {threading.get_ident()}
