"""The learner: what may not make a difference, and what happens when memory or numbers run out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlsd.agents.hf.models import split_head
from rlsd.agents.hf.out_of_memory import MemoryFull
from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.step import LossError, LossFn, TokenSlice
from rlsd.harness.scoring import prefix_cache
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import (
    Row,
    distinct,
    fill_in,
    flat_offsets,
    joint_rows,
    numbered_from,
    student_rows,
    teacher_rows,
)
from rlsd.harness.scoring.tables import token_count
from rlsd.harness.scoring.token_model import joined, micro_batches, plain
from tests.support.worlds import Played


def learner_of(played: Played, **settings: object) -> Learner:
    return Learner(played.policy, LearnerConfig.model_validate({"lr": 1e-3, **settings}), temperature=1.0)


def scorer_of(played: Played, **settings: object) -> Scorer:
    learner = learner_of(played, **settings)
    return Scorer(learner.tokens, learner.settings, learner.ranks)


def insertions_of(played: Played, *contexts: str) -> dict:
    settings = HintSettings(contexts=contexts, max_tokens=400)
    return Hinter(settings, played.format, context=4096, max_new_tokens=8).build(played.groups).insertions


def gradient(learner: Learner, rows: Sequence[Row], loss: LossFn) -> Tensor:
    """Of one update's loss; the step itself is undone."""
    before = {k: v.clone() for k, v in learner.weights().items()}
    learner.update(rows, loss)
    found = torch.cat([p.grad.flatten() for p in learner.model.parameters()])
    learner.load(before, {}, {})
    return found


def weighted(played: Played) -> LossFn:
    """A loss whose token weights differ in size and sign; its gradient stays below the clip."""
    weights = torch.linspace(-1, 1, token_count(played.trajectories)) / token_count(played.trajectories)
    return lambda part: (weights[part.flat] * part.logp).sum() * 1e-3


@pytest.mark.parametrize("memory", ["full", "last"])
def test_every_way_of_scoring_gives_the_same_log_probs(memory: str) -> None:
    played = Played("compact", memory=memory, siblings=3)
    total, trajectories = token_count(played.trajectories), played.trajectories
    hints = numbered_from(total, trajectories, insertions_of(played, "plan"))
    for rows in (
        student_rows(trajectories),
        joint_rows(trajectories, hints),
        teacher_rows(trajectories, insertions_of(played, "demonstration", "unmet_goals")),
    ):
        want = scorer_of(played, prefix_sharing=False, micro_batch_tokens=64).logprobs(plain(rows), 2 * total).logp
        shared = scorer_of(played, micro_batch_tokens=1000)
        for variant, scorer in (
            (rows, scorer_of(played, prefix_sharing=False)),
            (rows, shared),
            (joined(plain(rows), 1000), scorer_of(played, prefix_sharing=False)),
        ):
            found = scorer.logprobs(variant, 2 * total).logp
            torch.testing.assert_close(found, want, atol=1e-5, rtol=0, equal_nan=True)
    assert int((~want.isnan()).sum()) == total


def test_siblings_common_beginning_is_fed_once() -> None:
    """Counted tokens are those of the prefixes less what the family shares; the log-probs stay."""
    played = Played("compact", tasks=2, siblings=4)
    rows = student_rows(played.trajectories)
    total = token_count(played.trajectories)
    found = prefix_cache.beginnings(rows)
    assert len(found) == 2
    assert min(len(ids) for ids in found.values()) >= prefix_cache.LEAST_BEGINNING
    shared, apart = scorer_of(played), scorer_of(played, prefix_sharing=False)
    a = shared.logprobs(rows, total).logp
    b = apart.logprobs(rows, total).logp
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    common = sum(len(ids) for ids in found.values())
    assert shared.forwarded["prefix"] == common
    assert apart.forwarded["student"] == sum(len(r.ids) for r in rows) == shared.forwarded["student"] + 4 * common


def test_a_view_that_siblings_share_is_read_once() -> None:
    """Temperature 0 makes all siblings alike, so one of three is left, and copies give the others' log-probs."""
    played = Played("compact", tasks=1, siblings=3, temperature=0.0)
    total = token_count(played.trajectories)
    insertions = insertions_of(played, "plan")
    kept, copies = distinct(played.trajectories, insertions)
    assert len(insertions) == 3 * len(kept) == 3 * len(played.trajectories[0].turns)
    scorer = scorer_of(played)
    want = scorer.logprobs(teacher_rows(played.trajectories, insertions), total).logp
    found = scorer.logprobs(teacher_rows(played.trajectories, kept), total).logp
    assert bool(found[flat_offsets(played.trajectories)[1][0] :].isnan().all())
    torch.testing.assert_close(fill_in(found, copies), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [{"packing": True}, {"gradient_checkpointing": True}, {"micro_batch_tokens": 64}])
