"""The teacher view scored by the sampling servers: token ids in, prompt log-probs out (`sampler.score_teacher`).

Both sides of Δ then come from the servers: the student view's log-probs are those the tokens were sampled with. The
learner scores a few episodes in both views to verify the servers.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import torch
from torch import Tensor

from rlsd.agents.types import SequenceScorer
from rlsd.algorithms import AlgorithmConfig, needs_teacher
from rlsd.harness.config import SamplerConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.hindsight.hints import Hints
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.scoring.logprob_gap import chosen
from rlsd.harness.scoring.sequences import distinct, fill_in, teacher_rows
from rlsd.harness.scoring.token_model import plain

KIND = "teacher_on_servers"
"""Name in `forwarded_tokens`; a server processes every row from its beginning, so nothing is shared."""


def serves_teacher(sampler: SamplerConfig, algorithm: AlgorithmConfig, step: int) -> bool:
    """Whether the servers score the teacher view in iteration `step`."""
    return sampler.score_teacher and needs_teacher(algorithm, step)


def served_logps(parts: Parts, trajectories: Sequence[Trajectory], hints: Hints, total: int) -> Tensor:
    """(M,) float32 log-probs of the teacher view; NaN for tokens that have no hindsight on this process.

    A view that siblings share is scored once. Processes that share layers divide their rows: no server is asked twice.

    Raises:
        SamplerError: a server cannot be used, or has another policy version than the learner.
    """
    assert isinstance(parts.sampler, SequenceScorer)  # the config refuses other samplers
    kept, copies = distinct(trajectories, hints.insertions)
    rows = plain(teacher_rows(trajectories, kept, merge=parts.config.learner.merge_turns))
    out = torch.full((total,), float("nan"))
    parts.scorer.forwarded[KIND] += sum(len(row.ids) for row in rows)
    peers = parts.learner.settings.tensor_parallel
    rows = rows[parts.learner.ranks.rank % peers :: peers]
    scored = parts.sampler.score([row.ids for row in rows], version=parts.learner.updates)
    for row, logps in zip(rows, scored, strict=True):
        for p in row.places:
            out[p.flat : p.flat + p.count] = torch.tensor(logps[p.column - 1 : p.column - 1 + p.count])
    return fill_in(out, copies)


def verified(
    sampler: SamplerConfig,
    ranks: Ranks,
    trajectories: Sequence[Trajectory],
    hints: Hints,
    *,
    step: int,
    seed: int,
) -> set[int]:
    """`verify_episodes` trajectories that the learner scores in both views; ones with hindsight first."""
    count = sampler.verify_episodes
    hinted = sorted({n for mine in ranks.gather([n for n, _ in hints.insertions]) for n in mine})
    first = chosen([trajectories[n] for n in hinted], count, step=step, seed=seed)
    others = [n for n in chosen(trajectories, len(trajectories), step=step, seed=seed) if n not in hinted]
    return set([*(hinted[i] for i in first), *others][:count])


def only(hints: Hints, trajectories: Set[int]) -> Hints:
    """The insertions of some trajectories."""
    kept = {place: hint for place, hint in hints.insertions.items() if place[0] in trajectories}
    return Hints(insertions=kept, texts=hints.texts, counts=hints.counts)
