"""Inputs and outputs of agents and samplers.

    History ── agent ──→ Action
    Prompt ids ── sampler ──→ response ids + log-probs

Environments use text, agents use tokens. An `Action` without tokens (a scripted agent's) has `prompt` None and empty
`token_ids`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rlsd.agents.usage import TokenUsage
from rlsd.envs.core import TextEnv


class FinishReason(StrEnum):
    """Why a response ended."""

    EOS = "eos"
    """The policy sampled its end token."""
    LENGTH = "length"
    """`max_new_tokens` were sampled without an end token."""
    STOP = "stop"
    """The text came to one of the agent's stop strings, which is its end."""
    ABORT = "abort"
    """A server ended it before new weights: a sampler asks for the rest, so no action has this reason."""
    SCRIPTED = "scripted"
    """No tokens were sampled."""


class ContextFull(Exception):
    """The prompt plus room for a response exceeds the context; a stop reason, not a failure."""


class EpisodeKey(NamedTuple):
    """Identifies one episode of a run; seeds and cache slots derive from it, so results do not depend on scheduling."""

    stream: str
    """"train", "valid", "test" …: separates the random numbers of evaluation and training."""
    iteration: int
    group: int
    sibling: int
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids of one prompt and the two places where the teacher view may insert hindsight.

    Example: `<user> obs0 | <assistant>` with `|` the slot: ids = [1, 17, 18, 2], episode_slot = turn_slot = 3.
    """

    ids: tuple[int, ...]
    episode_slot: int
    """Index into `ids`: end of the first user message's text."""
    turn_slot: int
    """Index into `ids`: end of the last user message's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action: text for the environment, and the tokens it came from."""

    text: str
    """Text for the environment; "" if the response has no action."""
    valid: bool = True
    """Whether the response followed the format (the environment may still refuse the action)."""
    response: str = ""
    """The whole response as text, special tokens left out."""
    prompt: Prompt | None = None
    token_ids: tuple[int, ...] = ()
    """Sampled ids, the end token included when it was sampled."""
    logps: tuple[float, ...] = ()
    """Nats, one per sampled id, under the distribution the token was drawn from."""
    action_span: tuple[int, int] = (0, 0)
    """Half-open range of `token_ids` that spells the action."""
    thought_span: tuple[int, int] = (0, 0)
    """Half-open range of `token_ids` that spells the thought."""
    finish: FinishReason = FinishReason.SCRIPTED
    policy_version: int = 0
    """The policy that its tokens were sampled from; of several the first, which is the oldest."""
    versions: tuple[tuple[int, int], ...] = ()
    """(policy version, number of tokens) of each piece in order, if it has tokens of several; else ()."""
    explored: bool = False
    """Whether the action was random exploration, which is not imitated."""
    messages: tuple[Mapping[str, Any], ...] = ()
    """What a chat endpoint was asked, as sent; () for agents that have a `prompt`, or none."""
    usage: TokenUsage | None = None
    """Tokens of the request, as a chat endpoint counted them."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """An episode so far, as the agent may know it. `observations` has one entry more than `actions`."""

    goal: str
    observations: tuple[str, ...]
    actions: tuple[Action, ...]
    admissible: tuple[str, ...] | None = None
    """Commands the environment accepts now, or None if it does not list them."""
    admissible_before: tuple[tuple[str, ...] | None, ...] = ()
    """The same at each earlier observation, where they are kept."""

    @property
    def turn(self) -> int:
        return len(self.actions)


class Agent(Protocol):
    """Chooses actions. One agent serves many episodes at once; `key` identifies them."""

    def begin(self, key: EpisodeKey) -> None:
        """An episode starts."""
        ...

    async def act(self, history: History, key: EpisodeKey) -> Action:
        """The next action.

        Raises:
            ContextFull: the episode no longer fits into the model's context.
        """
        ...

    def end(self, key: EpisodeKey) -> None:
        """The episode is over, whatever the reason; free everything kept for it."""
        ...


@runtime_checkable
class Informed(Protocol):
    """An agent that may see the environment's state: experts, and the teacher view in diagnostics."""

    def bind(self, key: EpisodeKey, env: TextEnv) -> None:
        """Set the environment of episode `key`; called after its reset, before the first action."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    key: EpisodeKey
    turn: int
    prompt_ids: tuple[int, ...]
    max_new_tokens: int


def check_room(request: SampleRequest, context: int) -> None:
    """
    Raises:
        ContextFull: prompt and response would take more than `context` tokens.
    """
    if len(request.prompt_ids) + request.max_new_tokens > context:
        raise ContextFull(f"prompt of {len(request.prompt_ids)} tokens + {request.max_new_tokens} new ones > {context}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish: FinishReason
    policy_version: int
    """Of the first token."""
    versions: tuple[tuple[int, int], ...] = ()
    """As `Action.versions`."""


def version_spans(sampled: Action | SampleResult) -> tuple[tuple[int, int], ...]:
    """(policy version, number of tokens) of each piece of a response in order; the numbers add up to its tokens."""
    return sampled.versions or ((sampled.policy_version, len(sampled.token_ids)),)


class Sampler(Protocol):
    """Token ids in, token ids and log-probs out. `join` and `leave` mark an episode's start and end, for caches."""

    def join(self, key: EpisodeKey) -> None: ...

    async def sample(self, request: SampleRequest) -> SampleResult: ...

    def leave(self, key: EpisodeKey) -> None: ...


class TrainingSampler(Sampler, Protocol):
    """A sampler whose weights follow a learner's."""

    live: bool
    """Whether it reads the learner's own weights, so that `refresh` costs nothing."""

    @property
    def decoded_tokens(self) -> int:
        """Tokens decoded since construction."""
        ...

    @property
    def busy_s(self) -> float:
        """Seconds since construction in which it was generating."""
        ...

    @property
    def version(self) -> int:
        """The policy version it samples from; -1 before the first."""
        ...

    def connect(self) -> None:
        """Check that it can be used; raises an error if not."""
        ...

    def refresh(self, version: int) -> None:
        """Take the learner's present weights as policy `version`."""
        ...

    def rest(self) -> None:
        """Nothing is sampled before the next `refresh`: give back what memory it can, if it is set to."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class SequenceScorer(Protocol):
    """A sampler that also gives log-probs of whole sequences."""

    def score(self, sequences: Sequence[Sequence[int]], *, version: int) -> list[list[float]]:
        """Nats of ids[1:] of every sequence, at temperature 1 under policy `version`; raises if it holds another."""
        ...
