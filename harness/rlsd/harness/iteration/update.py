"""The optimizer steps of one iteration: the composed loss of every token under the credit it was given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd.agents.seeding import generator
from rlsd.algorithms import Credit, LossInputs, chunked_divergence, needs_divergence, token_loss, token_weights
from rlsd.harness import fail_points
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.iteration.score import Scored
from rlsd.harness.learner.step import TokenSlice, UpdateStats
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.scoring.sequences import student_rows


def update(
    parts: Parts, trajectories: Sequence[Trajectory], scored: Scored, given: Credit, step: int
) -> list[UpdateStats]:
    """All optimizer steps of an iteration; trajectories without any gradient are left out."""
    batch, teacher_hidden, reference_logp = scored.batch, scored.teacher_hidden, scored.reference_logp
    config, learner = parts.config, parts.learner
    loss_config = config.algorithm.loss
    weights = token_weights(batch, loss_config.aggregation, constant_tokens=loss_config.constant_tokens)
    diverges = needs_divergence(config.algorithm, step)
    with parts.teacher.weights() as model:  # all processes ask: the head may be sharded
        teacher_head = parts.scorer.frozen_head(model) if diverges else None

    def loss_fn(part: TokenSlice, scale: float) -> Tensor:
        flat, device = part.flat, part.logp.device
        hinted = batch.hinted[flat].to(device)
        apart = torch.zeros_like(part.logp) if diverges else None
        if apart is not None and teacher_hidden is not None and teacher_head is not None:
            distill = loss_config.distill
            apart[hinted] = chunked_divergence(
                part.hidden[hinted],
                teacher_hidden[flat.to(teacher_hidden.device)].to(device)[hinted],
                part.head,
                teacher_head,
                temperature=learner.temperature,
                kind=distill.kind,  # type: ignore[arg-type]
                beta=distill.beta,
                element_clip=distill.element_clip,
            )
        inputs = LossInputs(
            new_logp=part.logp,
            old_logp=batch.student_logp[flat].to(device),
            advantage=given.advantage[flat].to(device),
            turn=batch.turn[flat].to(device),
            sampler_logp=batch.sampler_logp[flat].to(device),
            reference_logp=None if reference_logp is None else reference_logp[flat].to(device),
            teacher_logp=batch.teacher_logp[flat].to(device),
            divergence=apart,
            hinted=hinted,
        )
        total = token_loss(inputs, loss_config, step=step).total
        fail_points.point("mid-update")
        return (weights[flat].to(device) * scale * total).sum()

    settings, stats = config.learner, list[UpdateStats]()
    useful = student_rows(trajectories, merge=settings.merge_rows, skip=scored.idle)
    owner = batch.token_trajectory
    foreign = {i for i, row in enumerate(useful) if int(owner[row.places[0].flat]) in scored.foreign}
    for epoch in range(settings.epochs if useful else 0):
        order = generator(config.seed, "minibatches", step, epoch).permutation(len(useful))
        count = min(settings.minibatches, len(useful))
        for part in range(count):
            chosen = [useful[int(i)] for i in sorted(order[part::count]) if int(i) not in foreign]
            stats.append(learner.update(chosen, lambda s, scale=float(count): loss_fn(s, scale)))
            parts.teacher.after_update(learner.updates)
    return stats
