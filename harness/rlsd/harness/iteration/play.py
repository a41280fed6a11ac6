"""The episodes of each iteration: played now, or in the background while earlier iterations are trained on.

`rollout.async_steps` S bounds the age of every token that is trained on, in iterations:

    0   play, train, send weights
    1   iteration n + 1 plays while n is trained on, and ends before new weights are sent: a run repeats bit for bit
    ≥2  n + 1 to n + S are in flight while n is waited for and trained on; their episodes take new weights when they
        come, and one straggler leaves all other slots to them

Iteration n + S begins when n is taken, under weights that are S iterations old at most when it is trained on, so no
token is ever too old: nothing is dropped or played twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rlsd.agents.types import version_spans
from rlsd.envs.core import Task
from rlsd.harness import fail_points
from rlsd.harness.config.blocks import ConfigError
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.iteration.refill import Refilled, count_episodes, refill
from rlsd.harness.rollout.batch import Batch
from rlsd.harness.rollout.environments import env_maker, rollout_settings
from rlsd.harness.rollout.flight import Flight
from rlsd.harness.rollout.rollout import RewardFn, Rollout, check_some_played
from rlsd.harness.rollout.settings import Usage
from rlsd.harness.rollout.trajectory import Group, Trajectory, first_failures
from rlsd.harness.runs.progress import Progress
from rlsd.harness.scoring.logprob_gap import Versions
from rlsd.harness.scoring.tables import flatten, token_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One iteration's episodes, with token counts and times."""

    groups: Sequence[Group]
    """Of all processes, in the order of the tasks."""
    refilled: Refilled | None
    """What `rollout.refill` did."""
    decoded_tokens: int
    """Of this process."""
    staleness: dict[str, float]
    """Mean and largest age of the actions, in iterations."""
    in_flight: dict[str, dict[str, float]]
    """With `rollout.async_steps` 2 or more, by the name of the log: see `Player._in_flight`."""
    timing: dict[str, float]