def test_gradient_does_not_depend_on_how_it_is_computed(settings: dict) -> None:
    """Relative to the largest element: 1e-5, for one row at a time, rows end to end, and recomputed layers."""
    played = Played("compact", siblings=3)
    rows, loss = student_rows(played.trajectories), weighted(played)
    want = gradient(learner_of(played, micro_batch_tokens=10**6), rows, loss)
    found = gradient(learner_of(played, **settings), rows, loss)
    assert float(want.abs().max()) > 0
    assert float((found - want).abs().max() / want.abs().max()) < 1e-5


def test_gradient_does_not_depend_on_the_number_of_micro_batches() -> None:
    played = Played("compact", siblings=3)
    rows, loss, counts, found = student_rows(played.trajectories), weighted(played), set(), []
    for tokens in (64, 600, 1200, 10**6):
        learner = learner_of(played, micro_batch_tokens=tokens)
        counts.add(len(micro_batches(rows, tokens, masks=True)))
        found.append(gradient(learner, rows, loss))
    assert len(counts) >= 3
    assert {1, len(rows)} <= counts
    for other in found[1:]:
        assert float((other - found[0]).abs().max() / found[0].abs().max()) < 1e-5


def test_recomputed_layers_keep_less_and_stay_in_eval_mode() -> None:
    played = Played("compact")
    learner = learner_of(played, gradient_checkpointing=True)
    learner.update(student_rows(played.trajectories), weighted(played))
    assert not any(m.training for m in learner.tokens.modules())
    played.policy.model.config.attention_dropout = 0.1
    with pytest.raises(ConfigError, match="attention_dropout"):
        learner_of(played, gradient_checkpointing=True)


def test_bfloat16_is_close_and_leaves_the_weights_in_float32() -> None:
    played = Played("compact")
    rows, total = student_rows(played.trajectories), token_count(played.trajectories)
    low = learner_of(played, precision="bfloat16")
    a = Scorer(low.tokens, low.settings, low.ranks).logprobs(rows, total).logp
    b = scorer_of(played).logprobs(rows, total).logp
    assert a.dtype == torch.float32
    assert 0 < float((a - b).abs().max()) < 0.1
    low.update(rows, weighted(played))
    assert {p.dtype for p in low.weights().values()} == {torch.float32}


# ------------------------------------------------------------------ the step itself


def test_the_optimizer_gets_a_gradient_no_longer_than_the_clip() -> None:
    """After one step the first moment is (1 - beta) times the gradient that the optimizer got."""
    played = Played("compact")
    rows, loss = student_rows(played.trajectories), weighted(played)
    lengths = []
    for clip in (1e6, 1e-6):
        learner = learner_of(played, grad_clip=clip, betas=(0.5, 0.95))
        stats = learner.update(rows, loss)
        assert stats.grad_norm > 1e-5, "what is reported is the norm before the clip"
        moments, _ = learner.optimizer_state()
        first = [value.flatten() for name, value in moments.items() if name.endswith("/exp_avg")]
        lengths.append((float(torch.cat(first).norm()), stats.grad_norm))
    (whole, norm), (clipped, _) = lengths
    assert whole == pytest.approx(0.5 * norm, rel=1e-4)
    assert clipped == pytest.approx(0.5 * 1e-6, rel=1e-2)


def test_each_update_takes_the_learning_rate_of_its_own_number() -> None:
    """Adam's first step moves the weight with the largest gradient by the learning rate, here the first of warm-up."""
    played = Played("compact")
    rows, loss = student_rows(played.trajectories), weighted(played)
    learner = learner_of(played, lr={"peak": 1e-3, "warmup_updates": 4}, weight_decay=0.0)
    rates = []
    for number in (1, 2, 3, 4, 5):
        before = {k: v.clone() for k, v in learner.weights().items()}
        learner.update(rows, lambda part: 1e3 * loss(part))
        assert learner.updates == number
        rates.append(learner.optimizer.param_groups[0]["lr"])
        if number == 1:
            moved = max(float((v - before[k]).abs().max()) for k, v in learner.weights().items())
            assert moved == pytest.approx(0.25e-3, rel=1e-2)
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])


def test_a_weight_that_is_part_of_a_larger_tensor_is_trained_alone() -> None:
    """A CPU's fused kernel takes weights for contiguous, and would write into what lies between."""
    played = Played("compact")
    rows, loss = student_rows(played.trajectories), weighted(played)
    weight = played.policy.model.get_input_embeddings().weight
    start, moved = {k: v.detach().clone() for k, v in played.policy.model.named_parameters()}, []
    larger = torch.cat([weight.detach(), torch.full_like(weight, 7.0)], dim=1)
    for _ in range(2):
        learner = learner_of(played)
        learner.update(rows, loss)
        moved.append(torch.cat([v.flatten() for v in learner.weights().values()]))
        weight.data = larger[:, : weight.shape[1]]
        learner.load(start, {}, {})
    torch.testing.assert_close(moved[1], moved[0], atol=1e-6, rtol=0)
    assert bool((larger[:, weight.shape[1] :] == 7.0).all())


