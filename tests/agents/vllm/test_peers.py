"""Several learner processes and one server: all go on or none does, and whoever sees a restart first repairs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rlsd.agents.vllm.errors import SamplerError, ServerUnreachable
from rlsd.agents.vllm.sampler import VLLMSampler
from tests.support.vllm_servers import Fake, Pair, sampler_of, small, with_lora


def paired(*urls: str, kind: str = "folder") -> list[VLLMSampler]:
    """Samplers of two processes, the main one's first."""
    barrier, held = threading.Barrier(2), dict[bool, Any]()
    samplers = [sampler_of(with_lora(small()) if kind == "lora" else small(), url, kind=kind) for url in urls]
    for main, sampler in zip((True, False), samplers, strict=True):
        sampler.weights.peers = Pair(main, barrier, held)
    return samplers


def side_by_side(samplers: list[VLLMSampler], work: Callable[[VLLMSampler], None]) -> list[SamplerError | None]:
    """What `work` raised for each of them, in threads at the same time."""
    told: list[SamplerError | None] = [None, None]

    def run(rank: int) -> None:
        try:
            work(samplers[rank])
        except SamplerError as error:
            told[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return told


def test_a_server_that_one_process_cannot_reach_fails_the_push_of_all(fake: Fake) -> None:
    """Else the others would go on, and the next thing they tell each other would be taken for something else."""
    server, gone = fake(), fake()
    gone.stop()
    samplers = paired(server.url, gone.url)
    told = side_by_side(samplers, lambda sampler: sampler.weights.push(1))
    assert [type(error) for error in told] == [ServerUnreachable, ServerUnreachable]
    assert str(told[0]) == str(told[1])
    assert server.weight_version == "rlsd-1", "the main process had sent its weights"
    for sampler in samplers:
        sampler.close()


def test_two_processes_find_a_restarted_server_without_their_adapter(fake: Fake) -> None:
    """Both load it under the one name of its version; the server refuses the second, which is no harm."""
    server = fake()
    samplers = paired(server.url, server.url, kind="lora")
    assert side_by_side(samplers, lambda sampler: sampler.weights.push(1)) == [None, None]
    for _ in range(5):
        server.stop()
        server = fake(port=server.port)
        assert side_by_side(samplers, lambda s: s.weights.ensure(s.weights.servers[0])) == [None, None]
        assert list(server.adapters) == ["rlsd-policy-v1"]
        assert [s.weights.loaded_version(s.weights.servers[0]) for s in samplers] == [1, 1]
    for sampler in samplers:
        sampler.close()
