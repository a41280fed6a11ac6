"""Masks as tables of blocks: they hide what the table of all pairs hides, and FlexAttention's reference agrees."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask, flex_attention
from transformers import AttentionInterface

from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.parallel import check_flex
from rlsd.harness.scoring.masks import BLOCK, block_mask, collate
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import Branch, Place, Row
from rlsd.harness.scoring.token_model import TokenModel, apart, joined, plain
from tests.support.worlds import Played

CPU = torch.device("cpu")


def row(prefix: int, branches: list[tuple[int, int]], *, first: int = 0) -> Row:
    """A row with branches of (fork, length); the last two tokens of each piece are sampled ones."""
    rng, stop = random.Random(prefix), prefix
    places = [Place(column=prefix - 2, flat=first, count=2)]
    made: list[Branch] = []
    for fork, length in branches:
        made.append(Branch(start=stop, stop=stop + length, fork=fork))
        stop += length
        places.append(Place(column=stop - 2, flat=first + 2 * len(made), count=2))
    ids = tuple(rng.randrange(5, 300) for _ in range(stop))
    return Row(ids=ids, places=tuple(places), branches=tuple(made))


ROWS = [row(300, [(20, 40), (128, 130), (300, 9)]), row(150, [(7, 200)], first=8)]


@pytest.mark.parametrize("rows", [ROWS, joined(plain(ROWS), 700), plain(ROWS), [row(BLOCK, [])]])
def test_blocks_hide_what_the_table_of_all_pairs_hides(rows: list[Row]) -> None:
    blocks, width = block_mask(rows, CPU), max(len(r.ids) for r in rows)
    seen = collate(rows)[2]
    if seen is None:
        seen = torch.ones(len(rows), 1, width, width, dtype=torch.bool).tril()
    found = create_mask(blocks.mask_mod, len(rows), 1, width, width, device="cpu")
    for b, one in enumerate(rows):
        real = len(one.ids)
        assert torch.equal(found[b, 0, :real, :real], seen[b, 0, :real, :real])
    count = -(-width // BLOCK)
    padded = torch.zeros(len(rows), count * BLOCK, count * BLOCK, dtype=torch.bool)
    padded[:, :width, :width] = found[:, 0]
    tiles = padded.view(len(rows), count, BLOCK, count, BLOCK)
    some = tiles.any(4).any(2)
    padded[:, width:] = True  # no query is there
    whole = tiles.all(4).all(2)
    read = blocks.to_dense()[:, 0].bool()
    assert bool((read >= some).all()), "no visible key is in a block that is not read"
    assert blocks.full_kv_indices is not None
    assert blocks.full_kv_num_blocks is not None
    for b, i in ((b, i) for b in range(len(rows)) for i in range(count)):
        full = blocks.full_kv_indices[b, 0, i, : blocks.full_kv_num_blocks[b, 0, i]].tolist()
        assert bool(whole[b, i, full].all()), "no hidden key is in a block that is read without looking at it"


def test_a_branch_reads_no_blocks_between_its_fork_and_itself() -> None:
    read = block_mask([row(3 * BLOCK, [(20, 300)])], CPU).to_dense()[0, 0]
    assert read.tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [1, 0, 0, 1, 1, 1],
    ]


def reference(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float, **_: Any) -> Any:
    """FlexAttention's own implementation without a kernel."""
    return flex_attention(query, key, value, block_mask=mask, scale=scaling).transpose(1, 2), None  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_model_with_flex_attention_gives_the_log_probs_of_plain_rows() -> None:
    AttentionInterface.register("flex_reference", reference)
    played = Played("compact", tasks=1, siblings=1)
    model = copy.deepcopy(played.policy.model)
    want = Scorer(TokenModel(model, temperature=1.0), LearnerConfig(), played.learner.ranks).logprobs(plain(ROWS), 12)
    model.set_attn_implementation("flex_reference")
    tokens = TokenModel(model, temperature=1.0, largest_mask=100)
    assert tokens.blocks
    assert apart(tokens, ROWS) == ROWS, "rows of any length stay whole"
    found = Scorer(tokens, LearnerConfig(), played.learner.ranks).logprobs(ROWS, 12)
    torch.testing.assert_close(found.logp, want.logp, atol=1e-5, rtol=0)
    assert not bool(want.logp.isnan().any())


def test_flex_attention_is_refused_where_it_has_no_backward_pass() -> None:
    with pytest.raises(ConfigError, match=r"flex_attention, which does not run on cpu here \(.*backward.*sdpa$"):
        check_flex(CPU)
    played = Played("compact", tasks=1, siblings=1)
    model = copy.deepcopy(played.policy.model)
    model.config._attn_implementation = "flex_attention"
    policy = type(played.policy)(model=model, tokenizer=None, eos_ids=frozenset(), context=64)
    with pytest.raises(ConfigError, match=r"set model\.attention=sdpa"):
        Learner(policy, LearnerConfig(), temperature=1.0)
