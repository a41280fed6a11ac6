"""ALFWorld's speed and memory through `gymnasium.make`, the native engine and the original in the same run.

    python benchmarks/alfworld.py --games FOLDER --original-python /path/to/python    both engines, published games
    python benchmarks/alfworld.py                                                     native only, generated games

A reset is the first one of a game: load, parse, reset, on both sides. The original needs `pip install "rlsd[alfworld]"`
in this Python or in the one named; without it only the native engine is measured, and the output says so. Both sides
play the same commands in the same games, alternating by episode, and must show the same output. CPU time is reported in
addition to wall-clock time, because other programs affect it less. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import resource
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# This file's folder comes first in the search path, where its name would hide the package `alfworld`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import gymnasium  # noqa: E402

import rlsd.envs  # noqa: E402
from rlsd.envs import EnvError  # noqa: E402

ID = "rlsd/ALFWorld-v0"
Figures = dict[str, Any]


class Side:
    """One engine in this process; counts its own time."""

    def __init__(self, games: str, split: str, backend: str) -> None:
        self.env = gymnasium.make(ID, games=games, split=split, backend=backend, max_steps=10**9)
        self.tasks = [task.task_id for task in self.env.get_wrapper_attr("tasks")()]
        self.seconds = {"reset": [0.0, 0.0], "step": [0.0, 0.0]}
        self.counts = {"reset": 0, "step": 0}

    def episode(self, task: str, commands: list[str], *, first: bool = True) -> list[Any]:
        """Reset into a task, then do the commands; returns everything shown. Only `first` resets count."""
        clock = (time.perf_counter(), time.process_time())
        shown: list[Any] = [self.env.reset(seed=0, options={"task": task})]
        middle = (time.perf_counter(), time.process_time())
        shown += [self.env.step(command) for command in commands]
        end = (time.perf_counter(), time.process_time())
        for what, a, b, n in (("reset", clock, middle, int(first)), ("step", middle, end, len(commands))):
            if n:
                self.counts[what] += n
                self.seconds[what] = [s + y - x for s, x, y in zip(self.seconds[what], a, b, strict=True)]
        return shown

    def figures(self) -> Figures:
        (reset_wall, reset_cpu), (step_wall, step_cpu) = self.seconds["reset"], self.seconds["step"]
        resets, steps = max(self.counts["reset"], 1), self.counts["step"]
        return {
            "steps": steps,
            "steps_per_s": round(steps / step_wall, 2),
            "steps_per_cpu_s": round(steps / step_cpu, 2),
            "reset_ms": round(1000 * reset_wall / resets, 3),
            "reset_cpu_ms": round(1000 * reset_cpu / resets, 3),
        }


def commands_of(side: Side, task: str, steps: int) -> list[str]:
    """Random admissible commands, balanced over verbs."""
    rng = random.Random(task)
    _, info = side.env.reset(seed=0, options={"task": task})
    commands: list[str] = []
    for _ in range(steps):
        verbs = sorted({c.split()[0] for c in info["admissible_actions"]})
        verb = rng.choice(verbs)
        commands.append(rng.choice([c for c in info["admissible_actions"] if c.split()[0] == verb]))
        info = side.env.step(commands[-1])[4]
    return commands


class Other:
    """The original engine in a separate process, driven by JSON lines."""

    def __init__(self, python: str, games: str, split: str) -> None:
        roots = [str(Path(p)) for p in rlsd.__path__]
        path = os.pathsep.join([*(str(Path(r).parent) for r in roots), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [python, "-W", "ignore", __file__, "--serve", "--games", games, "--split", split],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def ask(self, **question: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the process of the original engine ended; see its message above")
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(games: str, split: str) -> int:
    """The process behind `Other`."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the original prints must not mix with the answers
    side = Side(games, split, "textworld")
    for line in sys.stdin:
        question = json.loads(line)
        answer = side.figures() if question["what"] == "figures" else side.episode(question["task"], question["do"])
        print(json.dumps(answer), file=out, flush=True)
    return 0


