"""What an agent reads and what it returns.

    History ── agent ──→ Action
    Prompt ids ── sampler ──→ response ids + log-probs

Environments speak text, agents speak tokens: everything below an `Action` that has no tokens (a scripted agent's)
leaves `prompt` at None and `token_ids` empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rlsd.envs.core import TextEnv


class FinishReason(StrEnum):
    """Why a response ended."""

    EOS = "eos"
    """The policy sampled its end token."""
    LENGTH = "length"
    """`max_new_tokens` were sampled without an end token."""
    SCRIPTED = "scripted"
    """No tokens were sampled."""


class ContextFull(Exception):
    """The prompt plus room for a response exceeds the context; a stop reason, not a failure."""


class EpisodeKey(NamedTuple):
    """Names one episode of a run; seeds and cache slots derive from it, so nothing depends on scheduling."""

    stream: str
    """"train", "valid", "test" …: keeps the random numbers of evaluation and training apart."""
    iteration: int
    group: int
    sibling: int
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids of one prompt and the two places where a teacher's view may insert hindsight.

    Example: `<user> obs0 | <assistant>` with `|` the slot: ids = [1, 17, 18, 2], episode_slot = turn_slot = 3.
    """

    ids: tuple[int, ...]
    episode_slot: int
    """Index into `ids`: end of the first user message's text."""
    turn_slot: int
    """Index into `ids`: end of the last user message's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One decision: text for the environment, and the tokens it was made of."""

    text: str
    """What the environment gets; "" when the response held no action."""
    valid: bool = True
    """The response followed the format (the world may still refuse the action)."""
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
    explored: bool = False
    """Drawn at random so that odd states are visited; nobody's example to imitate."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """An episode so far, as the agent may know it. `observations` has one entry more than `actions`."""

    goal: str
    observations: tuple[str, ...]
    actions: tuple[Action, ...]
    admissible: tuple[str, ...] | None = None
    """Commands the world accepts now, or None."""

    @property
    def turn(self) -> int:
        return len(self.actions)


class Agent(Protocol):
    """Who acts. One agent serves many episodes at once; `key` tells them apart."""

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
        """The episode is over, whatever the reason; everything kept for it may go."""
        ...


@runtime_checkable
class Informed(Protocol):
    """An agent that may see more than the player: experts, and the teacher's view in diagnostics."""

    def bind(self, key: EpisodeKey, env: TextEnv) -> None:
        """The world of episode `key`; called after its reset, before the first action."""
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


class Sampler(Protocol):
    """Token ids in, token ids and log-probs out. `join` and `leave` frame an episode, so that caches can be kept."""

    def join(self, key: EpisodeKey) -> None: ...

    async def sample(self, request: SampleRequest) -> SampleResult: ...

    def leave(self, key: EpisodeKey) -> None: ...


class TrainingSampler(Sampler, Protocol):
    """A sampler whose weights follow a learner's."""

    live: bool
    """It reads the learner's own weights: `refresh` costs nothing."""

    @property
    def decoded_tokens(self) -> int:
        """Tokens decoded since construction."""
        ...

    @property
    def busy_s(self) -> float:
        """Seconds in which it had something to generate, since construction."""
        ...

    @property
    def version(self) -> int:
        """The policy version it samples from; -1 before it got any."""
        ...

    def connect(self) -> None:
        """Make sure that it can be used; raises what stands in the way."""
        ...

    def refresh(self, version: int) -> None:
        """Take the learner's present weights as policy `version`."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class SequenceScorer(Protocol):
    """A sampler that gives log-probs of whole sequences too."""

    def score(self, sequences: Sequence[Sequence[int]], *, version: int) -> list[list[float]]:
        """Nats of ids[1:] of every sequence, at temperature 1 under policy `version`; raises if it holds another."""
        ...
