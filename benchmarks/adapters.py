"""Scores of a random and of an oracle agent in environments of other packages, on the first tasks of the test split.

    python benchmarks/adapters.py --tasks 20 --only TextWorld

Rows whose package is not installed say so. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from rlsd.agents.scripted import ExpertAgent, RandomAgent
from rlsd.agents.types import Agent
from rlsd.envs import EnvError, TextEnv, make
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.serve.env import opener
from rlsd.harness.serve.guard import Limits
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.openenv import openenv_app

PANELS: list[tuple[str, dict[str, Any]]] = [
    ("rlsd/ToyText-v0", {"game": "frozenlake"}),
    ("rlsd/ToyText-v0", {"game": "frozenlake", "slippery": True}),
    ("rlsd/ToyText-v0", {"game": "taxi"}),
    ("rlsd/ToyText-v0", {"game": "cliffwalking"}),
    ("rlsd/ToyText-v0", {"game": "blackjack"}),
    ("rlsd/TextWorld-v0", {"challenge": "coin"}),
    ("rlsd/TextWorld-v0", {"challenge": "treasure"}),
    ("rlsd/TextWorld-v0", {"challenge": "simple"}),
    ("rlsd/TextWorld-v0", {"challenge": "cooking"}),
    ("rlsd/TextArena-v0", {"game": "GuessTheNumber-v0-hardcore"}),
    ("rlsd/TextArena-v0", {"game": "FrozenLake-v0"}),
    ("rlsd/TextArena-v0", {"game": "LightsOut-v0"}),
    ("rlsd/TextArena-v0", {"game": "Mastermind-v0"}),
    ("rlsd/TextArena-v0", {"game": "Sudoku-v0-very-easy"}),
    ("rlsd/GEM-v0", {"game": "game:GuessTheNumber-v0-hard"}),
    ("rlsd/GEM-v0", {"game": "game:Mastermind-v0-easy"}),
    ("rlsd/GEM-v0", {"game": "rg:basic_arithmetic"}),
    ("rlsd/SkyRLGym-v0", {"game": "gsm8k"}),
    ("rlsd/SkyRLGym-v0", {"game": "gsm8k_multi_turn"}),
    ("rlsd/OpenEnv-v0", {"serves": "rlsd/Keys-v0"}),
]


def play(make_env: Callable[[], TextEnv], agent: Agent, most: int) -> dict[str, float]:
    """Success, score, return and turns, each a mean over the first tasks."""
    env = make_env()
    tasks = list(env.tasks())[:most]
    env.close()
    rollout = Rollout(make_env, agent, RolloutSettings(slots=1, seed=0))
    groups = rollout.groups(tasks, 1, stream="adapters", iteration=0)
    rollout.close()
    played = [t for group in groups for t in group.trajectories]
    failed = sum(len(group.failed) for group in groups)
    mean = lambda values: round(sum(values) / max(1, len(played)), 3)  # noqa: E731
    return {
        "tasks": len(tasks),
        "failed": failed,
        "success": mean([t.success for t in played]),
        "score": mean([t.score for t in played]),
        "return": mean([t.episode_return for t in played]),
        "turns": mean([len(t.turns) for t in played]),
    }


def row(env_id: str, kwargs: dict[str, Any], most: int) -> dict[str, Any]:
    """One panel with both agents, or why there is none."""
    started = time.perf_counter()
    named = {"env": env_id, **kwargs}
    with ExitStack() as stack:
        if "serves" in kwargs:
            served = opener(kwargs["serves"], {}, workers=0)
            app = openenv_app(served, Limits(), name=kwargs["serves"])
            kwargs = {"url": stack.enter_context(Background(Listener(app, sockets=True)))}
        make_env = partial(make, env_id, **kwargs, split="test")
        try:
            env = make_env()
            _, info = env.reset(seed=0)
            listed, planned = info.get("admissible_actions") is not None, bool(env.hindsight().to_json())
            env.close()
        except EnvError as error:
            return {**named, "absent": str(error)}
        agents: dict[str, Agent] = {"random": RandomAgent()} if listed else {}
        agents |= {"oracle": ExpertAgent("oracle")} if planned else {}
        scores = {name: play(make_env, agent, most) for name, agent in agents.items()}
    return {**named, **scores, "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--only", default="", help="panels whose environment or arguments contain this")
    asked = parser.parse_args()
    print("| environment | arguments | agent | tasks | success | score | return | turns |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for env_id, kwargs in PANELS:
        if asked.only not in f"{env_id} {kwargs}":
            continue
        rows.append(row(env_id, kwargs, asked.tasks))
        told = ", ".join(f"{name}={value}" for name, value in kwargs.items())
        if "absent" in rows[-1]:
            print(f"| {env_id} | {told} | {rows[-1]['absent']} |")
        for agent in ("random", "oracle"):
            if agent in rows[-1]:
                s = rows[-1][agent]
                values = f"{s['tasks']} | {s['success']} | {s['score']} | {s['return']} | {s['turns']} |"
                print(f"| {env_id} | {told} | {agent} | {values}", flush=True)
    print(json.dumps({"benchmark": "adapters", "rows": rows}))


if __name__ == "__main__":
    main()
