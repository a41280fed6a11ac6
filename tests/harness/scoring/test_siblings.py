"""Siblings in one row: the same tokens, log-probs and gradient as rows of their own, with fewer columns."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from rlsd.agents.hf.models import split_head
from rlsd.harness.config import LearnerConfig
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.step import TokenSlice
from rlsd.harness.scoring.sequences import Branch, Place, Row, student_rows
from rlsd.harness.scoring.siblings import Cost, with_siblings
from rlsd.harness.scoring.tables import token_batch, token_count
from rlsd.harness.scoring.token_model import micro_batches, packed, places, plain
from tests.support.worlds import Played

CHEAP = Cost(token=1.0, pair=0.0, blocks=False)
"""Attention costs nothing: whatever has enough in common is joined."""


def family(rng: random.Random, members: int, group: int, flat: int) -> list[Row]:
    """Rows of responses and observations that go the same way for a while; 40 columns before the first response."""
    prompt = tuple(rng.randrange(5) for _ in range(40))
    rows: list[Row] = []
    for _ in range(members):
        ids, scored = prompt, list[Place]()
        for _ in range(rng.randrange(1, 4)):
            count = rng.randrange(1, 4)
            scored.append(Place(column=len(ids), flat=flat, count=count))
            ids += tuple(rng.randrange(2) for _ in range(count + rng.randrange(3)))
            flat += count
        rows.append(Row(ids=ids, places=tuple(scored), family=group))
    return rows


def contexts(rows: list[Row]) -> dict[int, tuple[int, ...]]:
    """What predicts each token of the flat batch, and the token."""
    found: dict[int, tuple[int, ...]] = {}
    for row in plain(rows):
        for place in row.places:
            for i in range(place.count):
                assert place.flat + i not in found
                found[place.flat + i] = row.ids[: place.column + i + 1]
    return found


@pytest.mark.parametrize("seed", range(60))
def test_no_token_is_lost_or_reads_anything_else(seed: int) -> None:
    rng = random.Random(seed)
    rows: list[Row] = []
    for group in range(3):
        flat = sum(p.count for r in rows for p in r.places)
        rows += family(rng, rng.randrange(1, 6), group, flat)
    together = with_siblings(rows, 10_000, CHEAP)
    assert contexts(together) == contexts(rows)
    assert len(together) == len({r.family for r in rows})
    assert sum(len(r.ids) for r in together) < sum(len(r.ids) for r in rows) or len(rows) == 3
    for row in together:  # each token's context is read in its own piece: nothing before the fork is predicted there
        for place in row.places:
            for b in row.branches:
                assert not b.start <= place.column <= b.start


@pytest.mark.parametrize("memory", ["full", "last"])
@pytest.mark.parametrize("tokenizer", ["compact", "unigram-llama"])
def test_log_probs_and_gradient_are_those_of_rows_of_their_own(tokenizer: str, memory: str) -> None:
    played = Played(tokenizer, memory=memory, siblings=4)
    rows, total = student_rows(played.trajectories), token_count(played.trajectories)
    together = with_siblings(rows, 100_000, CHEAP)
    assert sum(len(r.ids) for r in together) < 0.8 * sum(len(r.ids) for r in rows)
    weights, found = torch.linspace(-1, 1, total) / total, []
    for some in (rows, together):
        played.policy.model.zero_grad()
        logp = torch.full((total,), float("nan"))
        for batch in micro_batches(some, 3000, masks=True):
            scored, flat = played.learner.tokens(packed, batch), places(batch)[2]
            (weights[flat] * scored.logp).sum().backward()
            logp[flat] = scored.logp.detach()
        found.append((logp, torch.cat([p.grad.flatten() for p in played.policy.model.parameters()])))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-5, rtol=0)


def alike(common: int, count: int) -> list[Row]:
    """Rows of 240 columns with a token sampled near the end; the first two are siblings with `common` columns."""
    tails = [tuple(range(300 + n, 300 + n + 240)) for n in range(count)]
    tails[1] = tails[0][:common] + tails[1][common:]
    place = Place(column=230, flat=0, count=1)
    return [Row(ids=t, places=(replace(place, flat=n),), family=max(n, 1)) for n, t in enumerate(tails)]


def test_rows_are_joined_only_where_it_is_cheaper() -> None:
    """A mask over both pairs them all; blocks leave out what no token sees."""
    rows = alike(80, 2)
    assert len(with_siblings(rows, 10_000, Cost(token=300.0, pair=1.0, blocks=False))) == 2
    assert len(with_siblings(rows, 10_000, Cost(token=300.0, pair=1.0, blocks=True))) == 1
    assert len(with_siblings(rows, 10_000, Cost(token=4000.0, pair=1.0, blocks=False))) == 1


def test_rows_stay_as_they_are_if_joining_saves_too_little() -> None:
    """80 columns of 480 pay, of 2,400 not: the other rows would get a mask too."""
    assert len(with_siblings(alike(80, 2), 10_000, CHEAP)) == 1
    assert with_siblings(alike(80, 10), 10_000, CHEAP) == alike(80, 10)


def test_no_joined_row_is_longer_than_a_micro_batch() -> None:
    rows = family(random.Random(2), 6, 0, 0)
    longest = max(len(r.ids) for r in rows)
    assert all(len(r.ids) <= longest + 12 for r in with_siblings(rows, longest + 12, CHEAP))
    assert contexts(with_siblings(rows, longest - 1, CHEAP)) == contexts(rows)


def test_rows_without_a_family_and_with_branches_stay_as_they_are() -> None:
    alone = [Row(ids=r.ids, places=r.places) for r in family(random.Random(3), 3, 0, 0)]
    assert with_siblings(alone, 10_000, CHEAP) == alone
    joined = with_siblings(family(random.Random(4), 3, 0, 0), 10_000, CHEAP)
    assert joined[0].branches
    assert with_siblings(joined, 10_000, CHEAP) == joined


def test_the_learner_feeds_what_siblings_share_once() -> None:
    """One update with and without `prefix_sharing`: equal weights after it, fewer tokens fed."""
    fed, after = [], []
    for share in (False, True):
        played = Played("compact", siblings=4)
        settings = LearnerConfig.model_validate({"lr": 1e-3, "prefix_sharing": share})
        learner = Learner(played.policy, settings, temperature=1.0)
        learner._cost = CHEAP if share else learner._cost
        total = token_count(played.trajectories)
        weights = torch.linspace(-1, 1, total) / total
        stats = learner.update(
            student_rows(played.trajectories), lambda part, weights=weights: (weights[part.flat] * part.logp).sum()
        )
        assert stats.tokens == total
        fed.append(learner.forwarded)
        after.append(torch.cat([p.detach().flatten() for p in learner.model.parameters()]))
    assert fed[1] < 0.8 * fed[0]
    torch.testing.assert_close(after[1], after[0], atol=1e-5, rtol=0)


def test_siblings_that_do_not_fit_together_become_rows_in_half_the_columns_with_whole_turns() -> None:
    """A row that shares much becomes many times its columns, were it only cut in two; GSPO reads whole turns."""
    played, after, sizes = Played("compact", tasks=1, siblings=6), [], list[int]()
    total, turn = token_count(played.trajectories), token_batch(played.groups).turn
    weights = torch.linspace(-1, 1, total) / total

    def loss(part: TokenSlice) -> torch.Tensor:
        here, everywhere = (torch.bincount(t, minlength=int(turn.max()) + 1) for t in (turn[part.flat], turn))
        assert torch.equal(here[here > 0], everywhere[here > 0])
        return (weights[part.flat] * part.logp).sum()

    def narrow(_: object, __: tuple, named: dict[str, torch.Tensor]) -> None:
        sizes.append(named["input_ids"].numel())
        if sizes[-1] >= sizes[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    for fits in (True, False):
        learner = Learner(played.policy, LearnerConfig(micro_batch_tokens=10**5), temperature=1.0)
        learner._cost = CHEAP
        hook = None if fits else split_head(learner.model)[0].register_forward_pre_hook(narrow, with_kwargs=True)
        before = {k: v.clone() for k, v in learner.weights().items()}
        stats = learner.update(student_rows(played.trajectories), loss)
        assert (stats.splits, stats.tokens) == (0 if fits else 1, total)
        after.append(torch.cat([p.grad.flatten() for p in learner.model.parameters()]))
        learner.load(before, {}, {})
        if hook is not None:
            hook.remove()
    torch.testing.assert_close(after[1], after[0], atol=1e-5, rtol=0)
    longest = max(len(r.ids) for r in student_rows(played.trajectories))
    assert max(sizes[1:]) <= max(longest, sizes[0] // 2)


def test_where_attention_keeps_all_pairs_no_micro_batch_has_more_of_them_than_plain_rows_would() -> None:
    """Memory of eager attention: what fitted into it before siblings were joined fits now."""
    played, seen = Played("compact", tasks=1, siblings=8), list[list[torch.Size]]()
    played.policy.model.set_attn_implementation("eager")
    rows, total = student_rows(played.trajectories), token_count(played.trajectories)
    limit = 2 * max(len(r.ids) for r in rows)

    def count(_: object, __: tuple, named: dict[str, torch.Tensor]) -> None:
        seen[-1].append(named["input_ids"].shape)

    hook = split_head(played.policy.model)[0].register_forward_pre_hook(count, with_kwargs=True)
    for share in (False, True):
        settings = LearnerConfig(micro_batch_tokens=limit, prefix_sharing=share)
        learner = Learner(played.policy, settings, temperature=1.0)
        learner._cost = CHEAP if share else None
        seen.append([])
        learner.update(rows, lambda part: part.logp.sum() / total)
    hook.remove()
    plain_rows, together = seen
    assert max(b * n * n for b, n in together) <= max(b * n * n for b, n in plain_rows)
    assert sum(b * n for b, n in together) < 0.8 * sum(b * n for b, n in plain_rows)


def test_joined_rows_are_padded_little_and_others_get_no_mask() -> None:
    """Short rows beside a wide one would cost its width, and all of its pairs of columns."""
    rows = [Row(ids=(1,) * n, places=(Place(column=n - 1, flat=n, count=1),)) for n in (600, 610, 2000)]
    joined = [
        replace(r, ids=r.ids + (2,) * n, branches=(Branch(start=600, stop=600 + n, fork=500),))
        for r, n in zip([rows[0]] * 4, (3000, 2990, 1200, 100))
    ]
    batches = micro_batches([*joined, *rows], 16_384, masks=True, at_once=True)
    assert [[len(r.ids) for r in b] for b in batches] == [[2000, 610, 600], [3600, 3590], [1800], [700]]
    assert not any(r.branches for r in batches[0])
