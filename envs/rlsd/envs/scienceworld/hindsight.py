"""What only the teacher may read about an episode: subgoals, the rest of the gold path, the last changes."""

from __future__ import annotations

from rlsd.envs.core import Hindsight
from rlsd.envs.scienceworld.shown import Shown

_MOST = 12
"""Changes that are told."""
_LONGEST = 160
"""Characters of one change; descriptions of full containers are long."""


def rest_of(gold: tuple[str, ...], actions: tuple[str, ...]) -> tuple[str, ...]:
    """What remains of the gold path; () when the episode did not follow it, for nobody plans from elsewhere."""
    return gold[len(actions) :] if actions == gold[: len(actions)] else ()


def hindsight(now: Shown, before: Shown | None, *, gold: tuple[str, ...], actions: tuple[str, ...]) -> Hindsight:
    """Facts about the state after `actions`.

    Args:
        before: what was shown before the last action; None at the start.
        gold: the original's own solution.
    """
    won = now.score >= 100
    plan = () if now.done else rest_of(gold, actions)
    changed = () if before is None else changes(before, now)
    earlier = rest_of(gold, actions[:-1]) if before is not None else ()
    return Hindsight(
        demonstration=gold,
        plan=plan,
        missing=_missing(now),
        distance=0.0 if won else float(len(plan)) if plan else None,
        distance_before=float(len(earlier)) if earlier else None,
        changed=changed,
        lost=_lost(now, before),
        feedback="" if before is None else _feedback(before, now, changed, followed=bool(earlier and (plan or won))),
    )


def changes(before: Shown, now: Shown) -> tuple[str, ...]:
    """What an action changed, one fact each: subgoals first, then the room, then what is carried.

    Example: ("subgoal reached: focus on substance", "you are now elsewhere: This room is called the kitchen.")
    """
    facts = [f"subgoal reached: {n.text}" for b, n in zip(before.subgoals, now.subgoals) if n.done and not b.done]
    there, here = before.look.splitlines(), now.look.splitlines()
    if there[:1] != here[:1]:
        facts.append(f"you are now elsewhere: {here[0].split('. ')[0] if here else ''}.")
    else:
        facts += _differences(there, here, "here is now", "no longer here")
    facts += _differences(
        before.inventory.splitlines(), now.inventory.splitlines(), "you carry now", "you no longer carry"
    )
    return tuple(fact if len(fact) <= _LONGEST else f"{fact[: _LONGEST - 1]}…" for fact in facts[:_MOST])


def _differences(before: list[str], now: list[str], new: str, gone: str) -> list[str]:
    came = [f"{new}: {line.strip()}" for line in now if line not in before]
    return came + [f"{gone}: {line.strip()}" for line in before if line not in now]


def _missing(now: Shown) -> tuple[str, ...]:
    """Subgoals not reached: those in order first, then those that only add to the score."""
    ordered = [goal.text for goal in now.subgoals if goal.ordered and not goal.done]
    return (*ordered, *(f"adds to the score: {g.text}" for g in now.subgoals if not g.ordered and not g.done))


def _lost(now: Shown, before: Shown | None) -> tuple[str, ...]:
    if before is None or before.score < 0 or now.score >= 0:
        return ()
    return ("the task has failed and cannot be solved any more",)


def _feedback(before: Shown, now: Shown, changed: tuple[str, ...], *, followed: bool) -> str:
    if now.score < 0:
        return "The last action made the task fail."
    told = f"the score rose from {before.score} to {now.score}" if now.score > before.score else "the score is the same"
    if now.score < before.score:
        told = f"the score fell from {before.score} to {now.score}"
    seen = "changed something" if changed else "changed nothing that can be seen"
    return f"The last action {seen}; {told}{', and it was the next one of the solution' if followed else ''}."
