"""Log-probs of sampled tokens from hidden states, in chunks: the (m, V) table never exists.

    log p_t = z_t[y_t] / τ − logsumexp(z_t / τ),   z_t = head(h_t)

Each chunk of rows runs head and softmax (float32 at least) under activation checkpointing, so backward
recomputes one chunk's logits at a time. Peak memory is that of one (chunk, V) table instead of (m, V), for
one more head product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlsd.algorithms.errors import AlgorithmError

Head = Callable[[Tensor], Tensor]
"""Hidden states (c, D) → logits (c, V)."""

DEFAULT_CHUNK = 256
"""Rows per chunk; 256 × 49,152 logits are 48 MiB in float32."""


def scaled_logits(logits: Tensor, temperature: float) -> Tensor:
    """Return logits / temperature in float32 (float64 stays)."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide if temperature == 1.0 else wide / temperature


def run_chunk(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Call `function`; with gradients on, recompute its intermediate tensors in backward."""
    if not torch.is_grad_enabled():
        return function(*tensors)
    result = checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(result, Tensor)
    return result


def check_chunking(*, temperature: float, chunk: int) -> None:
    """Raise AlgorithmError for an invalid temperature or chunk size."""
    if temperature <= 0.0:
        raise AlgorithmError(f"temperature: expected more than 0, given {temperature}.")
    if chunk < 1:
        raise AlgorithmError(f"chunk: expected at least 1 row, given {chunk}.")


def chunked_logprobs(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int = DEFAULT_CHUNK,
    entropy: bool | Literal["detached"] = False,
) -> tuple[Tensor, Tensor | None]:
    """Return log-probs (m,) of `targets` (m,) int64 under head(`hidden` (m, D)), and entropies (m,) in nats
    if `entropy`.

    Both are differentiable with respect to `hidden` and the head's parameters, in float32 at least; "detached"
    entropies are not.
    """
    check_chunking(temperature=temperature, chunk=chunk)
    if hidden.ndim != 2 or targets.shape != hidden.shape[:1]:
        raise AlgorithmError(
            f"expected hidden (m, D) and targets (m,), given {tuple(hidden.shape)} and {tuple(targets.shape)}."
        )

    pieces = list(zip(hidden.split(chunk), targets.split(chunk), strict=True))
    spreads: list[Tensor] = []

    def score(rows: Tensor, wanted: Tensor) -> Tensor:
        logits = scaled_logits(head(rows), temperature)
        normaliser = logits.logsumexp(dim=-1)
        chosen = logits.gather(-1, wanted[:, None]).squeeze(-1) - normaliser
        if entropy is True:
            return torch.stack([chosen, _entropy(logits, normaliser)])
        if entropy and len(spreads) < len(pieces):  # not again in backward
            with torch.no_grad():
                spreads.append(_entropy(logits, normaliser))
        return chosen[None]

    if hidden.shape[0] == 0:
        nothing = scaled_logits(hidden.sum(dim=-1), 1.0)
        return nothing, nothing if entropy else None
    scores = torch.cat([run_chunk(score, rows, wanted) for rows, wanted in pieces], dim=1)
    if entropy is True:
        return scores[0], scores[1]
    return scores[0], torch.cat(spreads) if entropy else None


def _entropy(logits: Tensor, normaliser: Tensor) -> Tensor:
    """(c,) nats; tokens with a logit of −∞ count as 0."""
    return normaliser - ((logits - normaliser[:, None]).exp() * logits.clamp_min(torch.finfo(logits.dtype).min)).sum(-1)
