"""Faults to inject into small real rollouts, and what becomes of the rollout.

`make faults` runs them all, with those of answers, endpoints, files and signals (`tests.support.fault_matrix`).

survived: every episode was played, and won as it should be. counted: some episode failed, as data with a reason, and no
other than the one at fault. silent: an episode was spoilt, or another than the one at fault was lost, and nothing said
so; there must be none.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlsd.agents.scripted import ScriptedAgent
from rlsd.envs.core import TextEnv
from rlsd.envs.remote.processes import WorkerPool
from rlsd.harness.rollout.rollout import Rollout, RolloutError, RolloutSettings
from rlsd.harness.rollout.trajectory import Group
from tests.support.plain_worlds import Plain
from tests.support.trouble import ACTS, ANSWERS, HERE, Trouble
from tests.support.wild_server import OK, answer, answering

Kind = Literal["environment", "worker", "server", "file", "signal"]
Outcome = Literal["survived", "counted", "silent"]
TROUBLED = "t1"
LIMIT_S = 1.5
"""Time limit of a call where one is to pass."""
WORKER_LIMIT_S = 5.0
"""The same in a worker process, of which a new one has to start in that time."""
PATIENT_S = 60.0
AT_ONCE = 2
"""Faults that run side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault and how to inject it."""

    name: str
    kind: Kind
    run: Callable[[], Outcome]
    fast: bool = False
    """Among those that the tests run."""


FAULTS: dict[str, Fault] = {}
"""By name. `add` puts one more."""


def add(name: str, kind: Kind, run: Callable[[], Outcome], *, fast: bool = False) -> None:
    assert name not in FAULTS, name
    FAULTS[name] = Fault(name=name, kind=kind, run=run, fast=fast)


def judged(play: Callable[[], list[Group]], *, all_at_fault: bool = False) -> Outcome:
    """What a rollout of `Plain`'s four tasks came to.

    Args:
        all_at_fault: the fault is in every environment, so the rollout may say that all episodes failed.
    """
    try:
        groups = play()
    except RolloutError:
        return "counted" if all_at_fault else "silent"
    for group in groups:
        for t in group.trajectories:
            right = [f"{group.task.task_id}: you stand in a room.", "step 1 done", "step 2 done"]
            if [turn.observation for turn in t.turns] != right or t.episode_return != 1.0 or not t.success:
                return "silent"
    failed = [t for group in groups for t in group.failed]
    if any(t.error is None or not t.error.message or t.task.task_id != TROUBLED for t in failed):
        return "silent"
    return "counted" if failed else "survived"


def rollout(make_env: Callable[[], TextEnv], *, limit_s: float, siblings: int = 1) -> list[Group]:
    played = Rollout(make_env, ScriptedAgent(["walk"]), RolloutSettings(slots=4, step_timeout_s=limit_s, retries=2))
    groups = played.groups(Plain().tasks(), siblings, stream="train", iteration=0)
    played.close()
    return groups


# ------------------------------------------------------------------ worker processes and environments


def in_worker(what: str, when: str, *, once: bool, limit_s: float) -> Outcome:
    """A rollout in one worker process, whose environment makes trouble at a place, once or always."""
    with tempfile.TemporaryDirectory() as folder, WorkerPool(1) as pool:
        pool.open(HERE)  # started: what follows is timed
        mark = str(Path(folder) / "once") if once else ""
        return judged(
            lambda: rollout(lambda: pool.open(HERE, what=what, when=when, once=mark), limit_s=limit_s),
        )


def stopped_worker(number: int, *, while_playing: bool) -> Outcome:
    """SIGSTOP or another signal for a worker from outside, before a rollout or in the middle of it."""
    with WorkerPool(1) as pool:
        pool.open(HERE)
        (worker,) = pool._all

        def hit() -> None:
            time.sleep(0.05)
            os.kill(worker.process.pid, number)

        thread = threading.Thread(target=hit)
        thread.start()
        if not while_playing:
            thread.join()
        limit_s = WORKER_LIMIT_S if number == signal.SIGSTOP else PATIENT_S
        return judged(lambda: rollout(lambda: pool.open(HERE), limit_s=limit_s, siblings=4))


def in_process(what: str, when: str, *, once: bool) -> Outcome:
    """The same in threads of this process."""
    with tempfile.TemporaryDirectory() as folder:
        mark = str(Path(folder) / "once") if once else ""
        return judged(lambda: rollout(lambda: Trouble(what=what, when=when, once=mark), limit_s=LIMIT_S))


_HANGS = ("hang", "hold", "backtrack", "stop")
_ENDS = ("kill", "abort", "exit", "orphan", "close pipes")
_WRITES = ("garbage", "json garbage", "half a line", "read input")
_RAISES = ("raise", "system exit", "interrupt", "recurse")

for _what in ACTS:
    for _when in ("open", "reset", "step 2", "hindsight"):
        _limit = WORKER_LIMIT_S if _what in _HANGS else PATIENT_S
        if _what in _HANGS and _when in ("reset", "hindsight"):
            continue  # they cost their time limit: two places are enough
        add(
            f"worker: {_what} once at {_when}",
            "worker",
            lambda what=_what, when=_when, limit=_limit: in_worker(what, when, once=True, limit_s=limit),
            fast=(_what, _when) in {("kill", "step 2"), ("garbage", "reset"), ("system exit", "hindsight")},
        )
for _what in ("kill", "garbage", "raise", "interrupt"):
    add(
        f"worker: {_what} always at step 2",
        "worker",
        lambda what=_what: in_worker(what, "step 2", once=False, limit_s=PATIENT_S),
        fast=_what == "kill",
    )
for _what in ANSWERS:
    add(
        f"worker: answers a step with {_what}",
        "worker",
        lambda what=_what: in_worker(what, "step 2", once=False, limit_s=PATIENT_S),
        fast=_what in ("reward NaN", "info list"),
    )
for _number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
    for _playing in (False, True):
        add(
            f"signal: {_number.name} for a worker {'in' if _playing else 'before'} a rollout",
            "signal",
            lambda number=_number, playing=_playing: stopped_worker(number, while_playing=playing),
        )
for _what in ("raise", "hang"):
    for _when in ("open", "reset", "step 2", "hindsight"):
        add(
            f"environment: {_what} once at {_when}",
            "environment",
            lambda what=_what, when=_when: in_process(what, when, once=True),
            fast=_what == "raise",
        )


# ------------------------------------------------------------------ servers


def server(*replies: bytes) -> Outcome:
    """An environment behind a server that gives these replies: lost, if the rollout says why."""
    from rlsd.envs.remote.http import HttpEnv

    with answering(*replies) as url:
        return judged(lambda: rollout(lambda: HttpEnv(url, timeout_s=5.0), limit_s=LIMIT_S), all_at_fault=True)


def _json(data: Any) -> bytes:
    return answer(json.dumps(data).encode())


_SESSION = _json({"ok": {"session": "s"}})
_REPLIES: dict[str, tuple[bytes, ...]] = {
    "nothing": (b"",),
    "garbage": (b"garbage\r\n\r\n",),
    "no JSON": (answer(b"<html>"),),
    "half of its JSON": (answer(b'{"ok": {"ses'),),
    "half of its body": (OK + b"content-length: 100\r\n\r\n{}",),
    "bytes that are no text": (answer(b"\xff\xfe\x00"),),
    "a deep list": (answer(b"[" * 50_000),),
    "a list": (_json([1]),),
    "a number": (_json(7),),
    "a session of a wrong kind": (_json({"ok": {"session": 7}}),),
    "no session": (_json({"ok": {}}),),
    "an error of a wrong shape": (_json({"error": 7}),),
    "status 500": (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",),
    "status 404": (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",),
    "status 302": (b"HTTP/1.1 302 No\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",),
    "a gzip bomb": (answer(gzip.compress(b" " * (70 << 20)), "content-encoding: gzip"),),
    "no gzip where it says so": (answer(b"{}", "content-encoding: gzip"),),
    "an unknown packing": (answer(b"{}", "content-encoding: zstd"),),
    "a session, then nothing": (_SESSION, b""),
    "a session, then nonsense": (_SESSION, _json({"ok": "x"})),
    "a session, then NaN": (_SESSION, _json({"ok": {"max_chars": float("nan")}})),
    "a session, then steps of a wrong shape": (_SESSION, _json({"ok": {"max_chars": 9}}), _json({"ok": [1, 2]})),
}
for _name, _replies in _REPLIES.items():
    add(
        f"server: answers {_name}",
        "server",
        lambda replies=_replies: server(*replies),
        fast=_name in ("a list", "an unknown packing", "no session"),
    )
