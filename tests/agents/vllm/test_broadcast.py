"""Weights as tensors over a process group: formed, lost, formed again; one sender among several processes."""

from __future__ import annotations

import socket
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from rlsd.agents.vllm.broadcast import Groups, free_port
from rlsd.agents.vllm.errors import ServerMismatch, ServerUnreachable
from rlsd.agents.vllm.process_group import GlooGroup
from tests.support.vllm_servers import Fake, Pair, logps, play, sampler_of, small, stir


def test_one_group_serves_all_versions(fake: Fake) -> None:
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, kind="gloo")
    for version in range(3):
        sampler.refresh(version)
        stir(policy)
    assert server.receiver.meetings == 1
    sampler.close()


def test_half_precision_arrives_bit_for_bit(folder: Path, fake: Fake) -> None:
    policy, server = small(), fake()
    policy.model.to(torch.bfloat16)
    server.policy.model.to(torch.bfloat16)
    sampler = sampler_of(policy, server.url, kind="gloo")
    stir(policy)
    sampler.refresh(0)
    held = server.policy.model.state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in policy.model.state_dict().items())


def test_several_servers_have_a_group_each(fake: Fake) -> None:
    policy, servers = small(), [fake() for _ in range(3)]
    sampler = sampler_of(policy, *(s.url for s in servers), kind="gloo")
    stir(policy)
    sampler.refresh(0)
    servers[1].stop()
    servers[1] = fake(port=servers[1].port)
    stir(policy)
    sampler.refresh(1)
    assert [s.receiver.meetings for s in servers] == [1, 1, 1]
    for result in (r for episode in play(sampler, 3) for r in episode):
        assert list(result.logps) == pytest.approx(logps(policy, result), abs=1e-4)


def test_a_transfer_that_breaks_off_is_made_again(fake: Fake) -> None:
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, kind="gloo", reconnect_s=0.2)
    sampler.refresh(0)
    stir(policy)
    server.wrong.broken_transfers = 1
    sampler.refresh(1)
    assert server.receiver.meetings == 2
    server.wrong.broken_transfers = 99
    with pytest.raises(ServerUnreachable, match=rf"{server.url}/update_weights answered 500.*connection lost"):
        sampler.refresh(2)


def test_an_update_that_another_learner_left_open_is_closed(fake: Fake) -> None:
    policy, server = small(), fake()
    server.receiver.start()
    stir(policy)
    sampler = sampler_of(policy, server.url, kind="gloo")
    sampler.refresh(0)
    assert play(sampler, 1)[0][0].policy_version == 0


def test_a_server_without_transfer_is_told_how_to_start(fake: Fake) -> None:
    server = fake()
    server.wrong.transfer = None
    with pytest.raises(ServerMismatch, match=r"not configured.*rlsd serve policy FOLDER --transfer gloo.*rlsd_gloo"):
        sampler_of(small(), server.url, kind="gloo").refresh(0)


def test_an_address_that_is_not_this_machines_is_named(fake: Fake) -> None:
    sampler = sampler_of(small(), fake().url, kind="gloo")
    sampler.weights.carrier = Groups(sampler.weights.source, kind="gloo", address="192.0.2.1")
    with pytest.raises(ServerMismatch, match=r"cannot listen at 192\.0\.2\.1.*sampler\.weights_address"):
        sampler.refresh(0)


def test_a_learner_listens_where_its_servers_are_alone() -> None:
    """Servers of this machine are met on the loopback interface, which no other machine reaches."""
    host, port = "127.0.0.1", free_port("127.0.0.1")
    groups: list[GlooGroup] = []

    def join(rank: int) -> None:
        groups.append(GlooGroup(host, port, rank=rank, world=2, timeout_s=20))

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(groups) == 2
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize("device, told", [("cpu", "the learner is on cpu"), ("cuda", "pip install vllm there")])
def test_a_learner_that_cannot_send_by_nccl_is_refused(fake: Fake, device: str, told: str) -> None:
    if device == "cuda" and find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    sampler = sampler_of(small(), fake().url)
    sampler.weights.carrier = Groups(sampler.weights.source, kind="nccl", device=torch.device(device))
    with pytest.raises(ServerMismatch, match=rf"{told}.*use gloo or folder"):
        sampler.connect()


def test_a_restarted_server_gets_the_version_that_was_sent_though_the_weights_moved_on(fake: Fake) -> None:
    policy, server = small(), fake()
    stir(policy)
    sampler = sampler_of(policy, server.url, kind="gloo")
    sampler.weights.carrier = Groups(sampler.weights.source, kind="gloo", keep=True, timeout_s=20)
    sampler.refresh(4)
    sent = small()
    stir(sent)
    server.stop()
    fake(port=server.port)
    stir(policy, 0.5)  # the update, while the next rollout is under way
    for result in (r for episode in play(sampler, 2) for r in episode):
        assert result.policy_version == 4
        assert list(result.logps) == pytest.approx(logps(sent, result), abs=1e-4)


def test_the_main_process_serves_a_restart_that_another_one_found(fake: Fake) -> None:
    """The main one is busy; its watch sends the weights that the other's requests wait for."""
    server, barrier, held = fake(), threading.Barrier(2), {}
    policies = [small(), small()]
    samplers = [sampler_of(policy, server.url, kind="gloo") for policy in policies]
    for main, sampler, policy in zip((True, False), samplers, policies, strict=True):
        stir(policy)
        sampler.weights.peers = Pair(main, barrier, held)
        sampler.weights.carrier = Groups(sampler.weights.source, kind="gloo", keep=True, timeout_s=20)
    threads = [threading.Thread(target=sampler.refresh, args=(0,)) for sampler in samplers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    server.stop()
    revived = fake(port=server.port)
    for result in (r for episode in play(samplers[1], 2) for r in episode):
        assert list(result.logps) == pytest.approx(logps(policies[1], result), abs=1e-4)
    assert revived.receiver.meetings == 1
    for sampler in samplers:
        sampler.close()
