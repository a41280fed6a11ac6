"""Flash attention: hindsight in variable-length calls over the prefixes' keys, with stand-ins for the packages."""

from __future__ import annotations

import copy
import re
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import modeling_flash_attention_utils

from rlsd.harness.config import LearnerConfig
from rlsd.harness.scoring import spliced
from rlsd.harness.scoring.fit import fit_learner
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import joint_rows
from rlsd.harness.scoring.tables import token_count
from rlsd.harness.scoring.token_model import TokenModel, joined, packed, plain
from tests.harness.scoring.test_long_rows import insertions_of
from tests.support.worlds import Played


class Package:
    """What a flash attention package computes, on a CPU.

    Args:
        version: 2 takes a dropout, 3 does not; 3 returns the sums of its softmax too.
        last: the causal mask is aligned to the last query and key, as of version 2.1; else to the first.
    """

    def __init__(self, version: int, *, last: bool = True) -> None:
        self.last = last
        self.calls = 0

        def second(q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, **given: Any) -> Tensor:
            assert dropout_p == 0.0
            return self._attend(q, k, v, **given)

        def second_of_lengths(
            q: Tensor,
            k: Tensor,
            v: Tensor,
            cu_seqlens_q: Tensor,
            cu_seqlens_k: Tensor,
            max_seqlen_q: int,
            max_seqlen_k: int,
            dropout_p: float = 0.0,
            softmax_scale: float | None = None,
            causal: bool = False,
        ) -> Tensor:
            assert dropout_p == 0.0
            return self._pieces(
                q, k, v, cu_seqlens_q, cu_seqlens_k, (max_seqlen_q, max_seqlen_k), causal, softmax_scale
            )

        def third(q: Tensor, k: Tensor, v: Tensor, **given: Any) -> tuple[Tensor, None]:
            return self._attend(q, k, v, **given), None

        def third_of_lengths(
            q: Tensor,
            k: Tensor,
            v: Tensor,
            cu_seqlens_q: Tensor,
            cu_seqlens_k: Tensor,
            max_seqlen_q: int,
            max_seqlen_k: int,
            seqused_q: None = None,
            softmax_scale: float | None = None,
            causal: bool = False,
        ) -> tuple[Tensor, None]:
            sizes = (max_seqlen_q, max_seqlen_k)
            return self._pieces(q, k, v, cu_seqlens_q, cu_seqlens_k, sizes, causal, softmax_scale), None

        module = ModuleType("flash_attn" if version == 2 else "flash_attn_interface")
        module.flash_attn_func = second if version == 2 else third  # type: ignore[attr-defined]
        module.flash_attn_varlen_func = second_of_lengths if version == 2 else third_of_lengths  # type: ignore[attr-defined]
        module.flash_attn_with_kvcache = None  # type: ignore[attr-defined]
        padding = ModuleType("flash_attn.bert_padding")
        padding.pad_input = padding.unpad_input = None  # type: ignore[attr-defined]
        self.modules = {module.__name__: module, **({padding.__name__: padding} if version == 2 else {})}

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool, softmax_scale: float | None) -> Tensor:
        """(B, T, H, D) of the same lengths."""
        self.calls += 1
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = scaled_dot_product_attention(q, k, v, scale=softmax_scale, is_causal=causal, enable_gqa=True)
        return out.transpose(1, 2)

    def _pieces(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        ends_q: Tensor,
        ends_k: Tensor,
        longest: tuple[int, int],
        causal: bool,
        scale: float | None,
    ) -> Tensor:
        """(N, H, D) of sequences end to end."""
        self.calls += 1
        assert causal
        sizes = [ends.diff().tolist() for ends in (ends_q, ends_k)]
        assert tuple(map(int, longest)) == (max(sizes[0]), max(sizes[1]))
        parts = []
        for a, b, c in zip(q.split(sizes[0]), k.split(sizes[1]), v.split(sizes[1]), strict=True):
            seen = torch.ones(len(a), len(b), dtype=torch.bool).tril(len(b) - len(a) if self.last else 0)
            a, b, c = (x.transpose(0, 1) for x in (a, b, c))
            parts.append(scaled_dot_product_attention(a, b, c, attn_mask=seen, scale=scale, enable_gqa=True))
        return torch.cat(parts, 1).transpose(0, 1)


