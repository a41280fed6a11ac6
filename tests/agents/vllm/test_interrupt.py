"""Servers that do not end their responses when new weights come: how the others fare, and what is said of them."""

from __future__ import annotations

import threading

import pytest

from rlsd.agents.daemon import daemon_future
from rlsd.agents.vllm.client import ABORT, VLLMServer
from rlsd.agents.vllm.errors import ServerReply
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.agents.vllm.interrupt import Interruption
from rlsd.agents.vllm.sampler import VLLMSampler
from tests.agents.vllm.test_pieces import SLOW_S, decoded, in_background, until
from tests.support.vllm_servers import Fake, play, sampler_of, small


def drained_twice(server: FakeVLLM, sampler: VLLMSampler) -> None:
    """Two updates, each of which waits for the response that is under way: it is of one version."""
    server.wrong.token_delay_s = SLOW_S
    for version in (1, 2):
        playing = in_background(sampler, 1, new=12)
        decoded(server, 2)
        sampler.refresh(version)
        (result,) = playing.result(60)
        assert (result.policy_version, result.versions) == (version - 1, ())


@pytest.mark.parametrize("first", [True, False])
def test_a_server_that_hangs_does_not_hold_up_the_interruption_of_another(fake: Fake, first: bool) -> None:
    running, hang = [fake(), fake()], threading.Event()
    hung, other = running if first else reversed(running)
    sampler = sampler_of(small(), *(s.url for s in running), interrupt=True)
    sampler.eos_ids = []
    sampler.refresh(0)
    hung.wrong.hang = hang
    for server in running:
        server.wrong.token_delay_s = SLOW_S
    playing = in_background(sampler, 2, new=150)
    for server in running:
        decoded(server, 2)
    refreshing = daemon_future(lambda: sampler.refresh(1), "refresh")
    until(lambda: other.interrupted == 1 and hung.hung == 1)
    begun = other.interruptions
    until(lambda: other.interruptions > begun)
    assert (hung.hung, hung.interruptions) == (1, 0), "one is asked again while the other hangs, which is not"
    assert not refreshing.done(), "its response is under way"
    hang.set()
    refreshing.result(60)
    assert hung.interrupted == 1
    for server in running:
        server.wrong.token_delay_s = 0.0
    assert [[version for version, _ in r.versions] for r in playing.result(60)] == [[0, 1], [0, 1]]


def test_a_server_without_the_route_is_drained_and_named_once(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    policy, server = small(), fake()
    server.wrong.lacks = (ABORT,)
    sampler = sampler_of(policy, server.url, interrupt=True)
    sampler.refresh(0)
    drained_twice(server, sampler)
    assert [r.message for r in caplog.records] == [
        f"{server.url} has no route {ABORT}, so updates wait for its responses: start vLLM 0.32 or newer with "
        "VLLM_SERVER_DEV_MODE=1"
    ]


def test_a_server_that_answers_with_errors_is_drained_and_named_once(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    server = fake()
    server.wrong.refuse = 1_000_000
    sampler = sampler_of(small(), server.url, interrupt=True)
    sampler.eos_ids = []
    sampler.refresh(0)
    drained_twice(server, sampler)
    assert [r.getMessage() for r in caplog.records] == [
        f"{server.url} was asked to end its responses and did not ({server.url}{ABORT} answered 500: "
        '{"error": {"message": "engine is busy"}}), so updates wait until they end'
    ]
    server.wrong.refuse = 1
    playing = in_background(sampler, 1)
    decoded(server, 2)
    sampler.refresh(3)
    (result,) = playing.result(60)
    assert [version for version, _ in result.versions] == [2, 3], "it is asked again after an error"


def test_a_server_that_does_not_answer_in_time_is_named_once(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url, interrupt=True)
    sampler.refresh(0)
    server.wrong.token_delay_s, server.wrong.hang = SLOW_S, threading.Event()
    sampler.weights.servers[0]._quick_s = 0.05
    playing = in_background(sampler, 1, new=30)
    decoded(server, 2)
    sampler.refresh(1)
    server.wrong.hang.set()
    (result,) = playing.result(60)
    assert (result.policy_version, result.versions) == (0, ())
    (record,) = caplog.records
    assert f"({server.url}{ABORT}: no complete answer within 0.05 s), so updates wait" in record.getMessage()


def test_new_weights_are_not_checked_while_a_server_may_still_end_its_requests(fake: Fake) -> None:
    """The check would be ended with them."""
    server, hang, waiting, early = fake(), threading.Event(), threading.Event(), []
    sampler = sampler_of(small(), server.url, interrupt=True)
    sampler.refresh(0)
    carrier, interruption = sampler.weights.carrier, sampler.weights._interruption
    load, settle = carrier.load, interruption.settle

    def watched_load(server: VLLMServer, version: int) -> None:
        early.append(not hang.is_set())
        load(server, version)

    def watched_settle(server: VLLMServer) -> None:
        waiting.set()
        settle(server)

    carrier.load, interruption.settle = watched_load, watched_settle
    server.wrong.token_delay_s, server.wrong.hang = SLOW_S, hang
    playing = in_background(sampler, 1, new=8)
    decoded(server, 2)
    refreshing = daemon_future(lambda: sampler.refresh(1), "refresh")
    assert playing.result(60)[0].policy_version == 0
    assert server.hung == 1
    assert waiting.wait(60)
    hang.set()
    refreshing.result(60)
    assert early == [False]
    server.wrong.token_delay_s = 0.0
    assert [r.policy_version for (r,) in play(sampler, 1, turns=1)] == [1]


def test_a_server_that_refuses_is_not_asked_until_its_responses_end(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(VLLMServer):
        def abort(self) -> bool:
            raise ServerReply(f"{self.url}{ABORT} answered 401: no", status=401)

    interruption = Interruption([Refusing("http://127.0.0.1:1")])
    assert [interruption.ask(), interruption.ask()] == [False, False]
    assert len(caplog.records) == 1
    assert "answered 401: no" in caplog.text
