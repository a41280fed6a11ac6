"""Scoring with sharded weights where the processes' rows need different numbers of passes; run by torchrun, tells the
largest differences from unsharded scoring as one line of JSON.

python -m torch.distributed.run --nproc_per_node 2 -m tests.support.sharded_scoring
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import torch

from rlsd.agents.hf.kv_cache import LARGEST_MASK
from rlsd.harness.config import LearnerConfig
from rlsd.harness.distributed import Ranks, open_ranks
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.learner.learner import Learner
from rlsd.harness.scoring import prefix_cache
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import Row, joint_rows, numbered_from, student_rows
from rlsd.harness.scoring.tables import token_count
from tests.support.worlds import Played


def scored(played: Played, rows: list[Row], total: int, ranks: Ranks, **settings: Any) -> tuple[torch.Tensor, Any]:
    learner = Learner(played.policy, LearnerConfig(micro_batch_tokens=1500, **settings), temperature=1.0, ranks=ranks)
    scorer = Scorer(learner.tokens, learner.settings, learner.ranks)
    return scorer.logprobs(rows, total).logp, scorer.forwarded


def main() -> None:
    ranks = open_ranks("cpu", processes=2, timeout_s=300)
    played = Played("compact", memory="full", siblings=3)
    settings = HintSettings(contexts=("plan",), max_tokens=400)
    insertions = Hinter(settings, played.format, context=4096, max_new_tokens=8).build(played.groups).insertions
    total = token_count(played.trajectories)
    hinted = joint_rows(played.trajectories, numbered_from(total, played.trajectories, insertions))
    bare = student_rows(played.trajectories)[-1:]  # one row: no common beginning, no branches
    found = []
    for mine in ([hinted, bare][ranks.rank], [bare, hinted][ranks.rank], hinted, []):
        want, counted = (
            scored(played, mine, 2 * total, Ranks()) if mine else (torch.full((2 * total,), torch.nan), Counter())
        )
        got, forwarded = scored(played, mine, 2 * total, ranks, parallel="fsdp2", processes=2)
        assert bool((got.isnan() == want.isnan()).all())
        rows = sorted(mine, key=lambda r: -len(r.branches))
        found.append(
            {
                "apart": float((got - want).abs().nan_to_num().max()),
                "passes": prefix_cache.passes(rows, None, LARGEST_MASK) if rows else 0,
                "beginnings": len(prefix_cache.beginnings(rows)),
                "as_many_tokens": all(forwarded[kind] == counted[kind] for kind in ("student", "teacher", "prefix")),
            }
        )
    everybody = ranks.gather(found)
    if ranks.main:
        print(json.dumps(everybody))
    ranks.close()


if __name__ == "__main__":
    main()
