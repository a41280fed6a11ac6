"""Results of the two scripted experts on evaluation sets: wins within 50 steps, mean steps, explained losses.

The explorer plays in its three orders; the oracle plays from the start, and takes over after random commands (like a
student's mistakes). The cause of a loss is "out of reach" (no plan exists), with the object in hand if no receptacle of
the game accepts it, or the number of steps the game finally took. The number of receptacles, total and openable, is
listed too.

    python benchmarks/alfworld_panels.py                                         # generated games, no data needed
    python benchmarks/alfworld_panels.py --panels real/valid_seen real/train     # the published games
    python benchmarks/alfworld_panels.py --panels gen-hard/test --every 4        # every fourth game

The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from rlsd.envs import RlsdError, make
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts.explorer import Explorer
from rlsd.envs.alfworld.experts.oracle import plan
from rlsd.envs.alfworld.games import open_library

LIMIT, PATIENCE, WANDERED = 50, 400, 20


@dataclass(slots=True, kw_only=True)
class Score:
    """The results of one expert on an evaluation set."""

    games: int = 0
    won: int = 0
    steps: int = 0
    """In games won within the limit."""
    seconds: float = 0.0
    losses: list[str] = field(default_factory=list)

    def add(self, world: World, steps: int | None, name: str, seconds: float) -> None:
        self.games += 1
        self.seconds += seconds
        if steps is not None and steps <= LIMIT:
            self.won += 1
            self.steps += steps
            return
        game = world.game
        end = "never" if steps is None else f"{steps} steps"
        if plan(world) is None:
            end = "out of reach"
            if world.in_hand >= 0 and not any(game.places[r] >= 0 for r in game.fits[world.in_hand]):
                end += f", with a {game.object_types[world.in_hand]} in hand that fits nowhere"
        self.losses.append(f"{name}: {end}, {len(game.receptacles)} receptacles, {len(game.openable)} that open")

    def to_json(self) -> dict[str, Any]:
        return {
            "games": self.games,
            "won": self.won,
            "steps": round(self.steps / max(self.won, 1), 2),
            "ms_per_game": round(1000 * self.seconds / max(self.games, 1), 2),
            "out_of_reach": sum("out of reach" in loss for loss in self.losses),
        }


def explore(world: World, order: Any, seed: int) -> int | None:
    """Steps to the win from the start, acting on observations and admissible commands alone."""
    explorer = Explorer(seed=seed, order=order)
    observation = world.reset()
    explorer.reset(observation, world.game.task)
    for step in range(1, PATIENCE + 1):
        observation = world.step(explorer.act(observation, world.admissible()))
        if world.won:
            return step
    return None


def follow(world: World) -> int | None:
    """Commands to the win when following the oracle, which replans at every step."""
    for step in range(PATIENCE):
        route = plan(world)
        if not route:
            return None if route is None else step
        world.step(route[0])
    return None


def measure(panel: str, every: int) -> dict[str, Score]:
    games, _, split = panel.partition("/")
    library = open_library(games, split)
    scores = {name: Score() for name in ("likely", "random", "listed", "oracle", "oracle after mistakes")}
    for number, task in enumerate(library.tasks[::every]):
        game = library.game(task.task_id)
        draw = random.Random(number)
        for name, score in scores.items():
            world = World(game)
            if name == "oracle after mistakes":
                for _ in range(WANDERED):
                    world.step(draw.choice(world.admissible()))
            start = time.perf_counter()
            steps = follow(world) if name.startswith("oracle") else explore(world, name, seed=number)
            score.add(world, steps, task.task_id, time.perf_counter() - start)
        if game.walkthrough and len(plan(World(game)) or ()) > len(game.walkthrough):
            scores["oracle"].losses.append(f"{task.task_id}: longer than the walkthrough of {len(game.walkthrough)}")
    return scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", nargs="+", default=["gen-easy/test", "gen-default/test", "gen-hard/test"])
    parser.add_argument("--every", type=int, default=1, help="play every n-th game")
    options = parser.parse_args()
    report: dict[str, Any] = {}
    for panel in options.panels:
        make("rlsd/ALFWorld-v0", games=panel.partition("/")[0], split=panel.partition("/")[2]).close()  # clear errors
        scores = measure(panel, options.every)
        report[panel] = {name: score.to_json() for name, score in scores.items()}
        for name, score in scores.items():
            mean = score.steps / max(score.won, 1)
            print(f"{panel:20s} {name:22s} {score.won:4d} of {score.games:4d} won, {mean:5.1f} steps", flush=True)
            for loss in score.losses if name != "listed" and name != "random" else ():
                print(f"    {loss}")
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RlsdError as error:
        sys.exit(f"{type(error).__name__}: {error}")
