"""A rollout that ends early, at whatever moment, leaves no connection to a sampling server open."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

from rlsd.agents.hf.models import save_policy, tiny_policy
from rlsd.agents.types import EpisodeKey, SampleRequest
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.agents.vllm.files import Folders
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.agents.vllm.source import PolicyWeights
from rlsd.agents.vllm.weight_sync import WeightSync
from tests.support.tokenizers import FAMILIES

MOMENTS = range(9, 15)
"""Turns of the event loop after which the rollout ends: while the connection is made, and while the answer is awaited.
(A request cancelled a second time while its connection is made forgets the socket; closing the client finds it.)"""


def test_no_connection_outlives_the_rollout(tmp_path: Path) -> None:
    policy = tiny_policy(FAMILIES["compact"](), layers=1, dim=32, heads=2, context=256, seed=3)
    save_policy(policy, tmp_path)
    fake = FakeVLLM(tmp_path)
    source = PolicyWeights(policy)
    sync = WeightSync(
        [VLLMServer(fake.url)], source, policy.tokenizer, carrier=Folders(source, None), context=policy.context
    )
    sampler = VLLMSampler(sync, eos_ids=policy.eos_ids, seed=7, context=256)
    asked = SampleRequest(key=EpisodeKey("train", 0, 0, 0), turn=0, prompt_ids=tuple(range(5, 25)), max_new_tokens=1)

    async def run(turns: int) -> None:
        await sampler.sample(asked)  # the server has shown itself ready: the next request begins at once
        episode = asyncio.ensure_future(sampler.sample(asked))
        for _ in range(turns):
            await asyncio.sleep(0)
        episode.cancel()

    try:
        sampler.refresh(0)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ResourceWarning)
            for turns in MOMENTS:
                asyncio.run(run(turns))
                gc.collect()
        assert [str(warning.message) for warning in told] == []
    finally:
        sampler.close()
        fake.stop()
