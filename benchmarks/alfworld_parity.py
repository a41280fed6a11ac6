"""Play the same games side by side on the original ALFWorld engine and on ours, and count every difference.

Needs `pip install "rlsd[alfworld]"` (the original: textworld with its PDDL planner, and alfworld). Compared after
every command: observation, admissible commands in their order, reward, done, won. Two episodes a game: the
walkthrough followed by nonsense, then random commands mixed with nonsense.

    python benchmarks/alfworld_parity.py --games FOLDER --count 20 --steps 25 --generated 6

The last line printed is one JSON object; the exit code is 0 only without differences.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

import rlsd.envs  # noqa: F401  (registers the environment)
from rlsd.envs.alfworld.export import export_game
from rlsd.envs.alfworld.generator import TASK_TYPES
from rlsd.envs.alfworld.presets import PRESETS, preset_generated

Shown = dict[str, Any]


class Original:
    """The original engine, wired as alfworld's own text environment wires it, without batches and step limit."""

    def __init__(self) -> None:
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs import PddlEnv

        self.env = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))

    def open(self, path: Path) -> None:
        self.env.load(str(path))

    def reset(self) -> Shown:
        return self._shown(self.env.reset(), 0, False)

    def step(self, command: str) -> Shown:
        state, reward, done = self.env.step(command)
        return self._shown(state, reward, done)

    def _shown(self, state: Any, reward: float, done: bool) -> Shown:
        return {
            "observation": state.feedback,
            "admissible": list(state["admissible_commands"]),
            "reward": float(reward),
            "done": bool(done),
            "won": bool(state["won"]),
        }


class Ours:
    """Our engine behind its public door."""

    def open(self, path: Path) -> None:
        self.env = gymnasium.make("rlsd/ALFWorld-v0", games=str(path), max_steps=1_000_000)

    def reset(self) -> Shown:
        observation, info = self.env.reset(seed=0)
        return self._shown(observation, 0.0, False, info)

    def step(self, command: str) -> Shown:
        observation, reward, terminated, _, info = self.env.step(command)
        return self._shown(observation, float(reward), terminated, info)

    def _shown(self, observation: str, reward: float, done: bool, info: Shown) -> Shown:
        return {
            "observation": observation,
            "admissible": info["admissible_actions"],
            "reward": reward,
            "done": done,
            "won": info["success"],
        }


@dataclass(slots=True, kw_only=True)
class Tally:
    """What both sides took and where they parted."""

    games: int = 0
    steps: int = 0
    resets: int = 0
    differences: int = 0
    examples: list[Shown] = field(default_factory=list)
    task_types: set[str] = field(default_factory=set)
    seconds: dict[str, dict[str, float]] = field(
        default_factory=lambda: {side: {"open": 0.0, "reset": 0.0, "step": 0.0} for side in ("original", "ours")}
    )

    def both(self, original: Original, ours: Ours, what: str, *given: Any, note: Shown) -> tuple[Any, Any]:
        """Call the same method on both, timed; compares what they show."""
        results = []
        for name, side in (("original", original), ("ours", ours)):
            start = time.perf_counter()
            results.append(getattr(side, what)(*given))
            self.seconds[name][what] += time.perf_counter() - start
        theirs, mine = results
        for key in theirs or ():
            if theirs[key] != mine[key]:
                self.differences += 1
                self.examples.append({**note, "key": key, "original": theirs[key], "ours": mine[key]})
                print(f"DIFFERENCE {json.dumps(self.examples[-1])}", file=sys.stderr, flush=True)
        return theirs, mine

    def report(self) -> Shown:
        def rate(side: str) -> float:
            return self.steps / self.seconds[side]["step"]

        first_reset = {side: s["open"] + s["reset"] for side, s in self.seconds.items()}
        return {
            "games": self.games,
            "task_types": len(self.task_types),
            "steps": self.steps,
            "differences": self.differences,
            "original_steps_per_s": round(rate("original"), 2),
            "ours_steps_per_s": round(rate("ours"), 1),
            "steps_ratio": round(rate("ours") / rate("original"), 1),
            "original_open_s": round(self.seconds["original"]["open"] / self.games, 4),
            "ours_open_s": round(self.seconds["ours"]["open"] / self.games, 4),
            "original_reset_s": round(self.seconds["original"]["reset"] / self.resets, 4),
            "ours_reset_s": round(self.seconds["ours"]["reset"] / self.resets, 4),
            "open_and_reset_ratio": round(first_reset["original"] / first_reset["ours"], 1),
            "examples": self.examples[:5],
        }


