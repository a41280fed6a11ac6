"""Our experts and the original's handcoded one on published games: share won within 50 steps, and steps needed.

    python benchmarks/alfworld_experts.py --games FOLDER --count 100

Needs the published games and, for the handcoded expert, `pip install "rlsd[alfworld]"`; without the package it is left
out and the output says so. All play the native engine, which equals the original; the facts that the handcoded expert
reads from the original's state (object in hand, contents, clean, hot, cool) are read from ours. `--check N` also plays
its first N games on the original engine with its own wrappers, and compares the commands. The handcoded expert uses
Python's global random generator, hence several seeds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# This file's folder would hide the package `alfworld` behind benchmarks/alfworld.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

from rlsd.envs.alfworld.engine.game import Game, load_game  # noqa: E402
from rlsd.envs.alfworld.engine.world import World  # noqa: E402
from rlsd.envs.alfworld.experts import oracle  # noqa: E402
from rlsd.envs.alfworld.experts.explorer import Explorer, Order  # noqa: E402

Chooser = Callable[[str], str]
"""Observation → next command."""


def chosen(folder: Path, splits: list[str], count: int, seed: int) -> list[Path]:
    """`count` games, balanced over splits and task types as far as possible."""
    rng = random.Random(seed)
    queues: dict[tuple[str, str], list[Path]] = {}
    for split in splits:
        for path in sorted((folder / split).glob("*/*/game.tw-pddl")):
            queues.setdefault((split, path.parts[-3].split("-")[0]), []).append(path)
    for paths in queues.values():
        rng.shuffle(paths)
    picked: list[Path] = []
    while len(picked) < count and any(queues.values()):
        picked += [paths.pop() for paths in queues.values() if paths]
    return picked[:count]


def explorer(order: Order, seed: int | None) -> Callable[[World, Path], Chooser]:
    def start(world: World, path: Path) -> Chooser:
        expert = Explorer(seed=seed, order=order)
        expert.reset(world.reset(), world.game.task)
        return lambda observation: expert.act(observation, world.admissible())

    return start


def planner(world: World, path: Path) -> Chooser:
    return lambda observation: (oracle.plan(world) or ("look",))[0]


def facts(world: World) -> list[SimpleNamespace]:
    """The facts for the handcoded expert, in the original's format."""
    game = world.game
    rows = [("holds", "agent1", game.objects[world.in_hand])] if world.in_hand >= 0 else []
    rows += [
        ("inreceptacle", game.objects[o], game.receptacles[r]) for o, inside in enumerate(world.inside) for r in inside
    ]
    for name, objects in (("isclean", world.clean), ("ishot", world.hot), ("iscool", world.cool)):
        rows += [(name, game.objects[o]) for o in sorted(objects)]
    return [SimpleNamespace(name=name, names=list(names)) for name, *names in rows]


def task_of(path: Path) -> dict[str, Any]:
    """The task in the format of the original's `traj_data.json`, from the name of the game's folder."""
    kind, thing, _, target, _ = path.parts[-3].split("-")
    look = kind == "look_at_obj_in_light"
    targets = {"parent_target": "" if look else target, "toggle_target": target if look else ""}
    params = {"mrecep_target": "", "object_sliced": False, "object_target": thing, **targets}
    return {"task_type": kind, "pddl_params": params}


def handcoded(seed: int) -> Callable[[World, Path], Chooser]:
    """The original's expert, called as by its own wrapper."""

    def start(world: World, path: Path) -> Chooser:
        from alfworld.agents.expert import (  # pyright: ignore[reportMissingImports]
            HandCodedAgentTimeout,
            HandCodedTWAgent,
        )

        random.seed(seed)
        agent = HandCodedTWAgent(max_steps=200)
        with tempfile.TemporaryDirectory() as place:  # it reads its task from a file in the game's folder
            (Path(place) / "traj_data.json").write_text(json.dumps(task_of(path)))
            agent.reset(str(Path(place) / "game.tw-pddl"))
        last: list[str] = []

        def choose(observation: str) -> str:
            if not last:
                agent.observe(observation)
                last.append("look")
                return "look"
            admissible = world.admissible()
            state: Any = {"feedback": observation, "facts": facts(world), "admissible_commands": admissible}
            try:
                command = agent.act(_State(state), 0, world.won, last[-1])
            except HandCodedAgentTimeout:
                command = "look"
            last.append(command if command in admissible else "look")
            return last[-1]

        return choose

    return start


