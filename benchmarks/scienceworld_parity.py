"""Is the native ScienceWorld engine the original one? Records episodes of the original, and replays them natively.

    python benchmarks/scienceworld_parity.py record --out RECORD.jsonl --count 9   # needs rlsd[scienceworld] and Java
    python benchmarks/scienceworld_parity.py pack --out RECORD.jsonl --to tests/data/scienceworld_native.jsonl.xz
    python benchmarks/scienceworld_parity.py replay                                # the record in tests/data
    python benchmarks/scienceworld_parity.py speed                                 # both engines, the same episodes

Compared at the start and after every action: observation, score, done, `look around`, inventory, subgoals, and the list
of valid actions (length and hash). Recording appends episode by episode and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.parity.scienceworld import MODES, TURNS, difference, plan, play, read, write
from rlsd.envs.scienceworld.native import COVERED, NativeEngine
from rlsd.envs.scienceworld.package import PackageEngine
from rlsd.envs.scienceworld.task_types import TASK_TYPES

RECORD = Path(__file__).resolve().parents[1] / "tests" / "data" / "scienceworld_native.jsonl.xz"


def record(out: Path, count: int, seed: int, types: list[str], modes: list[str]) -> None:
    """Append what is missing of `count` episodes a type to `out`."""
    episodes = plan([(name, TASK_TYPES[name].variations) for name in types], count, seed, modes)
    done = len(out.read_text(encoding="utf-8").splitlines()) if out.exists() else 0
    engine, native = PackageEngine(), NativeEngine()
    for i, (name, variation, ease, mode) in enumerate(episodes[done:], start=done):
        started = time.perf_counter()
        episode = play(engine, name, variation, ease, mode)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(episode, ensure_ascii=False) + "\n")
        found = difference(episode, native) if name in COVERED else "not covered"
        seconds = time.perf_counter() - started
        steps = len(episode["steps"]) - 1
        print(
            f"{i + 1}/{len(episodes)} {name} {variation} {ease or '-'} {mode}: {steps} steps, {seconds:.0f} s", end=""
        )
        print(f"  {found or 'equal'}"[:800], flush=True)


def replay(file: Path) -> int:
    """Print differences by task type; the number of episodes that differ."""
    engine, episodes, steps, differ = NativeEngine(), Counter[str](), Counter[str](), Counter[str]()
    for episode in read(file):
        name = episode["task_type"]
        episodes[name] += 1
        steps[name] += len(episode["steps"]) - 1
        found = difference(episode, engine)
        if found:
            differ[name] += 1
            print(f"{name}/{episode['variation']} ({episode['mode']}): {found}"[:2000])
    print(f"{'task type':<44}{'episodes':>9}{'steps':>7}{'differ':>8}")
    for name in sorted(episodes):
        print(f"{name:<44}{episodes[name]:>9}{steps[name]:>7}{differ[name]:>8}")
    print(f"{'all':<44}{episodes.total():>9}{steps.total():>7}{differ.total():>8}")
    return differ.total()


class OwnClass:
    """The package as its own Python class plays it: lists come from Java element by element."""

    def __init__(self) -> None:
        from scienceworld import ScienceWorldEnv  # pyright: ignore[reportMissingImports]

        self._env = ScienceWorldEnv("", envStepLimit=10_000)

    def open(self, task_type: str, variation: int, simplifications: str) -> None:
        self._env.load(task_type, variation, simplifications)
        self._env.reset()

    def step(self, action: str) -> None:
        self._env.step(action)


def children_seconds() -> float:
    """Processor seconds of the processes that this one has started and that still run."""
    ticks, seconds = os.sysconf("SC_CLK_TCK"), 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                seconds += (int(fields[11]) + int(fields[12])) / ticks
    return seconds


def processor_seconds(run: Callable[[], object]) -> float:
    """What a call takes of this process and of those that it has started."""
    others, own = children_seconds(), time.process_time()
    run()
    own = time.process_time() - own
    return own + children_seconds() - others


def played(engine: Any, actions: list[str]) -> None:
    for action in actions:
        engine.step(action)


def speed(file: Path, count: int, originals: int, to: Path | None) -> None:
    """Steps a processor second over `count` recorded episodes, spread over the record, on each engine in turn.

    Args:
        originals: 0: none of them; 1: the original; 2: with its own Python class, too.
    """
    episodes = list(read(file))
    chosen = episodes[:: max(len(episodes) // count, 1)][:count]
    engines: list[tuple[str, Any]] = [("native", NativeEngine()), ("native, no lists", NativeEngine(lists=False))]
    if originals:
        engines.append(("original", PackageEngine()))
    if originals > 1:
        engines.append(("original's own class", OwnClass()))
    rows = []
    for name, engine in engines:
        spent = {True: [0, 0.0, 0.0], False: [0, 0.0, 0.0]}
        opening = 0.0
        for episode in chosen:
            key = episode["task_type"], episode["variation"], episode["simplifications"]
            opening += processor_seconds(partial(engine.open, *key))
            actions = [action for action, *_ in episode["steps"][1:]]
            row, clock = spent["openContainers" not in episode["simplifications"]], time.perf_counter()
            row[0] += len(actions)
            row[1] += processor_seconds(partial(played, engine, actions))
            row[2] += time.perf_counter() - clock
        steps, cpu, clock = (sum(part) for part in zip(*spent.values(), strict=True))
        rows.append(
            {
                "engine": name,
                "episodes": len(chosen),
                "steps": steps,
                "steps_per_processor_second": round(steps / cpu, 1),
                "with_containers_shut": round(spent[True][0] / spent[True][1], 1),
                "with_containers_open": round(spent[False][0] / max(spent[False][1], 1e-9), 1),
                "steps_per_second": round(steps / clock, 1),
                "opening_processor_seconds": round(opening / len(chosen), 4),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    if originals:
        slow = rows[2]["steps_per_processor_second"]
        for row in rows[:2]:
            row["times_the_original"] = round(row["steps_per_processor_second"] / slow)
            row["times_the_original_shut"] = round(row["with_containers_shut"] / rows[2]["with_containers_shut"])
    if to is not None:
        to.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("record", "pack", "replay", "speed"))
    parser.add_argument("--out", type=Path, default=Path("scienceworld.jsonl"))
    parser.add_argument("--to", type=Path, default=RECORD)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--count", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--types", nargs="*", default=list(COVERED))
    parser.add_argument("--modes", nargs="*", default=list(TURNS), choices=MODES)
    parser.add_argument("--originals", type=int, choices=(0, 1, 2), default=2, help="2: its own class, too; 0: neither")
    parser.add_argument("--json", type=Path, help="file for the figures of `speed`")
    given = parser.parse_args()
    if given.command == "record":
        record(given.out, given.count, given.seed, given.types, given.modes)
    elif given.command == "pack":
        write(given.to, [json.loads(line) for line in given.out.read_text(encoding="utf-8").splitlines()])
    elif given.command == "replay":
        sys.exit(1 if replay(given.record) else 0)
    else:
        speed(given.record, given.count, given.originals, given.json)


if __name__ == "__main__":
    main()
