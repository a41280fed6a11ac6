"""Batches of episodes in the background: they share the slots, and one straggler holds up its own batch alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rlsd.agents.types import Action, EpisodeKey, History
from rlsd.envs.core import TextEnv
from rlsd.harness.rollout.batch import Batch
from rlsd.harness.rollout.flight import Flight
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.rollout.trajectory import Trajectory
from tests.support.plain_worlds import Faulty, Plain
from tests.support.rollouts import WALK, keys

TASKS = list(Plain().tasks())


class Held(Plain):
    """A threaded world whose task t0 waits for `go` at its first step."""

    blocking = True
    opened = 0

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        Held.opened += 1
        self.go = go

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.task.task_id == "t0":
            self.go.wait(20)
        return super().step(action)


@contextmanager
def flying(make_env: Callable[[], TextEnv] = Plain, agent: Any = WALK, **settings: Any) -> Iterator[Flight]:
    on_episode = settings.pop("on_episode", None)
    rollout = Rollout(make_env, agent, RolloutSettings(**settings), on_episode=on_episode)
    flight = Flight(rollout)
    try:
        yield flight
    finally:
        flight.close()
        rollout.close()


def begun(flight: Flight, iteration: int, tasks: list[Any] = TASKS, *, first: bool = False) -> Batch:
    batch = flight.rollout.batch(tasks, 2, stream="train", iteration=iteration)
    flight.start(batch, first=first)
    return batch


def without_times(batch: Batch) -> list[Any]:
    return [t.to_json() for g in batch.groups() for t in g.trajectories]


def test_the_episodes_are_those_of_a_rollout_in_the_foreground() -> None:
    with flying() as flight:
        batches = [begun(flight, i) for i in range(3)]
        for batch in batches:
            flight.wait(batch)
        assert flight.episodes == 0
        for i, batch in enumerate(batches):
            alone = flight.rollout.batch(TASKS, 2, stream="train", iteration=i)
            Rollout(Plain, WALK, RolloutSettings()).play(alone)
            assert without_times(batch) == without_times(alone)
            assert batch.player.decoded_tokens == alone.player.decoded_tokens


def test_a_straggler_holds_up_its_own_batch_alone() -> None:
    go = threading.Event()
    with flying(lambda: Held(go), slots=3, step_timeout_s=30.0) as flight:
        stuck, free = begun(flight, 0, [TASKS[0], TASKS[1]]), begun(flight, 1, TASKS[1:])
        flight.wait(free)
        assert not stuck.finished.done()
        assert flight.episodes == 2, "both of t0, which hold two of the three slots"
        go.set()
        flight.wait(stuck)
    assert keys(stuck.groups()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert stuck.usage.wall_s > free.usage.wall_s > 0
    assert stuck.usage.slots == 3
    assert 0 <= free.usage.idle_share <= 1


def test_no_more_environments_open_than_play_at_once() -> None:
    go = threading.Event()
    go.set()
    before = Held.opened
    with flying(lambda: Held(go), slots=64, step_timeout_s=30.0) as flight:
        for i in range(6):
            flight.wait(begun(flight, i, TASKS[:1]))
    assert Held.opened - before == 2, "two episodes a batch, one batch after the other"


def test_a_batch_may_go_before_those_that_wait() -> None:
    go, order = threading.Event(), list[int]()
    note = lambda t: order.append(t.key.iteration)  # noqa: E731
    with flying(lambda: Held(go), slots=1, step_timeout_s=30.0, on_episode=note) as flight:
        held, waits = begun(flight, 0, TASKS[:1]), begun(flight, 1, TASKS[1:2])
        ahead = begun(flight, 2, TASKS[1:2], first=True)
        go.set()
        for batch in (held, waits, ahead):
            flight.wait(batch)
    assert order[-2:] == [1, 1], "those of iteration 2 were played before"


def test_failed_episodes_are_played_again() -> None:
    left = {"t1": 3}
    with flying(lambda: Faulty("step 2", left), slots=2, retries=1) as flight:
        batch = begun(flight, 0)
        flight.wait(batch)
    played = [t for g in batch.groups() for t in g.trajectories]
    assert {t.key.attempt for t in played if t.task.task_id == "t1"} == {1}
    assert sum(len(g.failed) for g in batch.groups()) == 1, "the third failure is one too many"


class Broken:
    """An agent whose server is gone in iteration 1."""

    def begin(self, key: EpisodeKey) -> None:
        pass

    def end(self, key: EpisodeKey) -> None:
        pass

    async def act(self, history: History, key: EpisodeKey) -> Action:
        if key.iteration == 1:
            raise OSError("no server")
        return Action(text="walk")


def test_an_error_is_told_where_the_batch_is_waited_for_and_ends_the_background() -> None:
    with flying(agent=Broken()) as flight:
        flight.wait(begun(flight, 0))
        batch = begun(flight, 1)
        assert flight.settle(batch) is not batch.finished
        with pytest.raises(OSError, match="no server"):
            flight.wait(batch)
        with pytest.raises(OSError, match="no server"):
            begun(flight, 2)


def test_closing_stops_what_is_under_way() -> None:
    ended: list[Trajectory] = []
    started = time.perf_counter()
    with flying(lambda: Held(threading.Event()), slots=2, step_timeout_s=0.5, on_episode=ended.append) as flight:
        begun(flight, 0, TASKS[:1])
        time.sleep(0.05)
    assert time.perf_counter() - started < 10
    assert ended == []


def test_a_batch_without_episodes_is_finished_at_once() -> None:
    with flying() as flight:
        empty = begun(flight, 0, [])
        flight.wait(empty)
        assert empty.groups() == []
