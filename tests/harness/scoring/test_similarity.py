"""Which observations are one state, and the vectors of soft states."""

from __future__ import annotations

import math

import pytest

from rlsd.harness.scoring.similarity import anchor_numbers, tfidf

SHELF = "on the shelf you see an apple and a mug"
NEARLY = "on the shelf you see an apple and a jug"  # 38 of 39 characters match


def test_equal_texts_of_a_group_are_one_state() -> None:
    assert anchor_numbers([0, 0, 0, 1], ["a", "b", "a", "a"], None) == [0, 1, 0, 2]
    assert anchor_numbers([0, 0], [SHELF, NEARLY], None) == [0, 1]


def test_nearly_equal_texts_are_one_state_in_their_own_group_only() -> None:
    texts = [SHELF, NEARLY, "nothing happens", NEARLY, SHELF]
    assert anchor_numbers([0, 0, 0, 1, 1], texts, 0.95) == [0, 0, 1, 2, 2]


def test_the_ratio_is_matching_characters_over_all_and_may_equal_the_threshold() -> None:
    """`abcd` and `abce`: 2 · 3 / 8 = .75."""
    assert anchor_numbers([0, 0], ["abcd", "abce"], 0.75) == [0, 0]
    assert anchor_numbers([0, 0], ["abcd", "abce"], 0.7501) == [0, 1]


def test_a_text_is_compared_with_the_first_of_a_state_and_joins_the_first_that_fits() -> None:
    """`aaaa`, `aabb`, `bbbb`: neighbours match by a half, the ends not at all."""
    assert anchor_numbers([0, 0, 0], ["aaaa", "aabb", "bbbb"], 0.5) == [0, 0, 1]
    assert anchor_numbers([0, 0, 0], ["aaaa", "bbbb", "aabb"], 0.5) == [0, 1, 0]


def test_vectors_weigh_rare_words_more() -> None:
    """`red` in one text of two: ln(3/2) + 1; `mug` in both: 1; one-letter words and case do not count."""
    rare = math.log(1.5) + 1
    length = math.hypot(rare, 1.0)
    mug_red, mug = tfidf(["a red Mug", "mug mug"]).tolist()
    assert mug_red == pytest.approx([1 / length, rare / length])
    assert mug == pytest.approx([1.0, 0.0])


def test_only_the_most_frequent_words_are_kept_and_a_text_without_them_is_nothing() -> None:
    assert tfidf(["mug mug pan", "pot"], limit=1).tolist() == [[1.0], [0.0]]
    assert tfidf(["?", "!"]).shape == (2, 0)
