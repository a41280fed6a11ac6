"""Worker processes that stop, hang, die or write nonsense: the run goes on, and no neighbour pays for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvLost
from rlsd.envs.remote.processes import WorkerPool
from rlsd.envs.remote.wire import RemoteEnv
from rlsd.harness.rollout.trajectory import Group
from tests.support.rollouts import play
from tests.support.trouble import HERE

ROOT = Path(__file__).parents[3]


def ended(pid: int) -> bool:
    """The process is gone within a while."""
    for _ in range(400):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


def until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it never came true")


def episodes(groups: list[Group]) -> list[list[int]]:
    """Attempts of the good episodes, by group."""
    return [sorted(t.key.attempt for t in g.trajectories) for g in groups]


def test_a_worker_that_was_stopped_is_replaced() -> None:
    with WorkerPool(1) as pool:
        env = pool.open(HERE)
        tasks = list(env.tasks())
        stopped = pool._workers[0]
        assert stopped is not None
        os.kill(stopped.process.pid, signal.SIGSTOP)
        groups = play(lambda: pool.open(HERE), tasks=tasks, slots=8, step_timeout_s=6.0)
        assert episodes(groups) == [[0, 0]] * 4
        assert ended(stopped.process.pid)


@pytest.mark.parametrize(
    "what, when, limit_s",
    [
        ("hang", "open", 6.0),
        ("stop", "step 2", 6.0),
        ("hold", "hindsight", 6.0),
        ("backtrack", "reset", 6.0),
        ("exit", "step 3", 60.0),
        ("garbage", "step 1", 60.0),
        ("json garbage", "hindsight", 60.0),
        ("half a line", "step 2", 60.0),
        ("close pipes", "step 2", 60.0),
        ("system exit", "open", 60.0),
        ("interrupt", "step 1", 60.0),
        ("read input", "reset", 60.0),
        ("orphan", "reset", 60.0),
    ],
)
def test_trouble_that_comes_once_loses_nothing(tmp_path: Path, what: str, when: str, limit_s: float) -> None:
    """Eight episodes in one worker process, one of which makes trouble once."""
    once = str(tmp_path / "once")
    with WorkerPool(1) as pool:
        pool.open(HERE)  # started: what follows is timed
        groups = play(lambda: pool.open(HERE, what=what, when=when, once=once), slots=8, step_timeout_s=limit_s)
    assert Path(once).exists(), "no trouble came"
    assert [len(made) for made in episodes(groups)] == [2] * 4
    assert all(t.success for g in groups for t in g.trajectories)


def test_a_worker_that_hangs_as_a_whole_takes_no_neighbour_along() -> None:
    """One environment keeps the interpreter to itself: the others are lost with the process, by no fault of theirs."""
    with WorkerPool(1) as pool:
        bad, idle, late = pool.open(HERE, what="hold", when="reset"), pool.open(HERE), pool.open(HERE)
        idle.reset(options={"task": "t0"})
        (worker,) = pool._all

        def told(env: TextEnv) -> list[EnvLost]:
            """What a reset in a thread raises, once it does."""
            out: list[EnvLost] = []

            def call() -> None:
                try:
                    env.reset(options={"task": "t1"})
                except EnvLost as lost:
                    out.append(lost)

            threads.append(threading.Thread(target=call))
            threads[-1].start()
            return out

        threads: list[threading.Thread] = []
        own = told(bad)
        until(lambda: any(call.begun for call in worker._pending.values()))
        other = told(late)
        until(lambda: worker.overdue)
        bad.abandon()
        for thread in threads:
            thread.join(60)
        assert [lost.own for lost in own] == [True]
        assert [lost.own for lost in other] == [False]
        assert isinstance(bad, RemoteEnv)
        assert bad.lost is not None
        assert bad.lost.own
        with pytest.raises(EnvLost) as lost:
            idle.step("walk")
        assert not lost.value.own
        assert ended(worker.process.pid)


def test_an_environment_that_always_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    with WorkerPool(1) as pool:
        groups = play(lambda: pool.open(HERE, what="kill", when="step 2"), slots=8, step_timeout_s=60.0)
    assert episodes(groups) == [[0, 0], [], [0, 0], [0, 0]]
    messages = {t.error.message for t in groups[1].failed if t.error is not None}
    assert messages == {"EnvLost: the worker process died (exit code -9) during 'step'"}


def test_the_calls_of_a_lost_worker_tell_whose_fault_it_was() -> None:
    with WorkerPool(1) as pool:
        bad, neighbour = pool.open(HERE, what="kill", when="reset"), pool.open(HERE)
        pid = pool._workers[0] and pool._workers[0].process.pid
        with pytest.raises(EnvLost) as own:
            bad.reset(options={"task": "t1"})
        with pytest.raises(EnvLost) as other:
            neighbour.reset()
        assert (own.value.own, other.value.own) == (True, False)
        assert own.value.reopen is not None
        assert other.value.reopen is None
        again = own.value.reopen()
        again.reset(options={"task": "t0"})
        fresh = pool.open(HERE)
        pids = [worker.process.pid for worker in pool._all if not worker.gone]
        assert len(pids) == 2, "one for what crashed, one for the others"
        assert pid not in pids
        again.close()
        fresh.close()
        assert [worker.alone for worker in pool._all if not worker.gone] == [False]


def test_the_parent_never_waits_for_a_worker_that_does_not_read() -> None:
    """More than a pipe takes, to a process that is stopped: closing and abandoning return all the same."""
    with WorkerPool(1) as pool:
        env, neighbour = pool.open(HERE), pool.open(HERE)
        (worker,) = pool._all
        os.kill(worker.process.pid, signal.SIGSTOP)

        def ask() -> None:
            with contextlib.suppress(EnvLost):
                env.step("x" * 50_000)

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
        for thread in asking:
            thread.start()
        until(lambda: worker.overdue)
        began = time.monotonic()
        env.close()
        env.abandon()
        neighbour.abandon()
        assert time.monotonic() - began < 30
        assert ended(worker.process.pid)
        for thread in asking:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a signal at the parent's death is Linux's")
@pytest.mark.parametrize("what", ["hold", "hang"])
def test_workers_end_with_a_process_that_is_killed(what: str) -> None:
    code = (
        "import threading, time\n"
        "from rlsd.envs.remote.processes import WorkerPool\n"
        "from tests.support.trouble import HERE\n"
        "pool, made = WorkerPool(1), []\n"
        "opener = threading.Thread(target=lambda: made.append(pool.open(HERE)))\n"
        "opener.start(); opener.join()  # a worker outlives the thread that asked for it\n"
        "print(pool._workers[0].process.pid, flush=True)\n"
        f"bad = pool.open(HERE, what={what!r}, when='reset', task='t0')\n"
        "print('opened', flush=True)\n"
        "bad.reset(options={'task': 't0'})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "opened\n", "the worker ended with the thread that asked for it"
        time.sleep(0.5)
        parent.kill()
    assert ended(pid)
