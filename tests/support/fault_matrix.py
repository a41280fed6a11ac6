"""`make faults`: every fault that is tried, and what became of the run.

    python -m tests.support.fault_matrix [WORD …]      # all, or those whose kind or name contains a word

survived: nothing is missing, or one line refuses and names what is wrong. counted: the episode at fault failed, typed
and counted, and no other. lost: a run or another episode with it. silent: a wrong result without a word. There must be
no lost and no silent one.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

from rlsd.envs.core import TextEnv
from rlsd.harness.fail_points import POINTS
from rlsd.harness.rollout.trajectory import Group
from tests.faults.test_kill_and_resume import RL, Runs, assert_same
from tests.support import api_faults, faults, file_faults, misbehaving
from tests.support.rollouts import play

OUTCOMES = ("survived", "counted", "lost", "silent")
Run = Callable[[], str]


def answers() -> Iterator[tuple[str, str, Run]]:
    """What an environment answers: played together, each in a task of its own, in process and in threads."""
    for where, threads in (("process", False), ("thread", True)):
        for name in misbehaving.FAULTS:
            yield "answer", f"{name} ({where})", partial(_answer, name, threads)


def _answer(name: str, threads: bool) -> str:
    group = next(g for g in _played(threads) if g.task.task_id == name)
    if group.trajectories or not group.failed:
        return "silent"
    call, reason = misbehaving.reasons()[name]
    told = [(t.error.boundary, t.error.reason) if t.error else None for t in group.failed]
    others = [g for g in _played(threads) if g.task.task_id in misbehaving.GOOD]
    if any(g.failed or not all(t.success for t in g.trajectories) for g in others):
        return "lost"
    return "counted" if told == [(call, reason)] * len(told) else "silent"


@cache
def _played(threads: bool) -> list[Group]:
    def make() -> TextEnv:
        return misbehaving.Misbehaving(threads=threads)

    return play(make, tasks=make().tasks(), siblings=2, step_timeout_s=60.0)


def signals() -> Iterator[tuple[str, str, Run]]:
    """A run killed at a point, and started again: metrics, weights and episodes of an uninterrupted one."""
    for point in POINTS:
        for times in (1, 2):
            yield "signal", f"SIGKILL, {point} number {times}", partial(_killed, f"{point}:{times}")


@cache
def _runs() -> Runs:
    runs = Runs(Path(tempfile.mkdtemp(prefix="rlsd-faults-")), RL)
    runs.finish("untouched")
    return runs


def _killed(at: str) -> str:
    runs, name = _runs(), at.replace(":", "-")
    code = runs.start(name, kill_at=at)
    if code != -signal.SIGKILL:
        return "survived"  # the run never came by
    try:
        assert_same(runs.finish(name), runs.folder / "untouched")
    except AssertionError:
        return "lost"
    return "survived"


def every() -> Iterator[tuple[str, str, Run]]:
    """(kind, name, run) of all faults."""
    yield from answers()
    for fault in faults.FAULTS.values():
        yield fault.kind, fault.name, fault.run
    for fault in (*api_faults.FAULTS, *api_faults.ALWAYS):
        yield f"endpoint {fault.kind}", fault.name, partial(_in_folder, fault.run)
    for fault in file_faults.table():
        yield "file", f"{fault.kind}: {fault.name}", partial(_in_folder, fault.run)
    yield from signals()


def _in_folder(run: Callable[[Path], str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder))


def main(words: list[str]) -> int:
    chosen = [f for f in every() if not words or any(w in f[0] or w in f[1] for w in words)]
    waits = [f for f in chosen if f[0] in ("environment", "worker", "server")]
    began = time.perf_counter()
    table: Counter[tuple[str, str]] = Counter()

    def run(fault: tuple[str, str, Run]) -> None:
        kind, name, call = fault
        outcome = call()
        table[kind, outcome] += 1
        if outcome not in ("survived", "counted"):
            print(f"{outcome:9} {kind}: {name}", flush=True)

    with ThreadPoolExecutor(faults.AT_ONCE) as threads:  # these wait for processes and time limits
        list(threads.map(run, waits))
    for fault in chosen:
        if fault not in waits:
            run(fault)
    print(f"{'':16}{'tried':>10}" + "".join(f"{o:>10}" for o in OUTCOMES))
    for kind in (*dict.fromkeys(f[0] for f in chosen), "all"):
        counts = [sum(n for (k, o), n in table.items() if o == outcome and kind in (k, "all")) for outcome in OUTCOMES]
        print(f"{kind:16}{sum(counts):>10}" + "".join(f"{n:>10}" for n in counts))
    print(f"{time.perf_counter() - began:.0f} s")
    return sum(n for (_, outcome), n in table.items() if outcome in ("lost", "silent"))


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
