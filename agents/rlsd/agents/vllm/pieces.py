"""Responses in pieces: what a server sent before new weights came is kept, the rest is sampled with the new weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rlsd.agents.types import FinishReason, SampleResult, version_spans


def joined(kept: SampleResult, piece: SampleResult) -> SampleResult:
    """One response of both; neighbouring tokens of one version are one span."""
    spans = list(version_spans(kept))
    for version, count in version_spans(piece):
        if spans[-1][0] == version:
            count += spans.pop()[1]
        spans.append((version, count))
    return replace(
        kept,
        token_ids=kept.token_ids + piece.token_ids,
        logps=kept.logps + piece.logps,
        finish=piece.finish,
        versions=tuple(spans) if len(spans) > 1 else (),
    )


def cut_at_stop(
    response: SampleResult, border: int, stop: Sequence[str], stopped: Callable[[Sequence[int]], bool] | None
) -> SampleResult:
    """The response up to a stop string that lies across the `border` between two pieces, where no server looks for it.

    Args:
        border: number of tokens before it, which hold no stop string.
        stopped: whether ids come to a stop string with their last token; None: there are no stop strings.
    """
    if stopped is None:
        return response
    longest = max((len(s.encode()) for s in stop), default=0)  # a token holds at least a byte
    for end in range(border + 1, min(len(response.token_ids), border + longest) + 1):
        if stopped(response.token_ids[:end]):
            return _first(response, end)
    return response


def _first(response: SampleResult, count: int) -> SampleResult:
    """The first `count` tokens, which end with a stop string."""
    spans: list[tuple[int, int]] = []
    left = count
    for version, tokens in version_spans(response):
        if left > 0:
            spans.append((version, min(left, tokens)))
        left -= tokens
    return replace(
        response,
        token_ids=response.token_ids[:count],
        logps=response.logps[:count],
        finish=FinishReason.STOP,
        versions=tuple(spans) if len(spans) > 1 else (),
    )