# ------------------------------------------------------------------ when numbers or memory run out


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_the_step(bad: float) -> None:
    played = Played("compact")
    learner, rows = learner_of(played), student_rows(played.trajectories)
    learner.update(rows, weighted(played))
    before, (moments, counts) = {k: v.clone() for k, v in learner.weights().items()}, learner.optimizer_state()
    moments = {k: v.clone() for k, v in moments.items()}
    with pytest.raises(LossError, match=r"update 2: the loss is (nan|-?inf).*no step was taken"):
        learner.update(rows, lambda part: part.logp.sum() * bad)
    assert all(torch.equal(before[k], v) for k, v in learner.weights().items())
    now, now_counts = learner.optimizer_state()
    assert now_counts == counts
    assert all(torch.equal(moments[k], v) for k, v in now.items())
    assert learner.updates == 1


def test_a_gradient_that_is_no_number_stops_before_the_step() -> None:
    played = Played("compact")
    learner = learner_of(played)
    before = {k: v.clone() for k, v in learner.weights().items()}
    with pytest.raises(LossError, match="gradient norm nan"):  # √0 is finite, its slope is not
        learner.update(student_rows(played.trajectories), lambda part: (part.logp * 0.0).sum().sqrt())
    assert all(torch.equal(before[k], v) for k, v in learner.weights().items())


class Small:
    """A loss that runs out of memory on more than `most` tokens, `times` times at most."""

    def __init__(self, loss: LossFn, most: int, times: int) -> None:
        self.loss, self.most, self.times = loss, most, times

    def __call__(self, part: TokenSlice) -> Tensor:
        if len(part.flat) > self.most and self.times:
            self.times -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.loss(part)


def test_a_micro_batch_that_does_not_fit_is_split_once() -> None:
    played = Played("compact", siblings=3)
    rows, loss = student_rows(played.trajectories), weighted(played)
    want = gradient(learner_of(played, micro_batch_tokens=10**6), rows, loss)
    learner = learner_of(played, micro_batch_tokens=10**6)
    most = max(sum(p.count for p in r.places) for r in rows) * (len(rows) + 1) // 2
    stats = learner.update(rows, Small(loss, min(most, token_count(played.trajectories) - 1), 1))
    assert stats.splits == 1
    assert stats.tokens == token_count(played.trajectories)
    found = torch.cat([p.grad.flatten() for p in learner.model.parameters()])
    assert float((found - want).abs().max() / want.abs().max()) < 1e-5


def test_halves_that_do_not_fit_either_are_one_clear_error() -> None:
    played = Played("compact")
    rows = student_rows(played.trajectories)
    learner = learner_of(played, micro_batch_tokens=10**6)
    before = {k: v.clone() for k, v in learner.weights().items()}
    with pytest.raises(MemoryFull, match=r"split once already"):
        learner.update(rows, Small(weighted(played), 0, 2))
    with pytest.raises(MemoryFull, match=r"micro-batch of 1 rows.*learner\.micro_batch_tokens"):
        learner.update(rows[:1], Small(weighted(played), 0, 1))
    assert all(torch.equal(before[k], v) for k, v in learner.weights().items())


class Narrow:
    """A model's forward hook: more than `most` rows at once do not fit."""

    def __init__(self, most: int) -> None:
        self.most, self.refused = most, 0

    def __call__(self, _: object, given: tuple, named: dict) -> None:
        if len(named["input_ids"]) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("share", [True, False])
def test_scoring_that_does_not_fit_is_split_until_it_does(share: bool) -> None:
    played = Played("compact", siblings=3)
    total = token_count(played.trajectories)
    rows = joint_rows(played.trajectories, numbered_from(total, played.trajectories, insertions_of(played, "plan")))
    scorer = scorer_of(played, micro_batch_tokens=10**6, prefix_sharing=share)
    want = scorer.logprobs(rows, 2 * total).logp
    for most in (2, 1, 0):
        narrow = Narrow(most)
        hook = split_head(played.policy.model)[0].register_forward_pre_hook(narrow, with_kwargs=True)
        try:
            if not most:
                with pytest.raises(
                    MemoryFull, match=r"scoring: a micro-batch of 1 rows.*lower learner\.micro_batch_tokens"
                ):
                    scorer.logprobs(rows[:1], 2 * total)
            elif share and len(prefix_cache.beginnings(rows)) > most:
                continue  # the common beginnings are one batch
            else:
                found = scorer.logprobs(rows, 2 * total).logp
                torch.testing.assert_close(found, want, atol=1e-5, rtol=0, equal_nan=True)
                assert narrow.refused > 0
        finally:
            hook.remove()


def test_settings_that_cannot_be_had_are_refused() -> None:
    played = Played("compact")
    with pytest.raises(ValidationError, match=r"cpu_offload needs learner\.parallel: fsdp2"):
        LearnerConfig(cpu_offload=True)
    with pytest.raises(ValidationError, match=r"liger needs learner\.device: cuda"):
        LearnerConfig(liger=True)
    with pytest.raises(ConfigError, match="ddp, but this process is alone"):
        learner_of(played, parallel="ddp")
    with pytest.raises(Exception, match=r"learner\.processes is 2, but 1 run together.*torchrun"):
        learner_of(played, processes=2)
