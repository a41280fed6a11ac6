"""Oracle and explorer on the test panel of every BabyAI level: success, and actions of won episodes.

    python benchmarks/babyai_levels.py [--tasks 120] [LEVEL ...] > results/babyai_levels.md

The oracle knows the whole grid, the explorer is the package's bot. Both play in the environment, within the package's
limit of steps. Needs rlsd[babyai].
"""

from __future__ import annotations

import argparse

from rlsd.envs.babyai.env import BabyAIEnv
from rlsd.envs.babyai.levels import levels


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="*", metavar="LEVEL")
    parser.add_argument("--tasks", type=int, default=120)
    args = parser.parse_args()
    print("| level | tasks | oracle, % won | mean actions | longest | explorer, % won | mean actions | longest |")
    print("|---|---|---|---|---|---|---|---|")
    for level in args.levels or levels():
        print(row(level, args.tasks), flush=True)


if __name__ == "__main__":
    main()
