"""Refill: a group whose episodes all ended alike teaches outcome-based methods nothing; another task takes its place.

Decided on the raw outcome, the sum of the environment's own rewards: neither penalties nor a user's own reward count.
This is DAPO's dynamic sampling (arXiv 2503.14476, §3.2) with a limit; places for which no mixed group was found keep
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlsd.harness.rollout.trajectory import Group, Trajectory, reasons
from rlsd.harness.scoring.tables import episode_metrics, flatten, token_count

SAME = 1e-9
"""Outcomes that differ by less are equal: sums of the same rewards in another order."""


def raw_outcome(trajectory: Trajectory) -> float:
    """Sum of the environment's rewards."""
    return sum(turn.reward for turn in trajectory.turns)


def is_mixed(group: Group) -> bool:
    """Whether two episodes of the group have different raw outcomes; failed episodes do not count."""
    outcomes = [raw_outcome(t) for t in group.trajectories]
    return bool(outcomes) and max(outcomes) - min(outcomes) > SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Refilled:
    """An iteration's groups after the refill."""

    groups: list[Group]
    """One for each place, in the order of the places."""
    own: Sequence[Group]
    """Those of the iteration's own tasks, before any was replaced."""
    dropped: list[Group] = field(default_factory=list)
    """Replaced groups, and extra groups without contrast."""
    extra: list[Group] = field(default_factory=list)
    """All extra groups, kept or dropped."""

    def metrics(self) -> dict[str, Any]:
        """Counts of the refill, success of the iteration's own tasks, and failures among all that was played."""
        lost = [t for g in (*self.groups, *self.dropped) for t in g.failed]
        own = episode_metrics(self.own)
        return {
            "own_success": own["success"],
            "own_mixed_groups": sum(map(is_mixed, self.own)) / max(1, len(self.own)),
            "refilled_groups": sum(now is not before for now, before in zip(self.groups, self.own)),
            "extra_episodes": count_episodes(self.extra),
            "dropped_tokens": token_count(flatten(self.dropped)),
            "failed_episodes": len(lost),
            "failures": reasons(lost),
        }


def refill(own: Sequence[Group], play: Callable[[int, int], Sequence[Group]], *, limit: int) -> Refilled:
    """Replace groups without contrast by mixed ones of extra tasks, until none is left or `limit` tasks are played.

    Each round plays as many extra tasks as places are still open, so no mixed group is played in vain.

    Args:
        own: the iteration's own groups, of all processes.
        play: groups of the extra tasks with the numbers `first` to `first + count - 1`; every process must call.
        limit: largest number of extra tasks.
    """
    groups, dropped, extra = list(own), list[Group](), list[Group]()
    places = [i for i, group in enumerate(groups) if not is_mixed(group)]
    while places and len(extra) < limit:
        played = play(len(extra), min(len(places), limit - len(extra)))
        extra += played
        for group in played:
            if is_mixed(group):
                place = places.pop(0)
                group, groups[place] = groups[place], group
            dropped.append(group)
    return Refilled(groups=groups, own=own, dropped=dropped, extra=extra)


def count_episodes(groups: Sequence[Group]) -> int:
    """Episodes, failed ones included."""
    return sum(len(g.trajectories) + len(g.failed) for g in groups)
