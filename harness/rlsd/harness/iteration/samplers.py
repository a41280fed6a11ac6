"""The sampler of a run: in this process, or vLLM servers that receive the learner's weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from rlsd.agents.chat import ChatFormat
from rlsd.agents.hf.models import DTYPES, Policy
from rlsd.agents.hf.sampler import HFSampler
from rlsd.agents.seeding import derive
from rlsd.agents.stopping import stop_check
from rlsd.agents.types import TrainingSampler
from rlsd.envs.hiding import remember
from rlsd.envs.redact import revealed
from rlsd.harness.config import AgentConfig, ConfigError, SamplerConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.learner.learner import Learner
from rlsd.harness.scoring.fit import check_sampler
from rlsd.harness.scoring.scorer import Scorer

if TYPE_CHECKING:
    from rlsd.agents.vllm.files import Carrier
    from rlsd.agents.vllm.source import WeightSource


def context_of(agent: AgentConfig, policy: Policy) -> int:
    return min(agent.context or policy.context, policy.context)


def make_sampler(
    policy: Policy,
    agent: AgentConfig,
    *,
    temperature: float,
    seed: int,
    dispatch: Literal["all", "eager"] = "all",
    top_p: float = 1.0,
    chat: ChatFormat | None = None,
    source: Any = None,
) -> HFSampler:
    """An in-process sampler; with `source` the policy is a copy that takes its weights from there.

    Args:
        top_p: below 1 for evaluations alone.
        chat: reads tokens, which an agent with stop strings needs.

    Raises:
        ConfigError: a model that the sampler's cache does not fit, such as one whose attention window is shorter than
            the context.
    """
    context = context_of(agent, policy)
    check_sampler(policy.model, context=context)
    return HFSampler(
        policy.model,
        eos_ids=policy.eos_ids,
        temperature=temperature,
        seed=derive(seed, "sampler"),
        context=context,
        dispatch=dispatch,
        top_p=top_p,
        stopped=None if chat is None else stop_check(chat, agent.stop),
        source=source,
    )


class ShardedWeights:
    """Weights that are sharded over a learner's processes: probed as shards, written from the main process's copy."""

    def __init__(self, learner: Learner, scorer: Scorer) -> None:
        self.learner = learner
        self.scorer = scorer

    def write(self, folder: Path, *, adapter: bool) -> None:
        """Called by the main process only."""
        from rlsd.agents.vllm.source import PolicyWeights

        PolicyWeights(self.learner.policy).write(folder, adapter=adapter)

    def tensors(self) -> dict[str, Tensor]:
        """Called by the main process only."""
        from rlsd.agents.vllm.source import PolicyWeights

        return PolicyWeights(self.learner.policy).tensors()

    def logps(self, ids: Sequence[int]) -> list[float]:
        """Every process must call."""
        return self.scorer.probe(ids)


def make_training_sampler(
    sampler: SamplerConfig,
    agent: AgentConfig,
    learner: Learner,
    scorer: Scorer,
    *,
    seed: int,
    asynchronous: bool,
    interrupt: bool,
    chat: ChatFormat,
) -> TrainingSampler:
    """The sampler that a run's `sampler` block names; the main process sends the weights.

    Args:
        asynchronous: episodes are sampled while the learner updates, so the sampler keeps weights of its own.
        interrupt: new weights come while episodes are sampled, and servers end their responses for them.
        chat: reads the policy's tokens.
    """
    policy = learner.policy
    if sampler.backend == "vllm":
        return _vllm_sampler(
            sampler,
            agent,
            learner,
            scorer,
            seed=seed,
            asynchronous=asynchronous,
            interrupt=interrupt,
            stopped=stop_check(chat, agent.stop),
        )
    make = partial(
        make_sampler, agent=agent, temperature=sampler.temperature, seed=seed, dispatch=sampler.dispatch, chat=chat
    )
    if not asynchronous and sampler.dtype == "model":
        return make(policy)
    shadow = replace(policy, model=copy.deepcopy(policy.model).requires_grad_(False))
    if sampler.dtype != "model":
        for weight in shadow.model.parameters():  # not the buffers: rotary frequencies stay exact
            weight.data = weight.data.to(DTYPES[sampler.dtype])
    return make(shadow, source=policy.model)


def _vllm_sampler(
    c: SamplerConfig,
    agent: AgentConfig,
    learner: Learner,
    scorer: Scorer,
    *,
    seed: int,
    asynchronous: bool,
    interrupt: bool,
    stopped: Callable[[Sequence[int]], bool] | None,
) -> TrainingSampler:
    from rlsd.agents.vllm.client import VLLMServer
    from rlsd.agents.vllm.sampler import VLLMSampler
    from rlsd.agents.vllm.source import PolicyWeights
    from rlsd.agents.vllm.weight_sync import WeightSync

    policy, context = learner.policy, context_of(agent, learner.policy)
    key = None if c.api_key_env is None else os.environ.get(c.api_key_env)
    if c.api_key_env is not None and not key:
        raise ConfigError(f"sampler.api_key_env names {c.api_key_env!r}, which is not set")
    remember(key or "")
    source = ShardedWeights(learner, scorer) if learner.parallel == "fsdp2" else PolicyWeights(policy)
    sync = WeightSync(
        [VLLMServer(revealed(url, "sampler.urls"), api_key=key, timeout_s=c.timeout_s) for url in c.urls],
        source,
        policy.tokenizer,
        carrier=_carrier(
            c,
            source,
            learner.ranks,
            keep=asynchronous or learner.ranks.world > 1,
            adapter=hasattr(policy.model, "merge_adapter"),
        ),
        context=context,
        logprob_gap_stop=c.logprob_gap_stop,
        peers=learner.ranks,
        sleep=c.sleep,
    )
    return VLLMSampler(
        sync,
        eos_ids=policy.eos_ids,
        temperature=c.temperature,
        seed=derive(seed, "sampler"),
        context=context,
        retries=c.retries,
        reconnect_s=c.reconnect_s,
        stop=agent.stop,
        interrupt=interrupt,
        stopped=stopped,
    )


def _carrier(c: SamplerConfig, source: WeightSource, ranks: Ranks, *, keep: bool, adapter: bool) -> Carrier:
    """The transport that brings weights to the servers.

    Args:
        keep: processes that hold a connection open between updates (asynchronous rollouts, several learners).
        adapter: files carry a LoRA adapter alone.
    """
    from rlsd.agents.vllm.broadcast import Groups
    from rlsd.agents.vllm.files import Adapters, Folders

    if c.weights == "nccl" or c.weights == "gloo":
        return Groups(
            source,
            kind=c.weights,
            address=c.weights_address,
            device=ranks.device,
            keep=keep,
            timeout_s=c.timeout_s,
        )
    files = Adapters if adapter else Folders
    return files(source, None if c.weights_folder is None else Path(c.weights_folder))
