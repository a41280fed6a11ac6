"""Warm starts: expert episodes (or your own) as token trajectories, both views.

The student view imitates the episode's actions. The teacher view reads hindsight exactly as in RL and imitates the
plan's next action, so that Δ is meaningful later: a model that never saw the hindsight prompt gives noise.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlsd.agents.policy import PolicyAgent
from rlsd.agents.scripted import EchoSampler, ExpertAgent
from rlsd.agents.seeding import derive
from rlsd.envs.core import Task
from rlsd.harness import fail_points
from rlsd.harness.config import RunConfig
from rlsd.harness.hindsight.hints import Hinter, Hints
from rlsd.harness.iteration.agent import chat_format_of, make_agent
from rlsd.harness.iteration.outcome import Clock, Outcome, update_metrics
from rlsd.harness.iteration.parts import Parts, make_hinter
from rlsd.harness.iteration.samplers import context_of
from rlsd.harness.learner.step import TokenSlice
from rlsd.harness.rollout.environments import env_maker, rollout_settings
from rlsd.harness.rollout.recorded import read_trajectories
from rlsd.harness.rollout.rollout import Rollout
from rlsd.harness.rollout.trajectory import Group, Trajectory, Turn
from rlsd.harness.scoring.sequences import Insertion, Row, joint_rows, student_rows, teacher_rows
from rlsd.harness.scoring.tables import episode_metrics, epochs, flatten, token_count


@dataclass(frozen=True, slots=True, kw_only=True)
class SftBatch:
    """Rows of both views and the weight of each token; M tokens of the student view, then M' of the teacher view."""

    rows: list[Row]
    weights: Tensor
    """(M + M',) float; sums to 1."""


def demonstrated(group: Group, agent: PolicyAgent, *, context: int) -> Group:
    """The group's episodes with tokens, as if the policy had written the actions itself.

    An episode is cut before the first turn that would not fit into `context` tokens.
    """
    trajectories: list[Trajectory] = []
    for trajectory in group.trajectories:
        turns: list[Turn] = []
        for k, turn in enumerate(trajectory.turns):
            history = replace(trajectory, turns=(*turns, turn)).history(k)
            said = turn.action.response or agent.memory.format.wrap(turn.action.text)
            action = agent.demonstrate(history, said)
            if action.prompt is not None and len(action.prompt.ids) + len(action.token_ids) > context:
                break
            turns.append(replace(turn, action=replace(action, explored=turn.action.explored)))
        trajectories.append(replace(trajectory, turns=tuple(turns)))
    return replace(group, trajectories=tuple(trajectories))


