"""Flash attention: hindsight in variable-length calls over the prefixes' keys, with a stand-in for the kernel."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rlsd.harness.config import LearnerConfig
from rlsd.harness.scoring import spliced
from rlsd.harness.scoring.fit import fit_learner
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import joint_rows
from rlsd.harness.scoring.tables import token_count
from rlsd.harness.scoring.token_model import TokenModel, plain
from tests.harness.scoring.test_long_rows import insertions_of
from tests.support.worlds import Played


def kernel(_: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **given: Any) -> Any:
    """What flash attention computes of sequences end to end: causal, aligned to the last query and key."""
    assert mask is None, "it takes no mask"
    if given.get("cu_seq_lens_q") is None:
        out = scaled_dot_product_attention(query, key, value, scale=scaling, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2), None
    sizes = [given[name].diff().tolist() for name in ("cu_seq_lens_q", "cu_seq_lens_k")]
    assert (given["max_length_q"], given["max_length_k"]) == (max(sizes[0]), max(sizes[1]))
    parts = []
    for q, k, v in zip(query.split(sizes[0], 2), key.split(sizes[1], 2), value.split(sizes[1], 2), strict=True):
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        parts.append(scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling, enable_gqa=True))
    return torch.cat(parts, 2).transpose(1, 2), None


def aligned_to_the_first(*given: Any, **named: Any) -> Any:
    """An older kernel, whose causal mask is aligned to the first query and key: a branch would not see its prefix."""
    if named.get("cu_seq_lens_q") is None:
        return kernel(*given, **named)
    _, query, key, value, _, scaling = *given, named.pop("scaling", None)
    sizes = [named[name].diff().tolist() for name in ("cu_seq_lens_q", "cu_seq_lens_k")]
    parts = [
        scaled_dot_product_attention(q, k, v, scale=scaling, is_causal=True, enable_gqa=True)
        for q, k, v in zip(query.split(sizes[0], 2), key.split(sizes[1], 2), value.split(sizes[1], 2))
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


AttentionInterface.register("flash_stand_in", kernel)
AttentionInterface.register("flash_aligned_to_the_first", aligned_to_the_first)


def test_hindsight_over_shared_prefixes_gives_the_log_probs_of_plain_rows() -> None:
    played = Played("compact", siblings=3)
    total = token_count(played.trajectories)
    rows = joint_rows(played.trajectories, insertions_of(played))
    model = copy.deepcopy(played.policy.model)
    want = Scorer(TokenModel(model, temperature=1.0), LearnerConfig(), played.learner.ranks).logprobs(
        plain(rows), 2 * total
    )
    model.config._attn_implementation = "flash_stand_in"
    found = Scorer(TokenModel(model, temperature=1.0, masks=False), LearnerConfig(), played.learner.ranks)
    apart = Scorer(found.model, LearnerConfig(prefix_sharing=False), played.learner.ranks)
    a = found.logprobs(rows, 2 * total)
    for b in (want, apart.logprobs(rows, 2 * total)):
        torch.testing.assert_close(a.logp, b.logp, atol=1e-5, rtol=0)
        torch.testing.assert_close(a.entropy, b.entropy, atol=1e-5, rtol=0)
    fed = [sum(scorer.forwarded.values()) for scorer in (found, apart)]
    assert fed[0] == sum(len(r.ids) - len(r.branches) for r in rows) < fed[1] / 2, "no prefix is read twice"


def test_calls_hold_as_many_branches_as_their_keys_allow() -> None:
    played = Played("compact", siblings=3)
    rows = joint_rows(played.trajectories, insertions_of(played)) * 6
    calls = list(spliced._calls(rows))
    sizes = [sum(b.fork + b.stop - b.start - 1 for _, b in call) for call in calls]
    assert len(calls) > 1
    assert max(sizes) <= spliced.LEAST_KEYS
    assert [b for call in calls for _, b in call] == [b for r in rows for b in r.branches]


@pytest.mark.parametrize(
    ("attention", "note"), [("flash_stand_in", None), ("flash_aligned_to_the_first", r"up to \S+ nats off")]
)
def test_it_is_tried_at_the_start_and_done_without_if_it_is_wrong(attention: str, note: str | None) -> None:
    model = copy.deepcopy(Played("compact", tasks=1, siblings=1).policy.model)
    model.config._attn_implementation = attention
    fit = fit_learner(model, LearnerConfig(), context=128)
    assert not fit.masks
    assert fit.settings.prefix_sharing == (note is None)
    assert [bool(re.search(note or "", line)) for line in fit.notes] == ([] if note is None else [True])
