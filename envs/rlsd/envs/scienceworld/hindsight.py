"""What only the teacher may read about an episode: subgoals, the rest of the gold path, the last changes."""

from __future__ import annotations

from rlsd.envs.core import Hindsight
from rlsd.envs.scienceworld.shown import Shown

_MOST = 12
"""Changes that are told."""
_LONGEST = 160
"""Characters of one change; descriptions of full containers are long."""


def hindsight(
    now: Shown,
    before: Shown | None,
    *,
    gold: tuple[str, ...],
    plan: tuple[str, ...] | None,
    plan_before: tuple[str, ...] | None,
) -> Hindsight:
    """Facts about the present state.

    Args:
        before: what was shown before the last action; None at the start.
        gold: a solution from the start.
        plan: actions from here to the goal; None where no way is known.
        plan_before: the same, before the last action, where it was asked for.
    """
    won = now.score >= 100
    route = () if now.done else plan
    changed = () if before is None else changes(before, now)
    distance = 0.0 if won else None if not route else float(len(route))
    earlier = None if plan_before is None else float(len(plan_before))
    return Hindsight(
        demonstration=gold,
        plan=route or (),
        missing=_missing(now),
        distance=distance,
        distance_before=earlier,
        changed=changed,
        lost=_lost(now, before),
        feedback="" if before is None else _feedback(before, now, changed, earlier, distance),
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


def _feedback(
    before: Shown, now: Shown, changed: tuple[str, ...], earlier: float | None, distance: float | None
) -> str:
    if now.score < 0:
        return "The last action made the task fail."
    told = f"the score rose from {before.score} to {now.score}" if now.score > before.score else "the score is the same"
    if now.score < before.score:
        told = f"the score fell from {before.score} to {now.score}"
    seen = "changed something" if changed else "changed nothing that can be seen"
    if earlier is not None and distance is not None:
        trend = "nearer to" if distance < earlier else "farther from" if distance > earlier else "no nearer to"
        told += f", and it brought you {trend} the goal ({earlier:.0f} -> {distance:.0f} steps left)"
    return f"The last action {seen}; {told}."
