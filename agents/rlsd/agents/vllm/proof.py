"""Verifies that a server uses the weights it was sent: compares log-probs of a fixed text before and after, on server
and learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlsd.agents.vllm.client import ServerMismatch, StalePolicy

PROBE = (
    "You are in the middle of a room. Looking quickly around you, you see a drawer 1, a shelf 2 and a fridge 1. "
    "Your task is to: put some mug in shelf. go to drawer 1. open drawer 1. take mug 1 from drawer 1. look."
)
"""Text whose log-probs distinguish sets of weights."""
PROBE_TOKENS = 128
NOISE = 1e-5
"""Tolerance in nats for log-probs under equal weights."""


@dataclass(slots=True)
class ServerState:
    """The known state of a server's weights."""

    version: int | None = None
    """Policy version, or None if unknown."""
    theirs: list[float] | None = None
    """The server's probe log-probs after the last push."""
    ours: list[float] | None = None
    """The learner's probe log-probs for the same weights."""
    noise: float = NOISE
    """Difference in nats between two runs of the probe (engines whose sums depend on the batch)."""


def check(
    url: str,
    version: int,
    before: ServerState,
    *,
    theirs: Sequence[float],
    ours: Sequence[float],
    logprob_gap_stop: float,
) -> None:
    """Verify that the server at `url` uses the weights of `version`, which it was just sent.

    Args:
        before: its state before the push.
        theirs: its current log-probs of the probe.
        ours: the learner's.
        logprob_gap_stop: mean difference in nats above which the server has another model.

    Raises:
        StalePolicy: it kept its old weights, or loaded the new ones partially.
        ServerMismatch: its log-probs are far from the learner's.
    """
    gap = mean(theirs, ours)
    if before.theirs is not None and before.ours is not None:
        moved, expected = largest(theirs, before.theirs), largest(ours, before.ours)
        if moved == 0.0 and expected > NOISE:
            raise StalePolicy(
                f"{url} accepted version {version} but kept its old weights: the learner's log-probs changed by up "
                f"to {expected:.2g} nats, the server's not at all; restart the server"
            )
        step, usual = mean(ours, before.ours), mean(before.theirs, before.ours)
        behind = mean(theirs, before.ours)
        if gap > behind and step > 4 * usual + NOISE:
            raise StalePolicy(
                f"{url} accepted version {version}, but its log-probs are closer to the previous version ({behind:.2g} "
                f"nats) than to this one ({gap:.2g}); restart the server"
            )
        if gap > 0.1 * step + 4 * usual + NOISE:
            raise StalePolicy(
                f"{url} loaded version {version} partially: its log-probs are {gap:.2g} nats from the learner's, with "
                f"the previous version {usual:.2g}; restart the server"
            )
    if not gap <= logprob_gap_stop:
        raise ServerMismatch(
            f"{url} differs from the learner by {gap:.2g} nats per token on the probe after it was sent version "
            f"{version} (allowed: {logprob_gap_stop:g}): it has another model, or the weights did not load"
        )


def mean(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / max(1, len(a))


def largest(a: Sequence[float], b: Sequence[float]) -> float:
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0)
