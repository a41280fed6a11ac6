"""Oracle and explorer on the test panel of every BabyAI level: success, and actions of won episodes.

    python benchmarks/babyai_levels.py [--tasks 120] [LEVEL ...] > results/babyai_levels.md
    python benchmarks/babyai_levels.py --seeds 40       where the bot fails by itself, over the package's first seeds

The oracle knows the whole grid, the explorer is the package's bot. Both play in the environment, within the package's
limit of steps. Needs rlsd[babyai].
"""

from __future__ import annotations

import argparse

from rlsd.envs.babyai.bot import bot_plan
from rlsd.envs.babyai.env import BabyAIEnv
from rlsd.envs.babyai.levels import levels, make_world


def played(env: BabyAIEnv, task_id: str, kind: str) -> int | None:
    """Actions to success; None without it."""
    env.reset(options={"task": task_id})
    ended, steps, info = False, 0, {}
    while not ended:
        *_, terminated, truncated, info = env.step(env.expert(kind) or "")
        ended, steps = terminated or truncated, steps + 1
    return steps if info["success"] else None


def row(level: str, tasks: int) -> str:
    env = BabyAIEnv(level=level, split="test")
    cells = [level]
    names = [task.task_id for task in env.tasks()[:tasks]]
    cells.append(str(len(names)))
    for kind in ("oracle", "explorer"):
        steps = [played(env, name, kind) for name in names]
        won = [n for n in steps if n is not None]
        mean = f"{sum(won) / len(won):.1f}" if won else "-"
        cells += [f"{100 * len(won) / len(steps):.1f}", mean, str(max(won, default=0))]
    return f"| {' | '.join(cells)} |"


def bot_failures(level: str, seeds: int) -> list[int]:
    """The package's seeds, from 0 on, for which the bot has no way to success from the start."""
    failed = []
    for seed in range(seeds):
        world = make_world(level, seed)
        if bot_plan(world, world.save(), at_most=world.limit) is None:
            failed.append(seed)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="*", metavar="LEVEL")
    parser.add_argument("--tasks", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="instead: the bot alone on seeds 0 to N - 1")
    args = parser.parse_args()
    if args.seeds:
        for level in args.levels or levels():
            if failed := bot_failures(level, args.seeds):
                print(f"{level}: the bot fails on {len(failed)} of {args.seeds} seeds: {failed}", flush=True)
        return
    print("| level | tasks | oracle, % won | mean actions | longest | explorer, % won | mean actions | longest |")
    print("|---|---|---|---|---|---|---|---|")
    for level in args.levels or levels():
        print(row(level, args.tasks), flush=True)


if __name__ == "__main__":
    main()
