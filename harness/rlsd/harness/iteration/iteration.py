"""One iteration: roll out → contexts → score → credit → update → refresh the sampler.

`algorithm: sft` takes the other door (expert episodes, supervised weights) and shares rows, learner and batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlsd.algorithms import (
    assign,
)
from rlsd.harness import fail_points
from rlsd.harness.config import ConfigError
from rlsd.harness.hindsight.hints import echo_share
from rlsd.harness.iteration.parts import Parts, context_of, env_maker, rollout_settings
from rlsd.harness.iteration.score import score
from rlsd.harness.iteration.update import update
from rlsd.harness.learner.step import TokenSlice, UpdateStats
from rlsd.harness.rollout.prefetch import Ahead
from rlsd.harness.rollout.rollout import RewardFn, Rollout
from rlsd.harness.rollout.trajectory import Group, Trajectory
from rlsd.harness.runs.progress import Progress
from rlsd.harness.scoring.logprob_gap import Gap, Versions
from rlsd.harness.scoring.tables import episode_metrics, flatten, token_count
from rlsd.harness.sft import SftMaker, SftStep, sft_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an iteration leaves behind."""

    metrics: dict[str, Any]
    timing: dict[str, float]
    trajectories: Sequence[Trajectory] = ()
    turn_credit: list[list[float]] | None = None
    """Mean credit of each turn, by trajectory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One iteration's episodes, and what they took."""

    groups: list[Group]
    decoded_tokens: int
    timing: dict[str, float]