class _State(dict[str, Any]):
    """The original's states also provide their entries as attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def play(game: Game, path: Path, start: Callable[[World, Path], Chooser], limit: int) -> tuple[int | None, list[str]]:
    """Steps to the goal (None: not within the limit) and the commands."""
    world = World(game)
    observation, choose = world.reset(), start(world, path)
    commands: list[str] = []
    while not world.won and len(commands) < limit:
        commands.append(choose(observation))
        observation = world.step(commands[-1])
    return (len(commands) if world.won else None), commands


def on_the_original(path: Path, seed: int, limit: int) -> list[str]:
    """The commands of the handcoded expert on the original engine, both with the original's own wrappers."""
    import textworld  # pyright: ignore[reportMissingImports]
    from alfworld.agents.environment.alfred_tw_env import (  # pyright: ignore[reportMissingImports]
        AlfredDemangler,
        AlfredExpert,
    )
    from textworld.envs import PddlEnv  # pyright: ignore[reportMissingImports]

    infos = textworld.EnvInfos(won=True, admissible_commands=True, facts=True, extras=["expert_plan"])
    env = AlfredExpert(AlfredDemangler(PddlEnv(infos)))
    random.seed(seed)
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(path, Path(place) / "game.tw-pddl")
        (Path(place) / "traj_data.json").write_text(json.dumps(task_of(path)))
        env.load(str(Path(place) / "game.tw-pddl"))
        state = env.reset()
        commands: list[str] = []
        while not state["won"] and len(commands) < limit:
            commands.append(state["extra.expert_plan"][0])
            state, _, _ = env.step(commands[-1])
    return commands


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, required=True, help="folder that holds valid_seen/ and the others")
    parser.add_argument("--splits", nargs="+", default=["valid_seen", "valid_unseen"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--limit", type=int, default=50, help="steps an episode")
    parser.add_argument("--seeds", type=int, default=5, help="for the experts that draw")
    parser.add_argument(
        "--check", type=int, default=0, help="number of handcoded games to repeat on the original engine"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    paths = chosen(options.games, options.splits, options.count, options.seed)
    if not paths:
        parser.error(f"no game.tw-pddl under {options.games} in {', '.join(options.splits)}")
    games = {path: load_game(path) for path in paths}
    seeds = range(options.seeds)
    sides: dict[str, list[Callable[[World, Path], Chooser]]] = {
        "oracle": [planner],
        "explorer, likely": [explorer("likely", None)],
        "explorer, listed": [explorer("listed", None)],
        "explorer, random": [explorer("random", seed) for seed in seeds],
    }
    installed = bool(find_spec("alfworld") and find_spec("textworld"))
    if installed:
        sides["handcoded"] = [handcoded(seed) for seed in seeds]
    else:
        print('the handcoded expert is left out: run pip install "rlsd[alfworld]"')
    report: dict[str, Any] = {"games": len(paths), "splits": options.splits, "limit": options.limit, "experts": {}}
    walks: list[tuple[Path, list[str]]] = []
    for name, starts in sides.items():
        taken: list[int] = []
        lost: dict[str, int] = {}
        for start in starts:
            for path, game in games.items():
                steps, commands = play(game, path, start, options.limit)
                if name == "handcoded" and start is starts[0]:
                    walks.append((path, commands))
                if steps is None:
                    where = str(path.parent.relative_to(options.games))
                    lost[where] = lost.get(where, 0) + 1
                else:
                    taken.append(steps)
        episodes = len(starts) * len(games)
        mean = round(sum(taken) / len(taken), 2) if taken else None
        report["experts"][name] = {
            "episodes": episodes,
            "won": round(len(taken) / episodes, 4),
            "mean_steps_of_won": mean,
        }
        report["experts"][name]["lost"] = lost
        print(f"{name:18} won {100 * len(taken) / episodes:5.1f} % of {episodes}, {mean} steps on average where won")
    if installed and options.check:
        arguments = sys.argv
        same = [commands == on_the_original(path, 0, options.limit) for path, commands in walks[: options.check]]
        sys.argv = arguments  # the original's translator writes there
        report |= {"checked_on_the_original": len(same), "same_commands": sum(same)}
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