def memory_of(options: argparse.Namespace, python: str, backend: str, count: int) -> Figures:
    """Memory of `count` open games after a few steps, in a separate process: total, and above the imports."""
    command = [python, "-W", "ignore", __file__, "--open", str(count), "--backend", backend]
    command += ["--games", str(options.games), "--split", options.split]
    roots = os.pathsep.join([*(str(Path(p).parent) for p in rlsd.__path__), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": roots}
    return json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.splitlines()[-1]
    )


def memory_mib() -> float:
    """Current resident memory of this process, or its peak if unavailable."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def open_many(games: str, split: str, backend: str, count: int) -> int:
    if backend == "textworld":  # exclude the packages from the memory of a game
        import textworld.envs  # noqa: F401  # pyright: ignore[reportMissingImports]
        from alfworld.agents.environment import alfred_tw_env  # noqa: F401  # pyright: ignore[reportMissingImports]
    before, start = memory_mib(), time.perf_counter()
    envs, opened = [], set[str]()
    for n in range(count):
        env = gymnasium.make(ID, games=games, split=split, backend=backend)
        tasks = env.get_wrapper_attr("tasks")()
        env.reset(seed=n, options={"task": tasks[n % len(tasks)].task_id})
        for command in ("look", "inventory", "help"):
            env.step(command)
        envs.append(env)
        opened.add(tasks[n % len(tasks)].task_id)
    seconds = time.perf_counter() - start
    figures = {
        "envs": len(envs),
        "games": len(opened),
        "mib": round(memory_mib() - before, 1),
        "process_mib": round(memory_mib(), 1),
    }
    print(json.dumps({**figures, "s": round(seconds, 1)}))
    return 0


def profile(games: str, split: str, plans: dict[str, list[str]], repeat: int) -> tuple[list[Figures], list[Figures]]:
    """Profile of the native engine, (steps, first resets): functions with the largest own time."""
    side = Side(games, split, "native")
    results = []
    for what in ("step", "reset"):
        profiler = cProfile.Profile(time.process_time)  # wall-clock time includes other programs
        for task, commands in plans.items():
            if what == "reset":
                forget()
                profiler.runcall(side.env.reset, seed=0, options={"task": task})
            else:
                for _ in range(repeat):
                    side.env.reset(seed=0, options={"task": task})
                    profiler.runcall(walk, side.env, commands)
        stats = pstats.Stats(profiler).stats  # pyright: ignore[reportAttributeAccessIssue]
        whole = sum(row[2] for row in stats.values())
        top = sorted(stats.items(), key=lambda item: -item[1][2])[:10]
        results.append([{"where": where(key), "share": round(row[2] / whole, 3), "calls": row[0]} for key, row in top])
    return results[0], results[1]


def walk(env: gymnasium.Env, commands: list[str]) -> None:
    for command in commands:
        env.step(command)


def where(key: tuple[str, int, str]) -> str:
    file, _, function = key
    return f"{Path(file).stem}.{function}" if file != "~" else function.strip("<>")


def forget() -> None:
    """Clear the caches of loaded and generated games, so that the next reset is a first one."""
    from rlsd.envs.alfworld import games
    from rlsd.envs.alfworld.generate import presets

    for module in (games, presets):
        for value in vars(module).values():
            if hasattr(value, "cache_clear") and value.__name__ in ("_read_cached", "preset_game", "preset_generated"):
                value.cache_clear()


def original_python(path: str | None) -> str | None:
    """The Python that has the original engine, or None."""
    if path:
        return path
    return sys.executable if find_spec("textworld") and find_spec("alfworld") else None


def compare(options: argparse.Namespace, python: str | None) -> tuple[Figures, dict[str, list[str]]]:
    """Both sides over the same episodes."""
    native = Side(options.games, options.split, "native")
    rng = random.Random(options.seed)
    tasks = rng.sample(native.tasks, min(options.count, len(native.tasks)))
    plans = {task: commands_of(native, task, options.steps) for task in tasks}
    other = Other(python, options.games, options.split) if python else None
    differences = 0
    for n, (task, commands) in enumerate(plans.items()):
        forget()
        shown = native.episode(task, commands)
        for _ in range(options.repeat):
            native.episode(task, commands, first=False)
        if other:
            theirs = other.ask(what="episode", task=task, do=commands)
            differences += theirs != json.loads(json.dumps(shown))
            print(f"{n + 1}/{len(plans)} {task}: {differences} games differ", file=sys.stderr, flush=True)
    result: Figures = {"games": len(plans), "native": native.figures()}
    if other:
        theirs = other.ask(what="figures")
        other.close()
        ours = result["native"]
        result |= {
            "original": theirs,
            "games_that_differ": differences,
            "steps_ratio": round(ours["steps_per_s"] / theirs["steps_per_s"], 1),
            "steps_cpu_ratio": round(ours["steps_per_cpu_s"] / theirs["steps_per_cpu_s"], 1),
            "reset_ratio": round(theirs["reset_ms"] / ours["reset_ms"], 1),
            "reset_cpu_ratio": round(theirs["reset_cpu_ms"] / ours["reset_cpu_ms"], 1),
        }
    return result, plans


def report_profile(name: str, rows: list[Figures]) -> None:
    print(f"native engine, where the time of {name} goes (own time of a function, share of all):")
    for row in rows:
        print(f"  {100 * row['share']:5.1f} %  {row['where']}  ({row['calls']} calls)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", default="gen-default", help="folder of published games, or a preset")
    parser.add_argument("--split", default=None, help="default: valid_seen of a folder, test of a preset")
    parser.add_argument("--original-python", help="a Python with the extra `alfworld` (default: this one)")
    parser.add_argument("--count", type=int, default=12, help="games played on both sides")
    parser.add_argument("--steps", type=int, default=20, help="commands a game")
    parser.add_argument("--repeat", type=int, default=20, help="times the native engine plays each game's commands")
    parser.add_argument("--memory", type=int, nargs="*", default=[1, 64, 1000], help="numbers of environments")
    parser.add_argument("--original-memory", type=int, nargs="*", default=[1, 4], help="the same for the original")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--open", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--backend", default="native", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(options.games).is_dir()
    options.split = options.split or ("valid_seen" if folder else "test")
    if options.serve:
        return serve(options.games, options.split)
    if options.open:
        return open_many(options.games, options.split, options.backend, options.open)
    python = original_python(options.original_python)
    if not python:
        print("the original engine is not installed here and --original-python names no other: native engine only")
    try:
        report, plans = compare(options, python)
    except EnvError as error:
        parser.error(str(error))
    if not folder:
        print("generated games: a first reset also generates and plans the game")
    steps, resets = profile(options.games, options.split, plans, options.repeat)
    report_profile("steps", steps)
    report_profile("first resets", resets)
    report |= {"reset_means": "load, parse, reset" if folder else "generate, plan, reset"}
    report["native_memory"] = [memory_of(options, sys.executable, "native", n) for n in options.memory]
    if python:
        report["original_memory"] = [memory_of(options, python, "textworld", n) for n in options.original_memory]
    report |= {"profile_steps": steps, "profile_resets": resets}
    print(json.dumps(report))
    return 0 if not report.get("games_that_differ") else 1


if __name__ == "__main__":
    sys.exit(main())
