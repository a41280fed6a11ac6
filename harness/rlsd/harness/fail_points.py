"""Named places where a run may be killed on purpose.

`RLSD_KILL_AT=mid-update:3` kills the process (SIGKILL, no clean-up) the third time it reaches `mid-update`. The tests
use this to show that a killed and resumed run equals an uninterrupted one; without the variable nothing happens.
`mid-update:3@1` kills the process of rank 1 alone.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

POINTS = (
    "mid-rollout",
    "mid-update",
    "before-rename",
    "mid-metrics-line",
    "after-checkpoint",
    "mid-evaluation",
)
VARIABLE = "RLSD_KILL_AT"

_seen: Counter[str] = Counter()


def armed(name: str) -> bool:
    """Whether to kill the process at this visit of `name`; counts the visit."""
    spec = os.environ.get(VARIABLE)
    if not spec:
        return False
    spec, _, rank = spec.partition("@")
    wanted, _, count = spec.partition(":")
    if wanted != name or (rank and rank != os.environ.get("RANK", "0")):
        return False
    _seen[name] += 1
    return _seen[name] == int(count or 1)


def point(name: str) -> None:
    """Kill the process here if armed."""
    if armed(name):
        kill()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
