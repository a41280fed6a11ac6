"""Samplers, policies and episodes for tests against vLLM's stand-in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from rlsd.agents.hf.models import Policy, tiny_policy
from rlsd.agents.types import EpisodeKey, SampleRequest, SampleResult
from rlsd.agents.vllm.broadcast import Groups
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.agents.vllm.files import Adapters, Carrier, Folders
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.agents.vllm.source import PolicyWeights
from rlsd.agents.vllm.weight_sync import WeightSync
from tests.support.tokenizers import FAMILIES

PROMPT = tuple(range(5, 25))
Fake = Callable[..., FakeVLLM]


def small(seed: int = 3, family: str = "compact") -> Policy:
    return tiny_policy(FAMILIES[family](), layers=1, dim=32, heads=2, context=256, seed=seed)


def carrier_of(kind: str, source: PolicyWeights) -> Carrier:
    if kind == "gloo":
        return Groups(source, kind="gloo", timeout_s=20)
    return (Adapters if kind == "lora" else Folders)(source, None)


def sampler_of(policy: Policy, *urls: str, kind: str = "folder", **settings: Any) -> VLLMSampler:
    source = PolicyWeights(policy)
    sync = WeightSync(
        [VLLMServer(url, timeout_s=30) for url in urls],
        source,
        policy.tokenizer,
        carrier=carrier_of(kind, source),
        context=256,
    )
    settings = {"reconnect_s": 20.0, **settings}
    return VLLMSampler(sync, eos_ids=policy.eos_ids, seed=7, context=256, **settings)


def key(sibling: int, group: int = 0) -> EpisodeKey:
    return EpisodeKey("train", 0, group, sibling)


def play(sampler: VLLMSampler, count: int, *, turns: int = 2, new: int = 12) -> list[list[SampleResult]]:
    """`count` episodes at once, each of some turns."""

    async def episode(sibling: int) -> list[SampleResult]:
        sampler.join(key(sibling))
        try:
            return [
                await sampler.sample(SampleRequest(key=key(sibling), turn=turn, prompt_ids=PROMPT, max_new_tokens=new))
                for turn in range(turns)
            ]
        finally:
            sampler.leave(key(sibling))

    async def run() -> list[list[SampleResult]]:
        return await asyncio.gather(*(episode(i) for i in range(count)))

    return asyncio.run(run())


def logps(policy: Policy, result: SampleResult, temperature: float = 1.0) -> list[float]:
    """What the policy itself gives the sampled ids."""
    with torch.inference_mode():
        logits = policy.model(input_ids=torch.tensor([[*PROMPT, *result.token_ids]])).logits[0, len(PROMPT) - 1 : -1]
    logp = torch.log_softmax(logits / temperature, dim=-1)
    return logp.gather(-1, torch.tensor(result.token_ids)[:, None]).squeeze(-1).tolist()


def stir(policy: Policy, size: float = 0.02) -> None:
    """An update."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight += size * torch.randn_like(weight)


def with_lora(policy: Policy) -> Policy:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    return replace(policy, model=get_peft_model(policy.model, lora))


class Pair:
    """Two threads as two processes of a run."""

    def __init__(self, main: bool, barrier: threading.Barrier, held: dict[bool, Any]) -> None:
        self.main, self._barrier, self._held = main, barrier, held

    def gather(self, value: Any) -> list[Any]:
        self._held[self.main] = value
        self._barrier.wait(60)
        found = [self._held[True], self._held[False]]
        self._barrier.wait(60)
        return found
