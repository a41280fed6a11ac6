"""Which items of hindsight are left out so that it fits a token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlsd.harness.hindsight.contexts import Section

CUT = "…"
"""Replaces items that were left out for length."""
_SLACK = 32
"""Tokens by which a shorter text may be the longer one: where two texts meet, a tokenizer may join what it splits
elsewhere."""


def shortened(sections: Sequence[Section], budget: int, tokens: Callable[[Section], int]) -> list[Section] | None:
    """The sections with as few items left out as makes them fit: always the last item of the section with the most.

    It looks for the place where the size falls below the budget from the short end on, doubling its stride, so the
    texts it counts are about as long as the budget, however many items there are.

    Args:
        budget: largest number of tokens, all sections together.
        tokens: number of tokens of one section.

    Returns:
        None if they do not fit even with one item each.
    """
    if sum(tokens(section) for section in sections) <= budget:
        return list(sections)
    kept = [len(_whole_items(section)) for section in sections]
    dropped = _order(kept)

    def after(drops: int) -> list[Section]:
        left = kept.copy()
        for i in dropped[:drops]:
            left[i] -= 1
        return [
            section if n == most else Section(title=section.title, items=(*section.items[:n], CUT))
            for section, n, most in zip(sections, left, kept)
        ]

    def exceeds(drops: int, size: int) -> bool:
        return sum(tokens(section) for section in after(drops)) > size

    high, stride = len(dropped), 1
    low = max(0, high - stride)
    while low > 0 and not exceeds(low, budget + _SLACK):
        high, stride = low, 2 * stride
        low = max(0, high - stride)
    while high - low > 1:  # `low` is too large, and all before it
        middle = (low + high) // 2
        low, high = (middle, high) if exceeds(middle, budget + _SLACK) else (low, middle)
    for drops in range(max(1, high), len(dropped) + 1):
        if not exceeds(drops, budget):
            return after(drops)
    return None


def _order(kept: Sequence[int]) -> list[int]:
    """The sections by number, in the order in which they lose an item: the one with the most, of equals the first."""
    left, order = list(kept), []
    while left and max(left) > 1:
        i = left.index(max(left))
        left[i] -= 1
        order.append(i)
    return order


def _whole_items(section: Section) -> tuple[str, ...]:
    """The items without the mark for omitted ones."""
    return section.items[:-1] if section.items[-1] == CUT else section.items
