"""What each process of a run scores, and what all of them know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rlsd.harness.distributed import Ranks
from rlsd.harness.hindsight.hints import Hints
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.scoring.sequences import runs


def turn_only(ranks: Ranks, insertions: Mapping) -> bool:
    """Whether there is hindsight and all of it is turn hindsight, over all processes, so that all do the same."""
    known = ranks.gather((bool(insertions), any(i.episode for i in insertions.values())))
    return any(some for some, _ in known) and not any(episode for _, episode in known)


def of_all(ranks: Ranks, hints: Hints) -> Hints:
    """Counts and texts of all processes; the insertions stay those of this one."""
    known = ranks.gather((hints.texts, hints.counts))
    counts: Counter[str] = Counter()
    for _, mine in known:
        counts.update(mine)
    texts = {place: text for mine, _ in known for place, text in mine.items()}
    return Hints(insertions=hints.insertions, texts=texts, counts={k: counts[k] for k in hints.counts})


def foreign(ranks: Ranks, trajectories: Sequence[Trajectory], *, merge: bool) -> set[int]:
    """Trajectories that other processes score and train on; about the same number of tokens for each process."""
    if ranks.world == 1:
        return set()
    costs = [sum(len(_ids(t, part[-1])) for part in runs(t, merge=merge)) if t.turns else 0 for t in trajectories]
    return set(range(len(trajectories))) - ranks.balanced(costs)


def _ids(trajectory: Trajectory, turn: int) -> tuple[int, ...]:
    action = trajectory.turns[turn].action
    return (action.prompt.ids if action.prompt else ()) + action.token_ids