class Player:
    """Plays the groups of each iteration with the policy of a run.

    Args:
        reward: a user's own reward, or None.
    """

    def __init__(self, parts: Parts, *, reward: RewardFn | None, progress: Progress) -> None:
        self.parts = parts
        self.progress = progress
        config = parts.config
        algorithm = config.algorithm
        facts = any(p.reads_facts for p in (algorithm.credit, algorithm.advantage, algorithm.loss.distill))
        self.rollout = Rollout(
            env_maker(config.env, "train"),
            parts.agent,
            rollout_settings(config.rollout, hindsight=bool(parts.hinter.contexts) or facts, seed=config.seed),
            reward=reward,
            on_episode=self._watch,
        )
        self.steps = config.rollout.async_steps
        self._flight = Flight(self.rollout, lambda: parts.sampler.busy_s)
        self._begun: dict[int, Batch] = {}
        """Iterations in flight."""
        self._next = 0
        """The first iteration that has not begun."""
        self._versions = Versions(self.steps)
        self._shown = -1
        """The iteration whose episodes advance the bar."""
        self._advance = lambda: None
        self._told: set[str] = set()

    def take(self, step: int) -> Played:
        """The episodes of iteration `step`.

        Raises:
            RolloutError: every episode failed.
            ConfigError: no episode reached its first action.
            SamplerDrift: an action was sampled from a policy version that is too old.
        """
        parts, config = self.parts, self.parts.config
        if parts.sampler.version != parts.learner.updates:  # the first iteration, or the first after a resume
            parts.sampler.refresh(parts.learner.updates)
        self._versions.give(parts.sampler.version)
        if step not in self._begun:
            self._begun[step] = self._begin(step)
        if self._straddles:
            self.prefetch(step)
        self._finish(self._begun[step], step, f"step {step + 1}: episodes")
        batch = self._begun.pop(step)
        groups = parts.learner.ranks.interleaved(batch.groups())
        check_some_played(groups)
        self._tell(groups)
        parts.played += count_episodes(groups)
        refilled, decoded, timing = None, batch.player.decoded_tokens, _timing(batch.usage)
        if config.rollout.refill == "mixed":
            refilled, more, seconds = self._refill(groups, step)
            groups, decoded, timing = refilled.groups, decoded + more, {**timing, "refill_s": seconds}
        parts.task_sampler.observe(groups if refilled is None else [*refilled.own, *refilled.extra])
        trajectories = flatten(groups)
        if not token_count(trajectories):
            raise ConfigError(
                f"none of {len(trajectories)} episodes got as far as one action: prompt + agent.max_new_tokens = "
                f"{config.agent.max_new_tokens} exceed the context; raise agent.context or take a larger model"
            )
        return Played(
            groups=groups,
            refilled=refilled,
            decoded_tokens=decoded,
            staleness=self._versions.staleness(trajectories, parts.learner.updates),
            in_flight=self._in_flight(trajectories),
            timing=timing,
        )

    def prefetch(self, step: int) -> None:
        """Begin to play what `rollout.async_steps` allows while iteration `step` is trained on."""
        config = self.parts.config
        for later in range(max(self._next, step + 1), min(step + self.steps + 1, config.iterations)):
            episodes = (len(self._begun) + 1) * config.rollout.episodes
            if config.max_episodes is not None and self.parts.played + episodes > config.max_episodes:
                return
            self._begun[later] = self._begin(later)
            self._next = later + 1

    def wait(self) -> None:
        """Wait until the rollouts that the next weights must not reach are finished."""
        if not self._straddles:
            for batch in self._begun.values():
                self._flight.settle(batch)

    def close(self) -> None:
        self._flight.close()
        self.rollout.close()

    @property
    def _straddles(self) -> bool:
        """Whether episodes go on when the weights change."""
        return self.steps > 1

    def _begin(self, step: int) -> Batch:
        """This process's share of an iteration, which plays from now on if it may play in the background."""
        tasks = self.parts.tasks_of(step)
        numbers = self.parts.learner.ranks.share(len(tasks))
        batch = self._batch([tasks[i] for i in numbers], step, numbers)
        if self.steps:
            self._flight.start(batch)
        return batch

    def _batch(self, tasks: Sequence[Task], step: int, numbers: Sequence[int]) -> Batch:
        config = self.parts.config
        turns = config.algorithm.depth.turns(step, config.rollout.max_turns)
        group_size = config.rollout.group_size
        return self.rollout.batch(tasks, group_size, stream="train", iteration=step, numbers=numbers, max_turns=turns)

    def _finish(self, batch: Batch, step: int, title: str) -> None:
        """Play a batch, or wait until it has been played."""
        with self.progress.bar(title, len(batch.plan)) as advance:
            self._shown, self._advance = step, advance
            for _ in range(len(batch.done)):  # before the bar was shown
                advance()
            try:
                if self.steps:
                    return self._flight.wait(batch)
                busy = self.parts.sampler.busy_s
                self.rollout.play(batch)
                batch.usage.sampler_s = self.parts.sampler.busy_s - busy
            finally:
                self._shown, self._advance = -1, lambda: None  # what plays in the background shows no bar

    def _refill(self, own: Sequence[Group], step: int) -> tuple[Refilled, int, float]:
        """The groups after the refill, tokens that this process decoded for it, and seconds."""
        config, ranks = self.parts.config, self.parts.learner.ranks
        per = config.rollout.group_size
        limit = config.rollout.extra_tasks
        if config.max_episodes is not None:
            limit = min(limit, (config.max_episodes - self.parts.played) // per)
        tasks = self.parts.task_sampler.draw(config.rollout.extra_tasks, step, "refill")
        decoded, started = 0, time.perf_counter()

        def play(first: int, count: int) -> list[Group]:
            nonlocal decoded
            numbers = [first + i for i in ranks.share(count)]
            places = [len(own) + n for n in numbers]  # after the iteration's own, so that no episode has another's seed
            batch = self._batch([tasks[n] for n in numbers], step, places)
            if self.steps:
                self._flight.start(batch, first=True)
            self._finish(batch, step, f"step {step + 1}: extra episodes")
            decoded += batch.player.decoded_tokens
            return ranks.interleaved(batch.groups())

        refilled = refill(own, play, limit=limit)
        self._tell(refilled.extra)
        self.parts.played += count_episodes(refilled.extra)
        return refilled, decoded, time.perf_counter() - started

    def _in_flight(self, trajectories: Sequence[Trajectory]) -> dict[str, dict[str, float]]:
        """Share of the episodes that straddle a change of weights, of actions that do, and of tokens behind one in
        their action; of later iterations in this process the number, and their episodes that have not ended."""
        if not self._straddles:
            return {}
        actions = [[turn.action for turn in t.turns if turn.action.token_ids] for t in trajectories]
        versions = [{version for action in of for version, _ in version_spans(action)} for of in actions]
        spans = [version_spans(action) for of in actions for action in of]
        return {
            "in_flight": {
                "straddling": sum(len(v) > 1 for v in versions) / len(versions),
                "continued_actions": sum(len(s) > 1 for s in spans) / len(spans),
                "continued_tokens": sum(n for s in spans for _, n in s[1:]) / sum(n for s in spans for _, n in s),
                "iterations": len(self._begun),
                "episodes": self._flight.episodes,
            }
        }

    def _tell(self, groups: Sequence[Group]) -> None:
        """Warn of failed episodes, once for each reason; every iteration's metrics count them."""
        for reason, failure in first_failures(t for g in groups for t in g.failed).items():
            if reason not in self._told:
                self._told.add(reason)
                self.progress.warning(f"episodes fail in the environment ({reason}), the first with {failure}")

    def _watch(self, trajectory: Trajectory) -> None:
        fail_points.point("mid-rollout")
        if trajectory.key.iteration == self._shown:
            self._advance()


def _timing(usage: Usage) -> dict[str, float]:
    """Where the time of a batch went, by the names of the log."""
    return {
        "play_s": usage.wall_s,
        "env_s": usage.env_s,
        "agent_s": usage.agent_s,
        "sampler_s": usage.sampler_s,
        "sampler_idle_share": max(0.0, 1.0 - usage.sampler_s / max(1e-9, usage.wall_s)),
        "slot_idle_share": usage.idle_share,
    }
