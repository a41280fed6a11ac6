"""Rows too long for a mask of all pairs of columns: the same log-probs and gradients, and memory in proportion."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rlsd.harness.config import LearnerConfig, RunConfig
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.step import LossFn
from rlsd.harness.plan.episodes import Longest
from rlsd.harness.plan.passes import Passes
from rlsd.harness.plan.shapes import without_values
from rlsd.harness.scoring import prefix_cache
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import Branch, Insertion, Place, Row, joint_rows, numbered_from, student_rows
from rlsd.harness.scoring.tables import token_count
from rlsd.harness.scoring.token_model import TokenModel, apart, joined, micro_batches, plain
from tests.support.worlds import Played

FEW = 3000
"""Entries of the largest mask here."""


@pytest.fixture(scope="module")
def played() -> Played:
    return Played("compact", siblings=3)


def insertions_of(played: Played) -> dict[tuple[int, int], Insertion]:
    hinter = Hinter(HintSettings(contexts=("plan",), max_tokens=400), played.format, context=4096, max_new_tokens=8)
    return numbered_from(token_count(played.trajectories), played.trajectories, hinter.build(played.groups).insertions)


class Masks:
    """Counts the entries of every mask that a model's backbone is given."""

    def __init__(self, model: Any) -> None:
        self.entries: list[int] = []
        self._hook = model.model.register_forward_pre_hook(self._seen, with_kwargs=True)

    def __enter__(self) -> Masks:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _seen(self, _: Any, __: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        self.entries.append(0 if mask is None else mask.numel())


def scorer_of(played: Played, largest: int, **settings: Any) -> Scorer:
    tokens = TokenModel(played.policy.model, temperature=1.0, largest_mask=largest)
    return Scorer(tokens, LearnerConfig(**settings), played.learner.ranks)


@pytest.mark.parametrize("sharing", [True, False])
def test_scoring_makes_no_larger_mask_and_gives_the_same_log_probs(played: Played, sharing: bool) -> None:
    total, rows = token_count(played.trajectories), joint_rows(played.trajectories, insertions_of(played))
    assert prefix_cache.beginnings(rows), "the prefixes' own pass needs a mask too"
    want = scorer_of(played, 2**26, prefix_sharing=False).logprobs(plain(rows), 2 * total)
    with Masks(played.policy.model) as masks:
        scorer_of(played, 2**26, prefix_sharing=sharing).logprobs(rows, 2 * total)
    assert max(masks.entries) > 20 * FEW, "without the limit there are masks that large"
    with Masks(played.policy.model) as masks:
        found = scorer_of(played, FEW, prefix_sharing=sharing).logprobs(rows, 2 * total)
    assert max(masks.entries) <= FEW
    assert (max(masks.entries) > 0) == sharing, "plain rows need none"
    torch.testing.assert_close(found.logp, want.logp, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.entropy, want.entropy, atol=1e-5, rtol=0)


def test_passes_are_as_many_as_were_foretold(played: Played) -> None:
    """With sharded weights the processes agree on their number before they start."""
    rows = joint_rows(played.trajectories, insertions_of(played))
    for largest in (FEW, 10 * FEW, 2**26):
        scorer = scorer_of(played, largest)
        starts = scorer._beginnings(scorer.model, rows)
        for some in (starts, None):
            with torch.no_grad(), Masks(played.policy.model) as masks:
                scorer.model(prefix_cache.shared, rows, some)
            count = prefix_cache.passes(rows, some, largest)
            assert len(masks.entries) == count
            with torch.no_grad(), Masks(played.policy.model) as masks:
                scorer.model(prefix_cache.shared, rows, some, count + 3)
            assert len(masks.entries) == count + 3


@pytest.mark.parametrize("packing", [True, False])
def test_updates_make_no_larger_mask_and_take_the_same_step(played: Played, packing: bool) -> None:
    """With packing the student view alone, as the learner trains it; else with branches, as a warm start does."""
    total = token_count(played.trajectories)
    both = joint_rows(played.trajectories, insertions_of(played))
    rows = student_rows(played.trajectories) if packing else both
    weights = torch.linspace(-1, 1, 2 * total) / total

    def loss(part: Any) -> Tensor:
        return (weights[part.flat] * part.logp).sum()

    found = []
    for largest in (2**26, 400**2):
        learner = Learner(
            played.policy, LearnerConfig.model_validate({"packing": packing, "lr": 1e-3}), temperature=1.0
        )
        learner.tokens.largest_mask = largest
        with Masks(played.policy.model) as masks:
            found.append(gradient(learner, rows, loss))
        assert (max(masks.entries) <= 400**2) == (largest == 400**2)
    assert float((found[1] - found[0]).abs().max() / found[0].abs().max()) < 1e-5


def gradient(learner: Learner, rows: list[Row], loss: LossFn) -> Tensor:
    before = {k: v.clone() for k, v in learner.weights().items()}
    learner.update(rows, loss)
    found = torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None])
    learner.load(before, {}, {})
    return found


def test_short_rows_stay_whole_and_batches_count_the_masks_of_all_rows(played: Played) -> None:
    def row(length: int) -> Row:
        places = (Place(column=length - 1, flat=0, count=1),)
        return Row(ids=(1,) * length, places=places, branches=(Branch(start=length - 3, stop=length, fork=2),))

    tokens = TokenModel(played.policy.model, temperature=1.0, largest_mask=100)
    assert tokens.longest_packed == 10
    assert apart(tokens, [row(10)]) == [row(10)]
    assert [len(r.ids) for r in apart(tokens, [row(11)])] == [2 + 3]
    eight = [row(5)] * 8
    assert [len(b) for b in micro_batches(eight, 1000, masks=True, largest_mask=100)] == [4, 4]
    assert [len(b) for b in micro_batches(eight, 1000, masks=True, largest_mask=None)] == [8]
    assert [len(b) for b in micro_batches(plain(eight), 1000, masks=True, largest_mask=100)] == [8]
    assert [len(r.ids) for r in joined(plain(eight), 10)] == [10] * 4


def test_memory_of_a_row_grows_with_its_length_and_not_with_its_square() -> None:
    """Counted on tensors without values, from 8,192 tokens to 65,536, with hindsight at every turn."""
    config = RunConfig.model_validate(
        {
            "model": {"tiny": {"layers": 1, "dim": 32, "heads": 2, "vocab": 300, "context": 2**18}},
            "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny"}},
            "learner": {"micro_batch_tokens": 64},
        }
    )
    mode, lengths = FakeTensorMode(), (2**13, 2**16)
    model = without_values(config, mode)
    for sharing in (True, False):
        settings = config.learner.model_copy(update={"prefix_sharing": sharing})
        peaks: list[dict[str, int]] = []
        for length in lengths:
            turns = length // 2048
            episode = Longest(row=length, turns=turns, turns_in_row=turns, response=64, hindsight=256)
            passes = Passes(model, settings, episode, temperature=1.0, masks=True)
            with mode:
                peaks.append(
                    {
                        "student": passes.scoring(hindsight=False).peak,
                        "both": passes.scoring(hindsight=True).peak,
                        "update": passes.update().peak,
                        "warm start": passes.update(imitates=True).peak,
                    }
                )
        for name, short in peaks[0].items():
            exponent = math.log(peaks[1][name] / short) / math.log(lengths[1] / lengths[0])
            assert 0.8 < exponent < 1.1, (sharing, name, exponent)
