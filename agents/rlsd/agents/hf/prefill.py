"""Which prompts are fed, and in how many passes: equal prompts once, and few columns of padding.

The new tokens of a turn have very different lengths. One pass pads all rows to the longest; here the rows go together
as far as it pays, and those that are longer go on without the others.

    ████████░░░░░░░░            ████████│
    ██████████████░░    →       ████████│██████░░
    ████████████████            ████████│████████
    ██████░░░░░░░░░░            ██████░░│
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence

STEP = 4
"""Passes end at multiples of this many columns."""
MOST_STEPS = 64
"""Places where a pass may end; of longer prompts they are further apart."""
LEAST_TWINS = 0.25
"""Share of the new tokens that equal prompts must have: without their rows the cache is no longer read in place."""
PASS = {"cpu": 64, "other": 4096}
"""Padded tokens that a further pass must save, by device: a GPU takes some thousand in the time of a launch."""


def least_saving(device: str) -> int:
    """Padded tokens that a further pass must save."""
    return PASS["cpu" if device == "cpu" else "other"]


def twins(prompts: Sequence[Hashable], new: Sequence[int]) -> list[int]:
    """For every row the first one with an equal prompt, whose keys and values it may copy; itself, if too few tokens
    would be saved.

    Args:
        prompts: of all rows.
        new: tokens of each that are not in the cache.
    """
    first: dict[Hashable, int] = {}
    found = [first.setdefault(prompt, i) for i, prompt in enumerate(prompts)]
    saved = sum(n for i, n in enumerate(new) if found[i] != i)
    return found if saved >= LEAST_TWINS * sum(new) else list(range(len(found)))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of what both begin with."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def batches(lengths: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """First and end row of batches in order, each of at most `limit` padded tokens; a longer row is one of its own."""
    out: list[tuple[int, int]] = []
    first = longest = 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if row > first and longest * (row + 1 - first) > limit:
            out.append((first, row))
            first, longest = row, length
    return [*out, (first, len(lengths))]


def passes(lengths: Sequence[int], least: int) -> list[int]:
    """Columns at which the passes over rows of `lengths` new tokens end, ascending; the last one is the longest row's.
    Of all ways to divide them the one with the fewest padded tokens, where every pass counts as `least` more.

    Attention on a CPU takes blocks of queries, and rounds a block of fewer than 4 in a way of its own; no pass but the
    last may end in such a one, and the last as a single pass would. So log-probs are those of a single pass, bit for
    bit, if all passes read as many columns of the cache.
    """
    longest = max(lengths)
    ordered = sorted(lengths)
    if longest * len(lengths) - sum(lengths) <= least:
        return [longest]
    step = STEP * max(1, -(-longest // (STEP * MOST_STEPS)))
    ends = [*range(0, longest - STEP + 1, step), longest]
    rows = [len(ordered) - bisect_right(ordered, end) for end in ends]
    best: list[tuple[int, int]] = [(0, 0)]
    for j, end in enumerate(ends[1:], start=1):
        allowed = (i for i in range(j) if j < len(ends) - 1 or _rest(end - ends[i]) == _rest(end) or not i)
        best.append(min((best[i][0] + rows[i] * (end - ends[i]) + least, i) for i in allowed))
    out, j = list[int](), len(ends) - 1
    while j:
        out.append(ends[j])
        j = best[j][1]
    return out[::-1]


def _rest(queries: int) -> int:
    """Queries in the last of the blocks of 32, 64 or 256 in which attention on a CPU takes them, if it is one of fewer
    than 4; else 0."""
    rest = queries % (256 if queries >= 768 else 64 if queries >= 192 else 32)
    return rest if rest < STEP else 0