def sft_batch(
    trajectories: Sequence[Trajectory],
    hints: Hints,
    agent: PolicyAgent,
    *,
    share: float,
    target: str,
    merge: bool = True,
) -> SftBatch:
    """Rows and weights of one supervised step.

    Args:
        trajectories: with tokens, in the order of `hints`.
        hints: of the teacher view; turns without hindsight are trained in the student view only.
        share: weight of the teacher view.
        target: "plan" imitates the plan's first action if there is one, "own" the episode's action.
    """
    student_tokens = token_count(trajectories)
    insertions: dict[tuple[int, int], Insertion] = {}
    flat = student_tokens
    trained = torch.zeros(student_tokens, dtype=torch.bool)
    start = 0
    for n, trajectory in enumerate(trajectories):
        for k, turn in enumerate(trajectory.turns):
            size = len(turn.action.token_ids)
            trained[start : start + size] = not turn.action.explored
            start += size
            hint = hints.insertions.get((n, k))
            if hint is None or not share:
                continue
            plan = turn.hindsight_before.plan
            if hint.turn and target == "plan" and plan:
                ids = agent.chat.response(agent.memory.format.wrap(plan[0]))
            elif turn.action.explored:
                continue
            else:
                ids = turn.action.token_ids
            insertions[n, k] = replace(hint, target=ids, target_flat=flat)
            flat += len(ids)
    hinted = flat - student_tokens
    weights = torch.zeros(flat)
    own = 1.0 - (share if hinted else 0.0)
    weights[:student_tokens] = trained * (own / max(1, int(trained.sum())))
    if hinted:
        weights[student_tokens:] = share / hinted
    if any(i.episode for i in insertions.values()):
        rows = [
            *student_rows(trajectories, merge=merge),
            *teacher_rows(trajectories, insertions, merge=merge),
        ]
    else:
        rows = joint_rows(trajectories, insertions, merge=merge)
    return SftBatch(rows=rows, weights=weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class SftStep:
    """A supervised step, ready for the learner."""

    batch: SftBatch
    own_tokens: int
    """M: tokens of the student view; those of the teacher view follow."""
    metrics: dict[str, Any]


class Imitation:
    """Runs supervised iterations: both views of expert episodes, or of the user's own."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._steps: Iterator[SftStep] | None = None

    def close(self) -> None:
        """End the worker processes, which live as long as their generator."""
        self._steps = None

    def run(self, step: int) -> Outcome:
        """Iteration number `step`; they must come in order."""
        parts, clock = self.parts, Clock(time.perf_counter, self.parts.learner.device)
        if self._steps is None:
            context = context_of(parts.config.agent, parts.policy)
            maker = SftMaker(parts.config, parts.tasks, parts.agent, parts.hinter, context=context)
            self._steps = sft_steps(maker, step, parts.config.iterations)
        made = next(self._steps)
        clock.lap("episodes_s")
        weights, rows, ranks = made.batch.weights, made.batch.rows, parts.learner.data
        losses = torch.zeros_like(weights)

        def loss_fn(part: TokenSlice) -> Tensor:
            per_token = -part.logp * weights[part.flat].to(part.logp.device)
            losses[part.flat] = per_token.detach().float().cpu()
            fail_points.point("mid-update")
            return per_token.sum()

        mine = ranks.balanced([len(r.ids) for r in rows])
        stats = [parts.learner.update([r for i, r in enumerate(rows) if i in mine], loss_fn)] if rows else []
        losses = ranks.sum(losses)
        parts.learner.publish()
        if parts.sampler.live:  # other samplers get the weights when they play
            parts.sampler.refresh(parts.learner.updates)
        clock.lap("update_s")
        share = float(weights[made.own_tokens :].sum())
        metrics = {
            **made.metrics,
            **update_metrics(stats),
            "tokens": len(weights),
            "loss_student": float(losses[: made.own_tokens].sum()) / max(1e-12, 1.0 - share),
            "loss_teacher": float(losses[made.own_tokens :].sum()) / share if share else 0.0,
        }
        return Outcome(metrics=metrics, timing=clock.timing)


class SftMaker:
    """Makes supervised steps by number: play the expert (or take the user's episodes), encode both views.

    A step depends on the config and its number alone, so worker processes can prepare steps ahead.

    Args:
        config: the run's config.
        tasks: tasks of the training split.
        agent: renders prompts; its sampler is not used.
        hinter: writes the hindsight of the teacher view.
        context: longest sequence in tokens.
    """

    def __init__(
        self, config: RunConfig, tasks: Sequence[Task], agent: PolicyAgent, hinter: Hinter, *, context: int
    ) -> None:
        self.config = config
        self.tasks = tasks
        self.agent = agent
        self.hinter = hinter
        self.context = context
        sft = config.sft
        self.own = [] if sft.trajectories is None else read_trajectories(sft.trajectories, config.env.id)
        expert = ExpertAgent(sft.expert, noise=sft.noise, seed=derive(config.seed, "noise"))
        self.rollout = Rollout(
            env_maker(config.env, "train"),
            expert,
            rollout_settings(config.rollout, hindsight=bool(hinter.contexts), seed=config.seed),
        )

    def make(self, step: int) -> SftStep:
        """Step number `step`."""
        per = self.config.rollout.tasks_per_iteration
        if self.own:
            groups = [
                Group(task=t.task, trajectories=(t,))
                for t in epochs(self.own, per, step, seed=self.config.seed, name="demonstrations")
            ]
        else:
            tasks = epochs(self.tasks, per, step, seed=self.config.seed, name="tasks")
            groups = self.rollout.groups(tasks, 1, stream="train", iteration=step)
        metrics = episode_metrics(groups)
        if self.config.sft.only_success:
            groups = [g for g in map(_wins, groups) if g.trajectories]
        groups = [demonstrated(g, self.agent, context=self.context) for g in groups]
        hints = self.hinter.build(groups)
        trajectories = flatten(groups)
        batch = sft_batch(
            trajectories,
            hints,
            self.agent,
            share=self.config.sft.hinted_share,
            target=self.config.sft.hinted_target,
            merge=self.config.learner.merge_turns,
        )
        own = token_count(trajectories)
        return SftStep(batch=batch, own_tokens=own, metrics={**metrics, "hints": hints.counts})


def sft_steps(maker: SftMaker, first: int, last: int) -> Iterator[SftStep]:
    """Steps `first` to `last` - 1 in order, prepared by `sft.workers` processes (0: in this one, on demand)."""
    workers = maker.config.sft.workers
    if not workers:
        for step in range(first, last):
            yield maker.make(step)
        return
    tokenizer = maker.agent.chat.tokenizer
    eos = sorted(maker.agent.chat.eos_ids)
    arguments = (maker.config, list(maker.tasks), tokenizer, eos, maker.context)
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker, arguments) as pool:
        ahead = deque(pool.apply_async(_work, (s,)) for s in range(first, min(last, first + 2 * workers)))
        for step in range(first, last):
            made = ahead.popleft().get()
            following = step + 2 * workers
            if following < last:
                ahead.append(pool.apply_async(_work, (following,)))
            yield made


_maker: list[SftMaker] = []
"""The worker process's own maker."""


def _start_worker(config: RunConfig, tasks: list[Task], tokenizer: Any, eos: list[int], context: int) -> None:
    torch.set_num_threads(1)
    chat = chat_format_of(tokenizer, eos, config.agent)
    agent = make_agent(config.agent, chat, EchoSampler())
    _maker.append(SftMaker(config, tasks, agent, make_hinter(config, chat, context=context), context=context))


def _work(step: int) -> SftStep:
    return _maker[0].make(step)


def _wins(group: Group) -> Group:
    return Group(task=group.task, trajectories=tuple(t for t in group.trajectories if t.success))
