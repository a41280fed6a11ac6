"""The package's own bot, played ahead from any state of an episode; it knows what has been in sight so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from rlsd.envs.babyai.world import State, World

_SEARCHES = 60
"""Searches of the bot for one action, after which it is thought to go round in circles."""


def bot_plan(world: World, state: State, *, at_most: int) -> tuple[int, ...] | None:
    """The bot's actions from a state to success; None where it fails. The world is left in another state.

    Args:
        at_most: actions after which the bot is given up.
    """
    for empty_handed in (False, True) if state.carried is not None else (False,):
        world.restore(state)
        try:
            actions = _play(world, bot_class()(world, empty_handed), at_most)
        except Exception:  # the bot states its assumptions as assertions, and has other ways to fail
            continue
        if world.won:
            return actions
    return None


def _play(world: World, bot: Any, at_most: int) -> tuple[int, ...]:
    actions: list[int] = []
    while not (world.won or world.lost) and len(actions) < at_most:
        bot.searches = 0
        action = int(bot.replan())
        if action > 5:  # the bot believes that it is done
            break
        actions.append(action)
        world.act(action)
    return tuple(actions)


@lru_cache(maxsize=1)
def bot_class() -> Any:
    """The bot, which begins in any state, skips what is done, searches faster in the same order, gives up."""
    from minigrid.utils.baby_ai_bot import BabyAIBot, DropSubgoal, GoNextToSubgoal

    class Bot(BabyAIBot):
        def __init__(self, world: World, empty_handed: bool) -> None:
            self._world, self.searches = world, 0
            super().__init__(world.env)
            if empty_handed:
                self._process_obs()
                self.stack.append(DropSubgoal(self))
                self.stack.append(GoNextToSubgoal(self, self._find_drop_pos()))

        def _process_obs(self) -> None:
            seen = np.frombuffer(bytes(self._world.seen), dtype=np.uint8)
            self.vis_mask = seen.reshape(self._world.height, self._world.width).T.astype(bool)

        def _process_instr(self, instr: Any) -> None:
            if not hasattr(instr, "instr_a"):
                super()._process_instr(instr)
                if self.mission.carrying in getattr(getattr(instr, "desc_move", None), "obj_set", ()):
                    del self.stack[-2:]  # go to it, pick it up
                return
            first, second = (instr.instr_b, instr.instr_a) if _after(instr) else (instr.instr_a, instr.instr_b)
            done = {id(instr.instr_a): instr.a_done, id(instr.instr_b): instr.b_done}
            for half in (second, first):
                if done[id(half)] != "success":
                    self._process_instr(half)

        def _breadth_first_search(
            self, initial_states: Iterable[Any], accept_fn: Callable[..., bool], ignore_blockers: bool
        ) -> Any:
            self.searches += 1
            if self.searches > _SEARCHES:
                raise RecursionError("the bot goes round in circles")
            width, cells, seen = self._world.width, self._world.env.grid.grid, self._world.seen
            queue: deque[Any] = deque(((int(i), int(j), int(k), int(l)), None) for i, j, k, l in initial_states)
            before: dict[tuple[int, int], Any] = {}
            while queue:
                (i, j, di, dj), came_from = queue.popleft()
                here = (i, j)
                if here in before:
                    continue
                before[here] = came_from
                cell = cells[j * width + i]
                if accept_fn(here, cell):
                    path, at = [], here
                    while at:
                        path.append(at)
                        at = before[at]
                    return path, here, before
                if not seen[j * width + i]:
                    continue
                if cell and (cell.type == "wall" or (not cell.is_open if cell.type == "door" else not ignore_blockers)):
                    continue
                for k, l in ((di, dj), (dj, di), (-dj, -di), (-di, -dj)):
                    queue.append(((i + k, j + l, k, l), here))
            return None, None, before

    return Bot


def _after(instruction: Any) -> bool:
    return type(instruction).__name__ == "AfterInstr"
