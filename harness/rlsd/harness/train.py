"""The training loop, independent of the algorithm.

take groups → score → assign → update → publish → log, keep, evaluate, checkpoint
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rlsd.algorithms import Credit, assign
from rlsd.harness.config import RunConfig
from rlsd.harness.evals.reading import Reading
from rlsd.harness.hindsight.hints import echo_share
from rlsd.harness.iteration.outcome import Clock, Outcome, by_trajectory, totals, update_metrics
from rlsd.harness.iteration.parts import Parts, settled
from rlsd.harness.iteration.play import Played, Player
from rlsd.harness.iteration.score import Scored, score
from rlsd.harness.iteration.update import Updated, update
from rlsd.harness.iteration.values import learn_values
from rlsd.harness.rollout.rollout import RewardFn
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.token_credit import TokenCredit
from rlsd.harness.scoring.tables import episode_metrics
from rlsd.harness.session import open_session
from rlsd.harness.sft import Imitation


def train(config: RunConfig, folder: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train until `config.iterations`, resuming from the newest checkpoint in `folder` if there is one.

    Under torchrun every process must call; only the first one writes and prints.

    Returns:
        The summary of the last evaluation on the validation panel; {} without evaluations.
    """
    with open_session(settled(config, folder), folder, progress) as session:
        if config.algorithm.imitates:
            loop: Iteration | Imitation = Imitation(session.parts)
        else:
            loop = Iteration(session.parts, reward=session.reward, progress=session.progress)
        with closing(loop):
            for step in session.steps():
                session.log(loop.run(step))
        return session.last_eval


class Iteration:
    """Runs iterations of reinforcement learning.

    Args:
        parts: model, environment, algorithm settings.
        reward: a user's own reward, or None.
        now: clock in seconds; benchmarks on a shared machine use CPU time.
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
        self.progress = progress
        self.now = now
        self.player = Player(parts, reward=reward, progress=progress)
        self.reading = Reading(progress.warning if parts.config.hindsight.source == "own" else None)

    def close(self) -> None:
        """Stop a running rollout and close the environments."""
        self.player.close()

    def run(self, step: int) -> Outcome:
        """Iteration number `step`, counted from 0."""
        parts, clock = self.parts, Clock(self.now, self.parts.learner.device)
        before = parts.forwarded()
        played = self.player.take(step)
        clock.lap("rollout_s")
        self.player.prefetch(step)
        scored = score(parts, played.groups, step)
        self._warn(scored)
        clock.lap("score_s")
        credit = assign(scored.batch, parts.config.algorithm, step=step)
        updated = update(parts, scored, credit, step)
        values = learn_values(scored.batch, parts.config.algorithm.advantage, parts.critic, scored.states)
        parts.teacher.after_iteration(step + 1)
        clock.lap("update_s")
        self.player.wait()
        clock.lap("wait_s")
        parts.publish()
        clock.lap("refresh_s")
        failed = [t for g in played.groups for t in g.failed]
        return Outcome(
            metrics={
                **episode_metrics(played.groups),
                **self._budget(played),
                **self._metrics(played, scored, credit, updated),
                **values,
                "forwarded_tokens": totals(parts.learner.data.gather(parts.forwarded() - before)),
            },
            timing={**clock.timing, **played.timing},
            trajectories=[*scored.trajectories, *failed],
            turn_credit=by_trajectory(credit.turn_credit, scored.trajectories) + [[0.0] * len(t.turns) for t in failed],
            tokens=TokenCredit(trajectories=scored.trajectories, batch=scored.batch, credit=credit),
            hindsight=scored.hints.texts,
        )

    def _budget(self, played: Played) -> dict[str, Any]:
        """Counts of the refill and all training episodes so far, where a run has either."""
        refill = {} if played.refilled is None else played.refilled.metrics()
        counts = played.refilled is not None or self.parts.config.max_episodes is not None
        return {**refill, "played_episodes": self.parts.played} if counts else {}

    def _metrics(self, played: Played, scored: Scored, credit: Credit, updated: Updated) -> dict[str, Any]:
        batch, hints = scored.batch, scored.hints
        decoded = sum(self.parts.learner.ranks.gather(played.decoded_tokens))
        metrics = {
            **update_metrics(updated.stats),
            **updated.tis,
            "clip_fraction": updated.clip_fraction,
            "approx_kl": updated.approx_kl,
            "entropy": updated.entropy,
            "tokens": len(batch.turn),
            "decoded_tokens": decoded,
            "wasted_tokens": decoded - len(batch.turn),
            "staleness": played.staleness,
            **played.in_flight,
            "nll": float(-batch.sampler_logp.mean()),
            **scored.gap.metrics("sampler_gap", "verified_tokens"),
            "idle_trajectories": len(scored.idle),
            "credit": credit.diagnostics,
            "hint_auc": self.reading.add(batch),
            "hints": {**hints.counts, "echo": echo_share(scored.trajectories, hints.texts)} if hints.counts else {},
        }
        gap = scored.teacher_gap
        if gap is not None:
            metrics |= gap.metrics("teacher_gap", "verified_teacher_tokens")
        return metrics

    def _warn(self, scored: Scored) -> None:
        """Warn if sampler and learner disagree; stop if they disagree too much."""
        for view, gap in (("", scored.gap), ("teacher view", scored.teacher_gap)):
            warning = None if gap is None else gap.warning(self.parts.config.sampler, view=view)
            if warning is not None:
                self.progress.warning(warning)
