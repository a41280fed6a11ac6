"""Requests in one thread, changes of weights in another."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rlsd.agents.daemon import daemon_future
from rlsd.agents.vllm.gate import Gate


def test_a_change_waits_for_requests_under_way_and_later_ones_wait_for_it() -> None:
    gate, told = Gate(), list[str]()
    begun, finish, changing = threading.Event(), threading.Event(), threading.Event()

    async def request(name: str) -> None:
        async with gate.passing():
            told.append(f"{name} begins")
            begun.set()
            while name == "first" and not finish.is_set():
                await asyncio.sleep(0.001)
            told.append(f"{name} ends")

    async def both() -> None:
        first = asyncio.create_task(request("first"))
        while not changing.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(request("second"))
        await asyncio.sleep(0.02)
        finish.set()
        await asyncio.gather(first, second)

    played = daemon_future(lambda: asyncio.run(both()), "requests")
    begun.wait(5)
    threading.Timer(0.02, changing.set).start()
    with gate.closed():
        told.append("change")
    played.result(5)
    assert told == ["first begins", "first ends", "change", "second begins", "second ends"]


@pytest.mark.parametrize("able", [True, False])
def test_requests_are_hurried_until_they_end_or_cannot_be(able: bool) -> None:
    gate, hurried = Gate(), list[int]()
    begun, finish = threading.Event(), threading.Event()

    async def request() -> None:
        async with gate.passing():
            begun.set()
            while not finish.is_set():
                await asyncio.sleep(0.001)

    def hurry() -> bool:
        hurried.append(1)
        if len(hurried) == 3 or not able:
            threading.Timer(0.0 if able else 0.25, finish.set).start()
        return able

    played = daemon_future(lambda: asyncio.run(request()), "requests")
    begun.wait(5)
    with gate.closed(hurry):
        assert finish.is_set()
    played.result(5)
    times = len(hurried)
    assert times >= 3 if able else times == 1
    with gate.closed(hurry):  # nobody is under way
        assert len(hurried) == times


def test_a_failed_change_opens_the_gate() -> None:
    gate = Gate()
    with pytest.raises(OSError, match="no disk"), gate.closed():
        raise OSError("no disk")

    async def request() -> str:
        async with gate.passing():
            return "done"

    assert asyncio.run(request()) == "done"


def test_a_request_that_fails_or_is_cancelled_holds_no_change_up() -> None:
    gate = Gate()

    async def fails() -> None:
        async with gate.passing():
            raise OSError("no answer")

    async def cancelled() -> None:
        async with gate.passing():
            await asyncio.sleep(60)

    async def all_of_them() -> None:
        task = asyncio.create_task(cancelled())
        await asyncio.gather(fails(), return_exceptions=True)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(all_of_them())
    with gate.closed():
        pass


def test_a_loop_that_ended_while_it_waited_is_forgotten() -> None:
    gate, waiting = Gate(), threading.Event()

    async def request() -> None:
        waiting.set()
        async with gate.passing():
            raise AssertionError("the gate is closed")

    with gate.closed():
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(request(), 0.01))
        assert waiting.is_set()
    with gate.closed():
        pass
