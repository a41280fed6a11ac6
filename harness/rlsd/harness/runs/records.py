"""How an episode is kept: one JSON object a line, what a list of episodes needs before the turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rlsd.harness.rollout.trajectory import Trajectory

TURNS = b', "turns": ['
"""Where the turns begin in a line: in texts quotes are escaped, and nothing before them has such a key."""


def record_of(
    trajectory: Trajectory,
    credit: Sequence[float],
    read: Sequence[str | None] = (),
    *,
    prompts: bool = False,
) -> dict[str, Any]:
    """An episode as it is kept.

    Args:
        credit: of each turn.
        read: the hindsight that the teacher read at each turn, None where there was none; left out if all are.
        prompts: with what the agent read, see `Trajectory.to_json`.
    """
    record = trajectory.to_json(prompts=prompts)
    turns = record.pop("turns")
    actions = [turn.action for turn in trajectory.turns]
    sizes = {
        "turns": len(turns),
        "tokens": sum(len(a.token_ids) or (a.usage.output if a.usage else 0) for a in actions),
        "refused": sum(not (turn.valid and turn.action.valid) for turn in trajectory.turns),
    }
    texts = {"hindsight_read": list(read)} if any(text is not None for text in read) else {}
    return {**record, "turn_credit": [round(x, 6) for x in credit], "sizes": sizes, "turns": turns, **texts}


def head_of(line: bytes) -> dict[str, Any]:
    """A kept episode without its turns, if it has `sizes`; the whole of one that an earlier version wrote.

    Raises:
        ValueError: the line is no JSON.
    """
    head, found, _ = line.partition(TURNS)
    if found and b'"sizes": {' in head:
        return json.loads(head + b"}")
    return json.loads(line)
