"""Which prompts are fed, and in how many passes."""

from __future__ import annotations

import itertools

import pytest

from rlsd.agents.hf.prefill import STEP, batches, passes, twins
from tests.agents.hf.test_sampler import ask, key, plain_logps, prompt_of, sampler


def cost(lengths: list[int], ends: list[int], least: int) -> int:
    """Padded tokens of passes that end at `ends`, each `least` more."""
    return sum(sum(n > a for n in lengths) * (b - a) + least for a, b in itertools.pairwise([0, *ends]))


def test_rows_of_one_length_take_one_pass() -> None:
    assert passes([50] * 100, 8) == [50]


def test_few_padded_tokens_are_not_worth_a_pass() -> None:
    assert passes([10, 10, 60], 96) == [60]
    assert passes([10, 10, 60], 95) == [12, 60]


@pytest.mark.parametrize("lengths", [[8] * 20 + [24], [5] * 9 + [17] * 4 + [40, 61], [12, 12, 31, 44, 44, 44, 90]])
def test_no_other_passes_have_fewer_padded_tokens(lengths: list[int]) -> None:
    places = range(STEP, max(lengths) - STEP + 1, STEP)
    ways = [[*some, max(lengths)] for n in range(4) for some in itertools.combinations(places, n)]
    assert cost(lengths, passes(lengths, 30), 30) == min(cost(lengths, ends, 30) for ends in ways)


def test_the_last_few_queries_of_a_long_row_stay_in_the_block_of_a_single_pass() -> None:
    """33 = 32 + 1 and 65 = 2 · 32 + 1 columns end in a block of one query, 36 in one of 4."""
    assert passes([8] * 50 + [33], 8) == [33]
    assert passes([8] * 50 + [65], 8) == [8, 32, 65]
    assert passes([8] * 50 + [36], 8) == [8, 36]


def test_long_prompts_may_end_a_pass_at_64_places() -> None:
    found = passes([*range(1, 2000, 3)], 1)
    assert found[-1] == 1999
    assert len(found) <= 64
    assert all(end % 32 == 0 for end in found[:-1])


def test_batches_keep_the_limit_of_padded_tokens() -> None:
    assert batches([3, 4, 4, 9, 1, 20, 1], 12) == [(0, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert batches([4, 4, 4], 12) == [(0, 3)]
    assert batches([50], 12) == [(0, 1)]


def test_equal_prompts_copy_from_the_first_one() -> None:
    assert twins(["a", "b", "a", "c", "b"], [4, 9, 4, 4, 9]) == [0, 1, 0, 3, 1]


def test_few_equal_tokens_are_fed_again() -> None:
    assert twins(["a", "b", "c", "d", "a"], [4, 4, 4, 4, 4]) == [0, 1, 2, 3, 4]
    assert twins(["a", "b", "c", "a"], [4, 4, 4, 4]) == [0, 1, 2, 0]


def test_equal_prompts_are_fed_once_and_sampled_apart() -> None:
    """Siblings begin alike, and go on alike where they chose the same action."""
    s = sampler()
    prompts = {key(i): prompt_of(40 if i < 4 else 70) for i in range(6)}
    for k in prompts:
        s.join(k)
    first = ask(s, prompts, new=6)
    assert s.prefilled_tokens == 40 + 70
    assert len({r.token_ids for r in first.values()}) > 2, "each has random numbers of its own"
    longer = {k: (*p, *first[key(0)].token_ids, *prompt_of(5, seed=1)) for k, p in prompts.items()}
    second = ask(s, longer, turn=1, new=6)
    for asked, answered in ((prompts, first), (longer, second)):
        for k, result in answered.items():
            assert result.logps == pytest.approx(plain_logps(asked[k], result.token_ids), abs=2e-5)


def test_long_rows_go_on_without_the_short_ones() -> None:
    s = sampler(eos_ids=frozenset())
    prompts = {key(i): prompt_of(150 if i in (2, 5) else 9 + i, seed=i) for i in range(8)}
    for k in prompts:
        s.join(k)
    results = ask(s, prompts, new=3)
    assert s.passes == 2 + 2, "two for the prompts; the last token of three is not fed"
    assert s.prefilled_tokens == sum(map(len, prompts.values()))
    for k, result in results.items():
        assert result.logps == pytest.approx(plain_logps(prompts[k], result.token_ids), abs=2e-5)
    longer = {k: (*p, *results[k].token_ids, *prompt_of(4, seed=3)) for k, p in prompts.items()}
    for k, result in ask(s, longer, turn=1, new=3).items():
        assert result.logps == pytest.approx(plain_logps(longer[k], result.token_ids), abs=2e-5)
