"""Worlds and runs that many tests share."""

from __future__ import annotations

from typing import Literal

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import Policy, tiny_policy
from rlsd.agents.hf.sampler import HFSampler
from rlsd.agents.memory import FullHistory, LastTurns
from rlsd.agents.policy import PolicyAgent
from rlsd.envs.registry import make
from rlsd.harness.config import LearnerConfig
from rlsd.harness.learner.learner import Learner
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.scoring.scorer import Scorer
from tests.support.tokenizers import FAMILIES


class Played:
    """A tiny policy that has played a few generated games, with everything needed to train on them."""

    def __init__(
        self,
        family: str,
        *,
        memory: str = "full",
        response_format: str = "compact",
        tasks: int = 2,
        siblings: int = 2,
        new: int = 8,
        temperature: float = 1.0,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self.policy: Policy = tiny_policy(
            FAMILIES[family](), layers=2, dim=32, heads=2, context=4096, seed=3, device=device
        )
        self.format = ChatFormat(self.policy.tokenizer, sorted(self.policy.eos_ids))
        self.sampler = HFSampler(
            self.policy.model, eos_ids=self.policy.eos_ids, seed=5, context=4096, temperature=temperature
        )
        memory_format = FORMATS[response_format]
        self.agent = PolicyAgent(
            chat=self.format,
            memory=FullHistory(format=memory_format) if memory == "full" else LastTurns(format=memory_format),
            sampler=self.sampler,
            max_new_tokens=new,
        )
        env = make("rlsd/ALFWorld-v0", games="gen-tiny", split="train", max_steps=4)
        rollout = Rollout(
            lambda: make("rlsd/ALFWorld-v0", games="gen-tiny", split="train", max_steps=4),
            self.agent,
            RolloutSettings(slots=3),
        )
        self.groups: list[Group] = rollout.groups(list(env.tasks())[:tasks], siblings, stream="train", iteration=0)
        self.trajectories = [t for g in self.groups for t in g.trajectories]
        self.learner = Learner(
            self.policy, LearnerConfig(lr=1e-3, micro_batch_tokens=600, device=device), temperature=1.0
        )
        self.scorer = Scorer(self.learner.tokens, self.learner.settings, self.learner.ranks)
