"""Difficulty of a game: length of the shortest plan plus expected wasted commands of a random search.

The searcher visits receptacles in random order, one command to walk there and one more to open a closed one, until it
has seen what the goal needs. Of `k` receptacles with a goal object, the `j`-th comes after any one empty receptacle
with probability j / (k + 1), so the expected wasted commands have a closed form (for a lamp and an object by
inclusion and exclusion, as if no receptacle contained both).
"""

from __future__ import annotations

from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts.oracle import plan


def difficulty(game: Game, steps: int | None = None) -> float:
    """Expected commands of the searcher above; `inf` if the goal is unreachable.

    Args:
        steps: length of a shortest plan from the start, if known.

    Example: a mug on one of 9 open shelves, to be put on the desk: 4 (go, take, go, move) + 9 others / 2 = 8.5.
    """
    if steps is None:
        route = plan(World(game))
        if route is None:
            return float("inf")
        steps = len(route)
    things = {r for o in game.goal_objects for r in game.inside[o]}
    k, j = len(things), min(game.goal.count, len(things))
    missed = j / (k + 1)
    holding = things
    if game.goal.kind == "look":
        lamps = {r for o in game.goal_targets for r in game.inside[o]}
        missed += 1 / (len(lamps) + 1) - 1 / (k + len(lamps) + 1)
        holding = things | lamps
    shut = game.openable - game.opened
    empty = [r for r, place in enumerate(game.places) if place >= 0 and r not in holding]
    return steps + missed * sum(2 if r in shut else 1 for r in empty)
