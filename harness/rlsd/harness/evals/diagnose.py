"""The Δ diagnostic: can this model use hindsight? Run it before spending updates on it.

On the student's own held-out episodes: the AUC of Δ (mean over an action's tokens) for actions that reduce the
distance to the goal against those that do not, with true hindsight and with another task's; and success when the
student itself reads the hindsight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from rlsd.agents.policy import PolicyAgent
from rlsd.agents.types import Action, EpisodeKey, History, SampleRequest
from rlsd.envs.answers import hindsight_answer
from rlsd.envs.core import Hindsight, TextEnv
from rlsd.harness.config import ConfigError
from rlsd.harness.evals.evaluate import EvalResult, evaluate, panel_of
from rlsd.harness.evals.reading import LEAST_TRUE
from rlsd.harness.evals.stats import cluster_bootstrap_auc, wilson
from rlsd.harness.hindsight.hints import Hinter, echo_share
from rlsd.harness.iteration.parts import Parts, make_agent
from rlsd.harness.iteration.samplers import make_sampler
from rlsd.harness.rollout.env_calls import EpisodeError
from rlsd.harness.rollout.environments import env_maker, rollout_settings
from rlsd.harness.rollout.rollout import Rollout
from rlsd.harness.rollout.trajectory import Group, Trajectory
from rlsd.harness.runs.progress import Progress
from rlsd.harness.scoring.sequences import student_rows, teacher_rows
from rlsd.harness.scoring.tables import flatten, token_batch, token_count, with_teacher

LEAST_MARGIN = 0.15
"""Smallest difference between the AUC of true hindsight and that of another task's."""


class HintedAgent:
    """The policy acting in the teacher view: hindsight of the present state is inserted in every prompt.

    Args:
        agent: the policy.
        hinter: writes the hindsight.
        others: show the hindsight of these states instead, one list of states per episode group (the control).
    """

    def __init__(self, agent: PolicyAgent, hinter: Hinter, others: Sequence[Sequence[Hindsight]] | None = None) -> None:
        self.agent = agent
        self.hinter = hinter
        self.others = others
        self._envs: dict[EpisodeKey, TextEnv] = {}
        self._start: dict[EpisodeKey, Hindsight] = {}

    def begin(self, key: EpisodeKey) -> None:
        self.agent.begin(key)

    def bind(self, key: EpisodeKey, env: TextEnv) -> None:
        self._envs[key] = env
        self._start[key] = _known(env)

    def end(self, key: EpisodeKey) -> None:
        self._envs.pop(key, None)
        self._start.pop(key, None)
        self.agent.end(key)

    async def act(self, history: History, key: EpisodeKey) -> Action:
        prompt = self.agent.prompt(history)
        start, now = self._start[key], _known(self._envs[key])
        if self.others is not None:
            states = self.others[key.group]
            start, now = states[0], states[min(history.turn, len(states) - 1)]
        hint = self.hinter.at(start, now, used=len(prompt.ids) + self.agent.max_new_tokens)
        ids = list(prompt.ids)
        if hint is not None:
            ids[prompt.turn_slot : prompt.turn_slot] = hint.turn
            ids[prompt.episode_slot : prompt.episode_slot] = hint.episode
        request = SampleRequest(
            key=key, turn=history.turn, prompt_ids=tuple(ids), max_new_tokens=self.agent.max_new_tokens
        )
        return self.agent.read(prompt, await self.agent.sampler.sample(request))


def _known(env: TextEnv) -> Hindsight:
    """The environment's hindsight; raises `EpisodeError` if it fails, so that the episode alone does."""
    try:
        return hindsight_answer(env.hindsight())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise EpisodeError.of("env.hindsight", error) from error