class _Clock:
    """Seconds by stage, of `now`. A stage ends when the device has done its work, not when it was told of it."""

    def __init__(self, now: Callable[[], float], device: torch.device) -> None:
        self.timing: dict[str, float] = {}
        self._now = now
        self._device = device
        self._last = now()

    def lap(self, name: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = self._now()
        self.timing[name] = self.timing.get(name, 0.0) + now - self._last
        self._last = now


class Iteration:
    """Runs iterations of one run.

    Args:
        parts: model, environment, algorithm settings.
        reward: a user's own reward, or None.
        now: what stages are timed with; benchmarks on a shared machine count processor time.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        reward: RewardFn | None,
        progress: Progress,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.parts = parts
        self.now = now
        self.config = parts.config
        self.progress = progress
        self.supervised = self.config.algorithm.name == "sft"
        self._steps: Iterator[SftStep] | None = None
        self._advance = lambda: None
        self.rollout = Rollout(
            env_maker(self.config, "train"),
            parts.agent,
            rollout_settings(self.config, hindsight=bool(parts.hinter.contexts)),
            reward=reward,
            on_episode=self._watch,
        )
        self._ahead = Ahead(self._play)
        self._versions = Versions(int(self.config.rollout.ahead))

    def close(self) -> None:
        """Wait for a rollout under way and close the environments."""
        self._ahead.wait()
        self.rollout.close()

    def run(self, step: int) -> Outcome:
        return self._supervised(step) if self.supervised else self._reinforced(step)

    # ------------------------------------------------------------------ reinforcement

    def _reinforced(self, step: int) -> Outcome:
        parts, algorithm, clock = self.parts, self.config.algorithm, _Clock(self.now, self.parts.learner.device)
        ranks, fed = parts.learner.ranks, parts.forwarded()
        if parts.sampler.version != parts.learner.updates:  # the first iteration, or the first after a resume
            parts.sampler.refresh(parts.learner.updates)
        self._versions.give(parts.sampler.version)
        played = self._roll_out(step)
        groups = ranks.interleaved(played.groups)
        trajectories = flatten(groups)
        if not token_count(trajectories):
            raise ConfigError(
                f"none of {len(trajectories)} episodes got as far as one action: prompt + agent.max_new_tokens = "
                f"{self.config.agent.max_new_tokens} exceed the context; raise agent.context or take a larger model"
            )
        clock.lap("rollout_s")
        staleness = self._versions.staleness(trajectories, parts.learner.updates)
        if self.config.rollout.ahead and step + 1 < self.config.iterations:
            self._ahead.start(step + 1)
        scored = score(parts, groups, step)
        batch, hints = scored.batch, scored.hints
        self._warn(scored.gap.warning(self.config.sampler))
        if scored.teacher_gap is not None:
            self._warn(scored.teacher_gap.warning(self.config.sampler, view="hindsight view"))
        clock.lap("score_s")
        given = assign(batch, algorithm, step=step)
        stats = update(parts, trajectories, scored, given, step)
        clock.lap("update_s")
        self._ahead.wait()
        clock.lap("wait_s")
        parts.learner.publish()
        parts.sampler.refresh(parts.learner.updates)
        clock.lap("refresh_s")
        decoded = sum(ranks.gather(played.decoded_tokens))
        metrics = {
            **episode_metrics(groups),
            **_update_metrics(stats),
            "tokens": len(batch.turn),
            "decoded_tokens": decoded,
            "wasted_tokens": decoded - len(batch.turn),
            "staleness": staleness,
            "forwarded_tokens": _sums(ranks.gather(parts.forwarded() - fed)),
            "nll": float(-batch.sampler_logp.mean()),
            "sampler_gap": scored.gap.largest,
            "sampler_gap_mean": scored.gap.mean,
            "verified_tokens": scored.gap.tokens,
            **_teacher_gap(scored.teacher_gap),
            "idle_trajectories": len(scored.idle),
            "credit": given.diagnostics,
            "hints": {**hints.counts, "echo": echo_share(trajectories, hints.texts)} if hints.counts else {},
        }
        return Outcome(
            metrics=metrics,
            timing={**clock.timing, **played.timing},
            trajectories=trajectories,
            turn_credit=_by_trajectory(given.turn_credit, trajectories),
        )

    # ------------------------------------------------------------------ supervision

    def _supervised(self, step: int) -> Outcome:
        parts, clock = self.parts, _Clock(self.now, self.parts.learner.device)
        if self._steps is None:
            context = context_of(self.config.agent, parts.policy)
            maker = SftMaker(self.config, parts.tasks, parts.agent, parts.hinter, context=context)
            self._steps = sft_steps(maker, step, self.config.iterations)
        made = next(self._steps)
        clock.lap("episodes_s")
        weights, ranks = made.batch.weights, parts.learner.ranks
        losses = torch.zeros_like(weights)

        def loss_fn(part: TokenSlice) -> Tensor:
            per_token = -part.logp * weights[part.flat].to(part.logp.device)
            losses[part.flat] = per_token.detach().float().cpu()
            fail_points.point("mid-update")
            return per_token.sum()

        rows = made.batch.rows
        mine = ranks.balanced([len(r.ids) for r in rows])
        stats = [parts.learner.update([r for i, r in enumerate(rows) if i in mine], loss_fn)] if rows else []
        losses = ranks.sum(losses)
        parts.learner.publish()
        if parts.sampler.live:  # others get the weights when they are asked to play
            parts.sampler.refresh(parts.learner.updates)
        clock.lap("update_s")
        share = float(weights[made.own_tokens :].sum())
        metrics = {
            **made.metrics,
            **_update_metrics(stats),
            "tokens": len(weights),
            "loss_student": float(losses[: made.own_tokens].sum()) / max(1e-12, 1.0 - share),
            "loss_teacher": float(losses[made.own_tokens :].sum()) / share if share else 0.0,
        }
        return Outcome(metrics=metrics, timing=clock.timing)

    # ------------------------------------------------------------------ shared

    def _roll_out(self, step: int) -> Played:
        """This process's share of the episodes; with `rollout.ahead` they were played during the last update."""
        count = len(self.parts.learner.ranks.share(self.config.rollout.tasks)) * self.config.rollout.siblings
        with self.progress.bar(f"step {step + 1}: episodes", count) as advance:
            self._advance = advance
            try:
                return self._ahead.take(step)
            finally:
                self._advance = lambda: None  # a rollout ahead shows no bar

    def _play(self, step: int) -> Played:
        sampler, tasks = self.parts.sampler, self.parts.tasks_of(step)
        numbers = self.parts.learner.ranks.share(len(tasks))
        decoded, busy = sampler.decoded_tokens, sampler.busy_s
        groups = self.rollout.groups(
            [tasks[i] for i in numbers],
            self.config.rollout.siblings,
            stream="train",
            iteration=step,
            numbers=numbers,
        )
        usage, busy = self.rollout.usage, sampler.busy_s - busy
        timing = {
            "play_s": usage.wall_s,
            "env_s": usage.env_s,
            "agent_s": usage.agent_s,
            "sampler_s": busy,
            "sampler_idle_share": max(0.0, 1.0 - busy / max(1e-9, usage.wall_s)),
            "slot_idle_share": usage.idle_share,
        }
        return Played(groups=groups, decoded_tokens=sampler.decoded_tokens - decoded, timing=timing)

    def _warn(self, told: str | None) -> None:
        if told is not None:
            self.progress.warning(told)

    def _watch(self, _: Trajectory) -> None:
        fail_points.point("mid-rollout")
        self._advance()


def _update_metrics(stats: Sequence[UpdateStats]) -> dict[str, Any]:
    n = max(1, len(stats))
    return {
        "loss": sum(s.loss for s in stats) / n,
        "grad_norm": sum(s.grad_norm for s in stats) / n,
        "updates": len(stats),
        "trained_tokens": sum(s.tokens for s in stats),
        "padded_tokens": sum(s.padded_tokens for s in stats),
    }


def _teacher_gap(gap: Gap | None) -> dict[str, Any]:
    if gap is None:
        return {}
    return {"teacher_gap": gap.largest, "teacher_gap_mean": gap.mean, "verified_teacher_tokens": gap.tokens}


def _sums(counts: Sequence[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for found in counts:
        total.update(found)
    return dict(sorted(total.items()))


def _by_trajectory(turn_credit: Tensor, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    out: list[list[float]] = []
    values, start = turn_credit.tolist(), 0
    for trajectory in trajectories:
        out.append(values[start : start + len(trajectory.turns)])
        start += len(trajectory.turns)
    return out