def installed(version: int, monkeypatch: pytest.MonkeyPatch, **settings: bool) -> tuple[str, Package]:
    """The name of an implementation whose package is a stand-in; transformers calls it as it calls the real one."""
    package = Package(version, **settings)
    for name, module in package.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)
    monkeypatch.setattr(modeling_flash_attention_utils, "is_flash_attn_2_available", lambda: True)
    return f"flash_attention_{version}", package


@pytest.mark.parametrize("version", [2, 3])
def test_hindsight_over_shared_prefixes_gives_the_log_probs_of_plain_rows(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played("compact", siblings=3)
    total = token_count(played.trajectories)
    rows = joint_rows(played.trajectories, insertions_of(played))
    model = copy.deepcopy(played.policy.model)
    want = Scorer(TokenModel(model, temperature=1.0), LearnerConfig(), played.learner.ranks).logprobs(
        plain(rows), 2 * total
    )
    model.config._attn_implementation, package = installed(version, monkeypatch)
    found = Scorer(TokenModel(model, temperature=1.0, masks=False), LearnerConfig(), played.learner.ranks)
    apart = Scorer(found.model, LearnerConfig(prefix_sharing=False), played.learner.ranks)
    a = found.logprobs(rows, 2 * total)
    for b in (want, apart.logprobs(rows, 2 * total)):
        torch.testing.assert_close(a.logp, b.logp, atol=1e-5, rtol=0)
        torch.testing.assert_close(a.entropy, b.entropy, atol=1e-5, rtol=0)
    fed = [sum(scorer.forwarded.values()) for scorer in (found, apart)]
    assert fed[0] == sum(len(r.ids) - len(r.branches) for r in rows) < fed[1] / 2, "no prefix is read twice"
    assert package.calls > 0


@pytest.mark.parametrize("version", [2, 3])
def test_packed_rows_give_the_gradient_of_rows_alone(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played("compact", siblings=3)
    rows = plain(joint_rows(played.trajectories, insertions_of(played)))[:6]
    total = sum(place.count for row in rows for place in row.places)
    want = copy.deepcopy(played.policy.model)
    alone = sum(packed(TokenModel(want, temperature=1.0), [row]).logp.sum() for row in rows)
    model = copy.deepcopy(played.policy.model)
    model.config._attn_implementation, package = installed(version, monkeypatch)
    (row,) = joined(rows, sum(len(r.ids) for r in rows))
    found = packed(TokenModel(model, temperature=1.0, masks=False), [row]).logp
    assert len(found) == total
    assert package.calls > 0
    torch.testing.assert_close(found.sum(), alone, atol=1e-3, rtol=1e-5)
    (found.sum() / total).backward()
    (alone / total).backward()
    for mine, theirs in zip(model.parameters(), want.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def test_calls_hold_as_many_branches_as_their_keys_allow() -> None:
    played = Played("compact", siblings=3)
    rows = joint_rows(played.trajectories, insertions_of(played)) * 6
    calls = list(spliced._calls(rows))
    sizes = [sum(b.fork + b.stop - b.start - 1 for _, b in call) for call in calls]
    assert len(calls) > 1
    assert max(sizes) <= spliced.LEAST_KEYS
    assert [b for call in calls for _, b in call] == [b for r in rows for b in r.branches]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("last", "note"), [(True, None), (False, r"up to \S+ nats off")])
def test_it_is_tried_at_the_start_and_done_without_if_it_is_wrong(
    version: int, last: bool, note: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older kernel's branches would not see their prefix."""
    model = copy.deepcopy(Played("compact", tasks=1, siblings=1).policy.model)
    model.config._attn_implementation, _ = installed(version, monkeypatch, last=last)
    fit = fit_learner(model, LearnerConfig(), context=128)
    assert not fit.masks
    assert fit.settings.prefix_sharing == (note is None)
    assert [bool(re.search(note or "", line)) for line in fit.notes] == ([] if note is None else [True])
