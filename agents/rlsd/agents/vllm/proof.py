"""The proof that a server uses the weights it was sent: log-probs of a fixed text, before and after, here and there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlsd.agents.vllm.client import ServerMismatch, StalePolicy

PROBE = (
    "You are in the middle of a room. Looking quickly around you, you see a drawer 1, a shelf 2 and a fridge 1. "
    "Your task is to: put some mug in shelf. go to drawer 1. open drawer 1. take mug 1 from drawer 1. look."
)
"""Text whose log-probs tell one set of weights from another."""
PROBE_TOKENS = 128
NOISE = 1e-5
"""Nats that log-probs may differ by though the weights are the same."""


@dataclass(slots=True)
class Held:
    """What a server is known to hold."""

    version: int | None = None
    """Policy version; None: unknown."""
    theirs: list[float] | None = None
    """Its probe log-probs after the last push."""
    ours: list[float] | None = None
    """The learner's, for the same weights."""
    noise: float = NOISE
    """Nats by which the probe asked twice differs (engines whose sums depend on the batch)."""


def check(
    url: str, version: int, held: Held, *, theirs: Sequence[float], ours: Sequence[float], logprob_gap_stop: float
) -> None:
    """Make sure that the server at `url` uses the weights of `version`, which it was just sent.

    Args:
        held: what it held before.
        theirs: its log-probs of the probe now.
        ours: the learner's.
        logprob_gap_stop: mean difference in nats that means "other model".

    Raises:
        StalePolicy: it kept its old weights, or took the new ones in part.
        ServerMismatch: it is far from the learner.
    """
    gap = mean(theirs, ours)
    if held.theirs is not None and held.ours is not None:
        moved, expected = largest(theirs, held.theirs), largest(ours, held.ours)
        if moved == 0.0 and expected > NOISE:
            raise StalePolicy(
                f"{url} took version {version} and kept its old weights: the learner's log-probs moved by up to "
                f"{expected:.2g} nats, the server's not at all"
            )
        step, before, behind = mean(ours, held.ours), mean(held.theirs, held.ours), mean(theirs, held.ours)
        if gap > behind and step > 4 * before + NOISE:
            raise StalePolicy(
                f"{url} took version {version}, but its log-probs are nearer to the version before ({behind:.2g} nats "
                f"away) than to this one ({gap:.2g})"
            )
        if gap > 0.1 * step + 4 * before + NOISE:
            raise StalePolicy(
                f"{url} took version {version} in part: its log-probs are {gap:.2g} nats from the learner's, with the "
                f"version before it was {before:.2g}"
            )
    if not gap <= logprob_gap_stop:
        raise ServerMismatch(
            f"{url} differs from the learner by {gap:.2g} nats a token on the probe after it was sent version "
            f"{version} (allowed: {logprob_gap_stop:g}): another model, or weights that did not load"
        )


def mean(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / max(1, len(a))


def largest(a: Sequence[float], b: Sequence[float]) -> float:
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0)
