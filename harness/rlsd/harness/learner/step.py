"""One optimizer step: inputs of a loss, statistics, and errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from rlsd.agents.hf.out_of_memory import MemoryFull
from rlsd.envs.errors import RlsdError
from rlsd.harness.config.learner import LearnerConfig
from rlsd.harness.scoring.sequences import Row
from rlsd.harness.scoring.token_model import Head, micro_batches, plain, too_large


class LossError(RlsdError):
    """A non-finite loss or gradient; no step was taken."""


class WeightError(RlsdError):
    """A weight that is infinite or NaN; it was neither published nor saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSlice:
    """Inputs of a loss for one micro-batch: m of the batch's M tokens."""

    flat: Tensor
    """(m,) int64 on the CPU, like the batch's tables: numbers of the tokens in the flat batch."""
    logp: Tensor
    """(m,) float32 on the learner's device, with gradient: log-prob of the sampled token."""
    entropy: Tensor
    """(m,) float32 nats, without gradient: of the distribution that the token was sampled from."""
    hidden: Tensor
    """(m, D), with gradient: hidden state that predicts the token."""
    head: Head
    """Output embedding: (m, D) → (m, V)."""


LossFn = Callable[[TokenSlice], Tensor]
"""Scalar loss of a slice; already divided by the global normaliser, so that slices and processes add up. Called again
for the same tokens if memory ran out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    """Statistics of one optimizer step, over all processes."""

    loss: float
    grad_norm: float
    lr: float
    """Learning rate of the step."""
    tokens: int
    """Tokens with a gradient."""
    padded_tokens: int
    """Columns computed, padding included."""
    splits: int = 0
    """Micro-batches that ran out of memory and were split."""


class OutOfMemory(Exception):
    """Micro-batch `number` did not fit."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def halved(
    batches: Sequence[list[Row]],
    failed: OutOfMemory,
    splits: int,
    settings: LearnerConfig,
    wrapper: str,
    whole: Sequence[Row],
) -> list[list[Row]]:
    """The micro-batches, with the failed one split in two. A single row of siblings, packed rows or several views
    becomes these again, in micro-batches of at most half its columns. No turn is torn apart: GSPO reads whole ones.

    Args:
        whole: the rows of all micro-batches before siblings were joined and rows packed.

    Raises:
        MemoryFull: one was split before, or it cannot be split, or with FSDP2, where no process can retry alone.
    """
    batch = batches[failed.number]
    message = too_large(batch, str(failed), settings)
    half = len(batch) // 2
    parts = [batch[:half], batch[half:]] if half else _taken_apart(batch[0], whole)
    if splits or len(parts) == 1:
        raise MemoryFull(message + (" (it was split once already)" if splits else "")) from failed
    if wrapper == "fsdp2":
        raise MemoryFull(message + " (with fsdp2 no process can retry alone)") from failed
    return [*batches[: failed.number], *parts, *batches[failed.number + 1 :]]


def _taken_apart(row: Row, whole: Sequence[Row]) -> list[list[Row]]:
    """Micro-batches of the rows of `whole` that `row` was made of, each of whose places begins in one of its own."""
    mine = {p.flat for p in row.places}
    members = plain([r for r in whole if any(p.flat in mine for p in r.places)])
    return micro_batches(members, len(row.ids) // 2, masks=False)