def play(path: Path, original: Original, ours: Ours, tally: Tally, *, steps: int, rng: random.Random) -> None:
    """Two episodes of one game on both sides: walkthrough and nonsense; random commands and nonsense."""
    walkthrough = json.loads(path.read_text())["walkthrough"] or []
    note: Shown = {"game": str(path)}
    tally.both(original, ours, "open", path, note=note)
    for episode in ("walk", "random"):
        shown, _ = tally.both(original, ours, "reset", note={**note, "command": None})
        tally.resets += 1
        walked = iter([*walkthrough, *nonsense(shown["admissible"], rng)])
        for n in range(steps if episode == "random" else len(walkthrough) + 6):
            if episode == "walk":
                command = next(walked)
            elif n % 8 == 7:
                command = rng.choice(list(nonsense(shown["admissible"], rng)))
            else:
                command = by_verb(shown["admissible"], rng)
            shown, _ = tally.both(original, ours, "step", command, note={**note, "command": command})
            tally.steps += 1
        if episode == "walk" and not shown["won"]:
            print(f"note: {path} is not won after its walkthrough and nonsense", file=sys.stderr)
    tally.games += 1


def by_verb(admissible: list[str], rng: random.Random) -> str:
    """A random verb, then a random command of it: plain random choice would mostly walk."""
    verbs = sorted({c.split()[0] for c in admissible})
    verb = rng.choice(verbs)
    return rng.choice([c for c in admissible if c.split()[0] == verb])


def nonsense(admissible: list[str], rng: random.Random) -> Iterator[str]:
    """Commands that are odd, half right or wrong."""
    some = rng.choice(admissible)
    thing = re.sub(r"\d+$", "99", some)
    odd = [
        f"  {some}\n",
        some.upper() if some.upper() != some else "LOOK",
        some.replace(" ", "  ") + " now",
        thing + "9",
        "go to nowhere 1",
        "take unicorn 1 from countertop 1",
        "go to",
        "",
        "examine",
        "put mug 1 in shelf 1",
        "move  to",
        "heat apple 1 with fridge 1",
        "use desklamp",
        "slice with knife 1",
        "\t",
        "look around",
    ]
    rng.shuffle(odd)
    yield from odd


def pick(folder: Path, count: int, rng: random.Random) -> list[Path]:
    """`count` game files of a folder, all task types by turns."""
    by_type: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.tw-pddl")):
        if "movable" in str(path) or "Sliced" in str(path):
            continue
        kind = next((t for t in TASK_TYPES if t in str(path)), "unknown")
        by_type.setdefault(kind, []).append(path)
    for paths in by_type.values():
        rng.shuffle(paths)
    chosen: list[Path] = []
    while len(chosen) < count and any(by_type.values()):
        chosen += [paths.pop() for paths in by_type.values() if paths]
    return chosen[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, default=os.environ.get("ALFWORLD_DATA"), help="folder of *.tw-pddl")
    parser.add_argument("--count", type=int, default=20, help="how many of them")
    parser.add_argument("--steps", type=int, default=25, help="random commands a game")
    parser.add_argument("--generated", type=int, default=6, help="generated games, presets and task types by turns")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.count and (options.games is None or not Path(options.games).is_dir()):
        parser.error("--games FOLDER (or ALFWORLD_DATA) must hold the games; --count 0 plays generated ones alone")
    rng = random.Random(options.seed)
    try:
        original = Original()
    except ImportError as error:
        parser.error(f'the original engine is not installed ({error}); run pip install "rlsd[alfworld]"')
    ours, tally = Ours(), Tally()
    with tempfile.TemporaryDirectory() as folder:
        games = pick(Path(options.games), options.count, rng) if options.count else []
        kinds = [next((t for t in TASK_TYPES if t in str(path)), "unknown") for path in games]
        names = list(PRESETS)
        for n in range(options.generated):
            made = preset_generated(names[n % len(names)], "test", options.seed * 6 + n)
            games.append(export_game(made, Path(folder) / f"generated-{n}" / "game.tw-pddl"))
            kinds.append(made.task_type)
        for n, path in enumerate(games):
            play(path, original, ours, tally, steps=options.steps, rng=rng)
            tally.task_types.add(kinds[n])
            print(f"{n + 1}/{len(games)} {path}: {tally.differences} differences so far", file=sys.stderr, flush=True)
    print(json.dumps(tally.report()))
    return 0 if tally.differences == 0 and tally.games else 1


if __name__ == "__main__":
    sys.exit(main())
