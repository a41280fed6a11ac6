"""Warm starts: expert episodes (or your own) as token trajectories, both views.

The acting view imitates the episode's actions. The teacher's view reads the hindsight exactly as it will in RL and
imitates the plan's next action, so that Δ later means something: a model that never saw the prompt gives noise.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rlsd.agents.core import EpisodeKey
from rlsd.agents.parsing import Style
from rlsd.agents.policy import PolicyAgent
from rlsd.envs.core import Task
from rlsd.harness.batch import token_count
from rlsd.harness.config import ConfigError
from rlsd.harness.hints import Hints
from rlsd.harness.rows import Insertion, Row, student_rows, teacher_rows
from rlsd.harness.types import Group, StopReason, Trajectory, Turn, _turn_from


@dataclass(frozen=True, slots=True, kw_only=True)
class SftBatch:
    """Rows of both views and what each token counts; M tokens of the acting view, then those of the teacher's."""

    student: list[Row]
    teacher: list[Row]
    weights: Tensor
    """(M + M',) float: adds up to 1."""


def wrap_action(text: str, style: Style) -> str:
    """The response a policy of this style would have written for `text`."""
    return text if style == "compact" else f"<think>Next: {text}.</think><action>{text}</action>"


def demonstrated(group: Group, agent: PolicyAgent, *, context: int) -> Group:
    """The group's episodes with tokens, as if the policy had written the actions itself.

    An episode is cut before the first turn that would not fit into `context` tokens.
    """
    trajectories: list[Trajectory] = []
    for trajectory in group.trajectories:
        turns: list[Turn] = []
        for k, turn in enumerate(trajectory.turns):
            history = replace(trajectory, turns=(*turns, turn)).history(k)
            said = turn.action.response or wrap_action(turn.action.text, agent.memory.style)
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
        trajectories: with tokens, in the order `hints` was built for.
        hints: the teacher's view; turns without hindsight are trained in the acting view alone.
        share: weight of the teacher's view.
        target: "plan" imitates the plan's first action where there is one, "own" the episode's action.
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
                ids = agent.format.response(wrap_action(plan[0], agent.memory.style))
            elif turn.action.explored or not hint.turn:
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
    return SftBatch(
        student=student_rows(trajectories, merge=merge),
        teacher=teacher_rows(trajectories, insertions, merge=merge),
        weights=weights,
    )


def read_trajectories(path: str | Path, env_id: str) -> list[Trajectory]:
    """A user's own episodes: JSON lines (plain or .gz) with `goal` and `turns` of `observation` and `action`.

    Also reads what a run wrote under `rollouts/`. Optional: `response` (the whole text the model should write),
    `success`, `task_type`, and the other fields of `Trajectory.to_json`.

    Raises:
        ConfigError: unreadable, or a line that is no episode; names the line.
    """
    path = Path(path)
    found: list[Trajectory] = []
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            lines = [line for line in file if line.strip()]
    except OSError as error:
        raise ConfigError(f"sft.trajectories: cannot read {str(path)!r}: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_episode(json.loads(line), number, env_id))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"sft.trajectories: line {number} of {path} is no episode ({type(error).__name__}: {error}); expected "
                '{"goal": "…", "turns": [{"observation": "…", "action": "…"}, …]}'
            ) from error
    if not found:
        raise ConfigError(f"sft.trajectories: {path} holds no episodes")
    return found


def _episode(data: dict, number: int, env_id: str) -> Trajectory:  # type: ignore[type-arg]
    if "key" in data and "task" in data:
        return Trajectory.from_json(data)
    kind = str(data.get("task_type", "user"))
    task = Task(env_id=env_id, task_id=f"line-{number}", split="user", task_type=kind)
    turns = tuple(_turn_from(t) for t in data["turns"])
    if not turns:
        raise ValueError("an episode without turns")
    success = bool(data.get("success", True))
    return Trajectory(
        key=EpisodeKey("user", 0, number, 0),
        task=task,
        goal=str(data["goal"]),
        turns=turns,
        stop=StopReason.TERMINATED,
        success=success,
        score=float(data.get("score", success)),
        returns=float(data.get("returns", success)),
    )