def diagnose(
    parts: Parts,
    *,
    split: str = "valid",
    episodes: int | None = None,
    views: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the diagnostic.

    Args:
        parts: a run with hindsight contexts.
        split: the student plays its tasks once each, at the training temperature.
        episodes: the first tasks only.
        views: also measure success under each view (three evaluations).

    Returns:
        JSON-able: `auc` and `auc_other` as [value, low, high], `margin`, `gap` by distance change, `echo`,
        `student_success` (share of the student's episodes that it won), `success` by view, `readable` (both thresholds
        hold).
    """
    hinter = parts.hinter
    if not hinter.contexts:
        raise ConfigError(f"algorithm {parts.config.algorithm.name!r} reads no hindsight; nothing to diagnose")
    progress = progress or Progress(quiet=True)
    make_env = env_maker(parts.config.env, split)
    env = make_env()
    panel = panel_of(env, episodes)
    env.close()
    with progress.bar("student episodes", len(panel[1])) as advance:
        settings = rollout_settings(parts.config.rollout, hindsight=True, seed=parts.config.seed)
        rollout = Rollout(make_env, parts.agent, settings, on_episode=lambda _: advance())
        groups = rollout.groups(panel[1], 1, stream="diagnose", iteration=0)
        rollout.close()
    own = _clusters(parts, groups, hinter)
    control = Hinter(
        replace(hinter.settings, source="other_task"),
        hinter.chat,
        context=hinter.context,
        max_new_tokens=parts.agent.max_new_tokens,
    )
    other = _clusters(parts, groups, control)
    auc_own, auc_other = cluster_bootstrap_auc(own[0]), cluster_bootstrap_auc(other[0])
    margin = auc_own[0] - auc_other[0]
    result: dict[str, Any] = {
        "split": split,
        "panel": panel[0].digest,
        "episodes": len(panel[1]),
        "student_success": _mean([float(t.success) for g in groups for t in (*g.trajectories, *g.failed)]),
        "actions": {"nearer": sum(len(p) for p, _ in own[0]), "not_nearer": sum(len(q) for _, q in own[0])},
        "auc": list(auc_own),
        "auc_other": list(auc_other),
        "margin": margin,
        "gap_nearer": _mean([x for p, _ in own[0] for x in p]),
        "gap_not_nearer": _mean([x for _, q in own[0] for x in q]),
        "echo": own[1],
        "counts": own[2],
        "readable": bool(auc_own[0] >= LEAST_TRUE and margin >= LEAST_MARGIN),
    }
    if views:
        result["success"] = _views(parts, split, panel, groups, progress)
    return result


def _clusters(
    parts: Parts, groups: Sequence[Group], hinter: Hinter
) -> tuple[list[tuple[list[float], list[float]]], float, dict[str, int]]:
    """(Δ of actions that reduced the distance to the goal, Δ of the others) by episode; echo share; hint counts."""
    trajectories = flatten(groups)
    total = token_count(trajectories)
    hints = hinter.build(groups)
    scorer = parts.scorer
    student = scorer.logprobs(student_rows(trajectories), total).logp
    with parts.teacher.weights() as model:
        teacher = scorer.logprobs(teacher_rows(trajectories, hints.insertions), total, model=model).logp
    batch = with_teacher(replace(token_batch(groups), student_logp=student), teacher)
    use = batch.action_span & batch.hinted
    turns = len(batch.trajectory)
    sums = torch.zeros(turns).index_add_(0, batch.turn[use], batch.gap[use])
    counts = torch.zeros(turns).index_add_(0, batch.turn[use], torch.ones(int(use.sum())))
    clusters: list[tuple[list[float], list[float]]] = []
    k = 0
    for trajectory in trajectories:
        nearer: list[float] = []
        rest: list[float] = []
        for turn in trajectory.turns:
            before, after = turn.hindsight_before.distance, turn.hindsight_after.distance
            if counts[k] > 0 and before is not None and after is not None:
                (nearer if after < before else rest).append(float(sums[k] / counts[k]))
            k += 1
        clusters.append((nearer, rest))
    return clusters, echo_share(trajectories, hints.texts), hints.counts


def _views(
    parts: Parts, split: str, panel: Any, groups: Sequence[Group], progress: Progress
) -> dict[str, dict[str, Any]]:
    """Success at evaluation temperature without hindsight, with it, and with another task's."""
    by_view: dict[str, dict[str, Any]] = {}
    states = [_states(g.trajectories[0]) for g in groups if g.trajectories and g.trajectories[0].turns]
    shifted = [states[(i + 1) % len(states)] for i in range(len(panel[1]))]
    for view in ("without", "own", "other_task"):
        config = parts.config
        sampler = make_sampler(
            parts.policy,
            config.agent,
            temperature=config.eval.temperature,
            seed=config.eval.seed,
            dispatch=config.sampler.dispatch,
            top_p=config.agent.top_p,
            chat=parts.agent.chat,
        )
        agent: Any = make_agent(parts.config.agent, parts.agent.chat, sampler)
        if view != "without":
            agent = HintedAgent(agent, parts.hinter, shifted if view == "other_task" else None)
        with progress.bar(f"view: {view}", len(panel[1])) as advance:
            result: EvalResult = evaluate(
                env_maker(parts.config.env, split),
                agent,
                stream=split,
                settings=rollout_settings(parts.config.rollout, hindsight=False, seed=parts.config.seed),
                panel=panel,
                on_episode=lambda _, advance=advance: advance(),
            )
        won, n = sum(t.success for t in result.trajectories), len(result.trajectories)
        by_view[view] = {"success": result.success, "interval": list(wilson(won, n)), "episodes": n}
    return by_view


def _states(trajectory: Trajectory) -> list[Hindsight]:
    return [turn.hindsight_before for turn in trajectory.turns]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
