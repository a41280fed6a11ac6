"""The optimizer steps of one iteration: the composed loss of every token, weighted by its credit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd.agents.seeding import generator
from rlsd.algorithms import (
    Credit,
    LossConfig,
    LossInputs,
    chunked_divergence,
    clipped_share,
    denominator,
    distill_shares,
    kl_k3,
    needs_divergence,
    sampler_weights,
    token_loss,
    token_weights,
)
from rlsd.harness import fail_points
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.iteration.score import Scored
from rlsd.harness.learner.step import TokenSlice, UpdateStats
from rlsd.harness.scoring.sequences import student_rows
from rlsd.harness.scoring.token_model import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """Statistics of an iteration's optimizer steps."""

    stats: list[UpdateStats]
    clip_fraction: float
    """Share of the trained tokens whose gradient the PPO clip removed, over all passes."""
    approx_kl: float
    """Mean k3 estimate of KL(old ‖ new) in nats at the trained tokens: 0 at the first step after scoring."""
    entropy: float
    """Mean entropy of the policy in nats before the update: at the trained tokens if they were not scored, else at the
    scored ones."""
    tis: dict[str, dict[str, float]]
    """With `loss.tis_cap`, as `tis`: mean weight π_old / π_sampler of the tokens, and the share cut or masked."""


def update(parts: Parts, scored: Scored, credit: Credit, step: int) -> Updated:
    """All optimizer steps of an iteration; trajectories without any gradient are left out."""
    config, learner = parts.config, parts.learner
    loss = _Loss(parts, scored, credit, step)
    settings, stats = config.learner, list[UpdateStats]()
    useful = student_rows(scored.trajectories, merge=settings.merge_turns, skip=scored.idle)
    owner = scored.batch.token_trajectory
    foreign = {i for i, row in enumerate(useful) if int(owner[row.places[0].flat]) in scored.foreign}
    for epoch in range(settings.epochs if useful else 0):
        order = generator(config.seed, "minibatches", step, epoch).permutation(len(useful))
        count = min(settings.minibatches, len(useful))
        for part in range(count):
            rows = [useful[int(i)] for i in sorted(order[part::count]) if int(i) not in foreign]
            stats.append(learner.update(rows, lambda s, scale=float(count): loss(s, scale)))
        loss.end_pass()
    clipped, kl, entropy, tokens = learner.data.sum(loss.sums).tolist()
    n = max(1.0, tokens)
    return Updated(
        stats=stats,
        clip_fraction=clipped / n,
        approx_kl=kl / n,
        entropy=entropy / tokens if tokens and scored.on_policy else scored.entropy,
        tis=_tis(loss.sampler_weights, loss.config),
    )


def _tis(weights: Tensor | None, config: LossConfig) -> dict[str, dict[str, float]]:
    if weights is None or config.tis_cap is None or not len(weights):
        return {}
    bounded = weights >= config.tis_cap if config.tis == "truncate" else weights == 0
    return {"tis": {"mean": float(weights.double().mean()), "bounded": float(bounded.double().mean())}}


class _Loss:
    """The loss of a slice of tokens; called again for the same ones if memory ran out."""

    def __init__(self, parts: Parts, scored: Scored, credit: Credit, step: int) -> None:
        self.scored = scored
        self.credit = credit
        self.step = step
        self.temperature = parts.learner.temperature
        self.config = config = parts.config.algorithm.loss
        self.weights = token_weights(scored.batch, config.aggregation, constant_tokens=config.constant_tokens)
        self.sampler_weights = sampler_weights(scored.batch, config)
        weighs = config.distill.weighted and config.distill.active(step)
        self.shares = distill_shares(scored.batch, config.distill) if weighs else None
        self.diverges = needs_divergence(parts.config.algorithm, step)
        with parts.teacher.weights() as model:  # all processes call: the head may be sharded
            self.teacher_head = parts.scorer.frozen_head(model) if self.diverges else None
        self.sums = torch.zeros(4, dtype=torch.float64)
        """Sums over the finished passes: clipped tokens, KL in nats, entropies in nats, tokens."""
        self._seen = torch.full((3, len(self.weights)), float("nan"))
        """Whether each token was clipped, its KL and entropy, in this pass."""

    def __call__(self, part: TokenSlice, scale: float) -> Tensor:
        batch, flat, device = self.scored.batch, part.flat, part.logp.device
        sampled = self.sampler_weights
        hinted = batch.hinted[flat].to(device)
        reference = self.scored.reference_logp
        inputs = LossInputs(
            new_logp=part.logp,
            old_logp=part.logp.detach() if self.scored.on_policy else batch.student_logp[flat].to(device),
            advantage=self.credit.advantage[flat].to(device),
            turn=batch.turn[flat].to(device),
            sampler_weight=None if sampled is None else sampled[flat].to(device),
            reference_logp=None if reference is None else reference[flat].to(device),
            teacher_logp=batch.teacher_logp[flat].to(device),
            divergence=self._divergence(part, hinted) if self.diverges else None,
            hinted=hinted,
            distill_share=None if self.shares is None else self.shares[flat].to(device),
        )
        self._watch(part, inputs)
        total = token_loss(inputs, self.config, step=self.step).total
        fail_points.point("mid-update")
        return (self.weights[flat].to(device) * scale * total).sum()

    def end_pass(self) -> None:
        """Add this pass over the episodes to `sums`."""
        seen = self._seen[:, ~self._seen[0].isnan()].double()
        self.sums += torch.tensor([*seen.sum(dim=1).tolist(), float(seen.shape[1])], dtype=torch.float64)
        self._seen.fill_(float("nan"))

    def _divergence(self, part: TokenSlice, hinted: Tensor) -> Tensor:
        """(m,) divergence of the whole next-token distributions; 0 where there is no hindsight."""
        divergence, hidden, head = torch.zeros_like(part.logp), self.scored.teacher_hidden, self.teacher_head
        if hidden is not None and head is not None:
            acts = hinted if self.shares is None else hinted & (self.shares[part.flat] != 0).to(hinted.device)
            if self.scored.elsewhere is not None:
                acts = acts & self.scored.elsewhere.known[part.flat].to(hinted.device)
            divergence[acts] = self._chunked(part, acts, hidden, head)
        return divergence

    def _chunked(self, part: TokenSlice, hinted: Tensor, hidden: Tensor, head: Head) -> Tensor:
        distill, other = self.config.distill, self.scored.elsewhere

        def rows(table: Tensor) -> Tensor:
            return table[part.flat.to(table.device)].to(part.logp.device)[hinted]

        return chunked_divergence(
            part.hidden[hinted],
            rows(hidden),
            part.head,
            head,
            temperature=self.temperature,
            kind=distill.kind,  # type: ignore[arg-type]
            beta=distill.beta,
            element_clip=distill.element_clip,
            divergence_clip=distill.divergence_clip,
            target=distill.target,
            elsewhere_hidden=None if other is None else rows(other.hidden),
        )

    @torch.no_grad()
    def _watch(self, part: TokenSlice, inputs: LossInputs) -> None:
        flat = part.flat
        new, old = inputs.new_logp.detach(), inputs.old_logp
        below = denominator(inputs, self.config)
        self._seen[0, flat] = clipped_share(new, below, inputs.advantage, self.config).float().cpu()
        self._seen[1, flat] = kl_k3(old, new).float().cpu()  # tokens are drawn from the old policy
        self._seen[2, flat] = part.entropy.float().cpu()
