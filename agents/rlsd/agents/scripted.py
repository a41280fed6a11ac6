"""Agents without a language model: baselines, experts and fakes. They ship because users and tests need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlsd.agents.seeding import generator
from rlsd.agents.types import Action, EpisodeKey, FinishReason, History, SampleRequest, SampleResult
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError


class _Stateless:
    """An agent without state per episode."""

    def begin(self, key: EpisodeKey) -> None:
        pass

    def end(self, key: EpisodeKey) -> None:
        pass


class RandomAgent(_Stateless):
    """A uniformly random admissible command; "look" if the environment lists none."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    async def act(self, history: History, key: EpisodeKey) -> Action:
        choices = history.admissible or ("look",)
        rng = generator(self.seed, *key, "turn", history.turn)
        return Action(text=choices[int(rng.integers(len(choices)))])


class ExpertAgent(_Stateless):
    """Follows an environment's own expert ("explorer" or "oracle").

    The rollout passes each episode's environment to `bind`, because an expert knows more than the history.

    Args:
        kind: name of the expert.
        noise: share of turns played at random, marked `explored`: half of them admissible commands, half misfires
            (the last command again, or two commands mixed), so that refusals occur as well.
        seed: seed of the noise.
    """

    def __init__(self, kind: str, *, noise: float = 0.0, seed: int = 0) -> None:
        self.kind = kind
        self.noise = noise
        self.seed = seed
        self._envs: dict[EpisodeKey, TextEnv] = {}

    def bind(self, key: EpisodeKey, env: TextEnv) -> None:
        self._envs[key] = env

    def end(self, key: EpisodeKey) -> None:
        self._envs.pop(key, None)

    async def act(self, history: History, key: EpisodeKey) -> Action:
        text = self._envs[key].expert(self.kind)
        if self.noise and history.admissible:
            rng = generator(self.seed, *key, "noise", history.turn)
            if rng.random() < self.noise:
                return Action(text=_stray(history, rng), explored=True)
        if text is None:
            name = type(self._envs[key]).__name__
            raise EnvError(f"{name} has no {self.kind!r} expert in its present state; choose another agent")
        return Action(text=text)


def _stray(history: History, rng: np.random.Generator) -> str:
    """A random admissible command, the last command again, or the head of one command with the tail of another."""
    commands = history.admissible or ()
    first, second = (commands[int(i)] for i in rng.integers(len(commands), size=2))
    draw = rng.random()
    if draw < 0.5:
        return first
    if draw < 0.75 and history.actions:
        return history.actions[-1].text
    head, tail = first.split(), second.split()
    cut = int(rng.integers(1, len(head) + 1))
    return " ".join(head[:cut] + tail[min(cut, len(tail) - 1) :])


class ScriptedAgent(_Stateless):
    """Plays fixed commands by turn, and repeats the last one."""

    def __init__(self, commands: Sequence[str]) -> None:
        if not commands:
            raise ValueError("a scripted agent needs at least one command")
        self.commands = tuple(commands)

    async def act(self, history: History, key: EpisodeKey) -> Action:
        return Action(text=self.commands[min(history.turn, len(self.commands) - 1)])


class EchoAgent(_Stateless):
    """Repeats the last observation: such actions are invalid in most environments, and must not crash any."""

    async def act(self, history: History, key: EpisodeKey) -> Action:
        return Action(text=history.observations[-1])


class ScriptedSampler:
    """A sampler that returns fixed token ids by (sibling, turn): tests the token path without a model.

    Args:
        script: token ids for (sibling, turn); a missing entry gives `default`.
        default: ids for everything else.
        eos_ids: ids that mark a response as ended.
    """

    def __init__(
        self, script: Mapping[tuple[int, int], Sequence[int]], default: Sequence[int], eos_ids: frozenset[int]
    ) -> None:
        self.script = dict(script)
        self.default = tuple(default)
        self.eos_ids = eos_ids
        self.requests: list[SampleRequest] = []

    def join(self, key: EpisodeKey) -> None:
        pass

    def leave(self, key: EpisodeKey) -> None:
        pass

    async def sample(self, request: SampleRequest) -> SampleResult:
        self.requests.append(request)
        ids = tuple(self.script.get((request.key.sibling, request.turn), self.default))[: request.max_new_tokens]
        ended = bool(ids) and ids[-1] in self.eos_ids
        return SampleResult(
            token_ids=ids,
            logps=(-1.0,) * len(ids),
            finish=FinishReason.EOS if ended else FinishReason.LENGTH,
            policy_version=0,
        )


class EchoSampler(ScriptedSampler):
    """Repeats the end of the prompt, without an end token."""

    def __init__(self, length: int = 4) -> None:
        super().__init__({}, (0,), frozenset())
        self.length = length

    async def sample(self, request: SampleRequest) -> SampleResult:
        self.default = request.prompt_ids[-min(self.length, request.max_new_tokens) :]
        return await super().sample(request)
