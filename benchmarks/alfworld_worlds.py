"""Statistics of generated and published games side by side, in one table.

Mean, and in brackets the 5th, 50th and 95th percentile, over the games of each column. "In a receptacle": published
games also have unreachable scenery, which the generator leaves out.

    python benchmarks/alfworld_worlds.py                                # generated families; published where present
    python benchmarks/alfworld_worlds.py --columns real/train gen-default/test gen-level-8/test --most 240

The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence

from rlsd.envs import RlsdError
from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts.oracle import plan
from rlsd.envs.alfworld.games import open_library, real_data_folder
from rlsd.envs.alfworld.generate.config import TASK_TYPES
from rlsd.envs.alfworld.generate.difficulty import difficulty


def _housed(game: Game) -> list[int]:
    return [o for o, places in enumerate(game.inside) if places]


def _steps(game: Game) -> float:
    return float(len(plan(World(game)) or ()))


MEASURES: dict[str, Callable[[Game], float]] = {
    "receptacles": lambda g: len(g.receptacles),
    "types of receptacle": lambda g: len(set(g.receptacle_types)),
    "receptacles that open, %": lambda g: 100 * len(g.openable) / len(g.receptacles),
    "receptacles that share a place, %": lambda g: 100 * (1 - len(set(g.places)) / len(g.places)),
    "receptacles that hold something, %": lambda g: 100 * len({r for x in g.inside for r in x}) / len(g.receptacles),
    "objects in a receptacle": lambda g: len(_housed(g)),
    "types of object there": lambda g: len({g.object_types[o] for o in _housed(g)}),
    "objects per receptacle": lambda g: len(_housed(g)) / len(g.receptacles),
    "objects of the goal's type": lambda g: len(g.goal_objects),
    "places for the goal": lambda g: len(g.goal_targets),
    "shortest plan, commands": _steps,
    "difficulty, commands": lambda g: difficulty(g, int(_steps(g))),
}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and percentiles."""
    ordered = sorted(values)
    at = {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (5, 50, 95)}
    return {"mean": round(sum(ordered) / len(ordered), 2), **{name: round(value, 1) for name, value in at.items()}}


def column(name: str, most: int) -> dict[str, dict[str, float]]:
    """Every measure over at most `most` games of an evaluation set, the same ones in every run."""
    games, _, split = name.partition("/")
    library = open_library(games, split)
    numbers = range(len(library.tasks))  # sampled, not every n-th: task types alternate in generated sets
    picked = sorted(random.Random(0).sample(numbers, most)) if most < len(numbers) else numbers
    chosen = [library.game(library.tasks[i].task_id) for i in picked]
    rows = {measure: spread([f(game) for game in chosen]) for measure, f in MEASURES.items()}
    for task_type in TASK_TYPES:
        plans = [_steps(game) for game in chosen if game.task_type == task_type]
        rows[f"{task_type}: games, %"] = {"mean": round(100 * len(plans) / len(chosen), 1)}
        rows[f"{task_type}: plan"] = spread(plans) if plans else {"mean": 0.0}
    return rows


def shown(cell: dict[str, float]) -> str:
    tail = f" [{cell['p5']:g} {cell['p50']:g} {cell['p95']:g}]" if "p5" in cell else ""
    return f"{cell['mean']:.1f}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [
        *(["real/train"] if real_data_folder("train") else []),
        "gen-default/test",
        "gen-easy/test",
        "gen-hard/test",
    ]
    parser.add_argument("--columns", nargs="+", default=default, help="evaluation sets, as games/split")
    parser.add_argument("--most", type=int, default=240, help="games per column, sampled from the set")
    options = parser.parse_args()
    table = {name: column(name, options.most) for name in options.columns}
    print("| | " + " | ".join(options.columns) + " |")
    print("|---" * (len(options.columns) + 1) + "|")
    for measure in next(iter(table.values())):
        print(f"| {measure} | " + " | ".join(shown(rows[measure]) for rows in table.values()) + " |")
    print(json.dumps(table))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RlsdError as error:
        sys.exit(f"{type(error).__name__}: {error}")
