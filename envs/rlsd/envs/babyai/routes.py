"""Shortest ways through the grid: turns, steps, and closed doors that are opened on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Any

from rlsd.envs.babyai.world import FORWARD, LEFT, RIGHT, STEPS, TOGGLE, Cell, World

_Pose = tuple[int, int, int, bool]
"""x, y, direction, whether the door in front was just opened."""


def route(world: World, targets: Container[Cell], *, wished: bool = False) -> tuple[int, ...] | None:
    """The fewest actions after which one of `targets` is right in front; None where there is no way.

    Args:
        wished: as if things in the way were not there, and locked doors were not locked.
    """
    start: _Pose = (*world.at, world.facing, False)
    came: dict[_Pose, tuple[_Pose, int] | None] = {start: None}
    queue: deque[_Pose] = deque([start])
    while queue:
        pose = queue.popleft()
        x, y, facing, opened = pose
        dx, dy = STEPS[facing]
        front = (x + dx, y + dy)
        if front in targets and not opened:
            return _actions(came, pose)
        if not opened:
            for action, turned in ((LEFT, (facing - 1) % 4), (RIGHT, (facing + 1) % 4)):
                _visit(came, queue, (x, y, turned, False), pose, action)
        thing = world.thing_at(front)
        if opened or thing is None or thing.can_overlap() or (wished and thing.can_pickup()):
            _visit(came, queue, (*front, facing, False), pose, FORWARD)
        elif thing.type == "door" and (wished or not thing.is_locked):
            _visit(came, queue, (x, y, facing, True), pose, TOGGLE)
    return None


def cells_of(world: World, actions: tuple[int, ...]) -> list[Cell]:
    """The cells that a route enters, in order."""
    (x, y), facing, cells = world.at, world.facing, []
    for action in actions:
        if action == FORWARD:
            x, y = x + STEPS[facing][0], y + STEPS[facing][1]
            cells.append((x, y))
        elif action != TOGGLE:
            facing = (facing + (1 if action == RIGHT else -1)) % 4
    return cells


def _visit(came: dict[_Pose, Any], queue: deque[_Pose], pose: _Pose, before: _Pose, action: int) -> None:
    if pose not in came:
        came[pose] = before, action
        queue.append(pose)


def _actions(came: dict[_Pose, Any], pose: _Pose) -> tuple[int, ...]:
    actions: list[int] = []
    while (last := came[pose]) is not None:
        pose, action = last
        actions.append(action)
    return tuple(reversed(actions))
