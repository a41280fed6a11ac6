"""From groups to the flat tables the credit functions read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlsd.agents.seeding import generator
from rlsd.algorithms.advantage import AdvantageConfig
from rlsd.algorithms.batch import TokenBatch
from rlsd.harness.rollout.trajectory import Group, Trajectory, reasons
from rlsd.harness.scoring.similarity import anchor_numbers, tfidf


def flatten(groups: Sequence[Group]) -> list[Trajectory]:
    """All trajectories, group by group: the order of every table and of `sequences.flat_offsets`."""
    return [t for g in groups for t in g.trajectories]


def token_count(trajectories: Sequence[Trajectory]) -> int:
    return sum(len(turn.action.token_ids) for t in trajectories for turn in t.turns)


def token_batch(groups: Sequence[Group], advantage: AdvantageConfig | None = None) -> TokenBatch:
    """Tables of one iteration as sampled: the sampler's log-probs stand in for the learner's, without hindsight.

    `advantage` says which observations are one state, and whether their vectors are wanted.
    """
    rule = advantage or AdvantageConfig()
    trajectories = flatten(groups)
    turns = [(n, k, turn) for n, t in enumerate(trajectories) for k, turn in enumerate(t.turns)]
    lengths = torch.tensor([len(turn.action.token_ids) for _, _, turn in turns], dtype=torch.long)
    spans = [_span(len(t.action.token_ids), t.action.action_span) for _, _, t in turns]
    group_of = [g for g, group in enumerate(groups) for _ in group.trajectories]
    seen = [turn.observation for _, _, turn in turns]
    sampled = torch.tensor([x for _, _, t in turns for x in t.action.logps])
    return TokenBatch(
        turn=torch.repeat_interleave(torch.arange(len(turns)), lengths),
        action_span=torch.cat(spans) if spans else torch.zeros(0, dtype=torch.bool),
        sampler_logp=sampled,
        student_logp=sampled,
        teacher_logp=sampled,
        hinted=torch.zeros_like(sampled, dtype=torch.bool),
        trajectory=torch.tensor([n for n, _, _ in turns], dtype=torch.long),
        position=torch.tensor([k for _, k, _ in turns], dtype=torch.long),
        step_reward=torch.tensor([r for t in trajectories for r in _rewards(t)]),
        anchor=torch.tensor(
            anchor_numbers([group_of[n] for n, _, _ in turns], seen, rule.similarity), dtype=torch.long
        ),
        valid=torch.tensor([t.valid for _, _, t in turns], dtype=torch.bool),
        group=torch.tensor(group_of, dtype=torch.long),
        returns=torch.tensor([t.episode_return for t in trajectories]),
        success=torch.tensor([t.success for t in trajectories], dtype=torch.bool),
        distance_before=_steps([t.hindsight_before.distance for _, _, t in turns]),
        distance_after=_steps([t.hindsight_after.distance for _, _, t in turns]),
        unmet_before=_unmet(trajectories, after=False),
        unmet_after=_unmet(trajectories, after=True),
        features=tfidf(seen) if rule.method == "proxmo" else None,
        policy_version=torch.tensor([t.action.policy_version for _, _, t in turns], dtype=torch.long),
    )


def _rewards(trajectory: Trajectory) -> list[float]:
    """Rewards of the turns; what a reward of the user's own differs by comes at the end, so that they add up to it."""
    rewards = [turn.reward for turn in trajectory.turns]
    if rewards and (more := trajectory.episode_return - sum(rewards)):
        rewards[-1] += more
    return rewards


def _steps(distances: Sequence[float | None]) -> Tensor:
    """(K,) expert steps to the goal, NaN where unknown."""
    return torch.tensor([float("nan") if d is None else d for d in distances], dtype=torch.float32)


def _unmet(trajectories: Sequence[Trajectory], *, after: bool) -> Tensor:
    """(K,) goal facts that do not hold before or after each turn, NaN where unknown.

    An environment that lists none may not know any, or no longer say; none is 0 only where an episode was won.
    """
    counts = []
    for t in trajectories:
        for k, turn in enumerate(t.turns):
            known = len((turn.hindsight_after if after else turn.hindsight_before).missing)
            won = after and t.success and k == len(t.turns) - 1
            counts.append(float(known) if known or won else float("nan"))
    return torch.tensor(counts, dtype=torch.float32)


def with_teacher(batch: TokenBatch, teacher_logp: Tensor) -> TokenBatch:
    """`batch` with the teacher view's (M,) log-probs, NaN for tokens without hindsight."""
    hinted = ~teacher_logp.isnan()
    return replace(batch, teacher_logp=torch.where(hinted, teacher_logp, batch.student_logp), hinted=hinted)


def _span(length: int, span: tuple[int, int]) -> Tensor:
    places = torch.arange(length)
    return (places >= span[0]) & (places < span[1])


def episode_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    """Metrics of an iteration's episodes."""
    trajectories = flatten(groups)
    turns = [turn for t in trajectories for turn in t.turns]
    n = max(1, len(trajectories))
    stops: dict[str, int] = {}
    for t in trajectories:
        stops[t.stop.value] = stops.get(t.stop.value, 0) + 1
    wins = [sum(t.success for t in g.trajectories) for g in groups]
    return {
        "episodes": len(trajectories),
        "failed_episodes": sum(len(g.failed) for g in groups),
        "failures": reasons(t for g in groups for t in g.failed),
        "success": sum(t.success for t in trajectories) / n,
        "returns": sum(t.episode_return for t in trajectories) / n,
        "turns": len(turns) / n,
        "invalid_rate": sum(not t.valid for t in turns) / max(1, len(turns)),
        "repeats": repeated_turns(trajectories) / max(1, len(turns)),
        "mixed_groups": sum(0 < w < len(g.trajectories) for w, g in zip(wins, groups)) / max(1, len(groups)),
        "stops": dict(sorted(stops.items())),
    }


def repeated_turns(trajectories: Sequence[Trajectory]) -> int:
    """Turns whose observation and action both occurred in an earlier turn of the same episode."""
    return sum(len(t.turns) - len({(turn.observation, turn.action.text) for turn in t.turns}) for t in trajectories)


T = TypeVar("T")


def epochs(items: Sequence[T], per: int, step: int, *, seed: int, name: str) -> list[T]:
    """Slice number `step` of `per` items; every epoch is a new seeded permutation of all items."""
    total = len(items)
    order: dict[int, Any] = {}
    chosen: list[T] = []
    for i in range(step * per, (step + 1) * per):
        epoch = i // total
        if epoch not in order:
            order[epoch] = generator(seed, name, epoch).permutation(total)
        chosen.append(items[int(order[epoch][i % total])])
    return chosen
