"""Compare two evaluations of one panel (a fixed evaluation set), task by task."""

from __future__ import annotations

import json
import math
from math import comb
from pathlib import Path
from typing import Any

from rlsd.envs.errors import RlsdError
from rlsd.harness.evals.stats import hierarchical_bootstrap


class CompareError(RlsdError):
    """Files that cannot be compared."""


def compare_files(a: Path, b: Path) -> dict[str, Any]:
    """B minus A on files of `rlsd eval --save`.

    Returns:
        difference, interval (95 %, paired bootstrap over tasks), p (McNemar, exact), tasks, verdict; if scores
        differ from wins, also score_difference and score_interval.

    Raises:
        CompareError: a file is unreadable, or the panels differ.
    """
    first, second = _read(a), _read(b)
    if first["panel"]["digest"] != second["panel"]["digest"]:
        raise CompareError(
            f"{a} and {b} are of different panels ({first['panel']['digest']} and {second['panel']['digest']}); "
            "evaluate both on one split"
        )
    tasks = sorted(first["wins"])
    if not tasks or tasks != sorted(second["wins"]):
        raise CompareError(f"{a} and {b} do not list the same tasks; write both anew with `rlsd eval --save`")
    pairs = [(first["wins"][t], second["wins"][t]) for t in tasks]
    difference, low, high = hierarchical_bootstrap([[float(y) - float(x) for x, y in pairs]])
    p = mcnemar(sum(x and not y for x, y in pairs), sum(y and not x for x, y in pairs))
    verdict = "not distinguishable" if low <= 0 <= high or p > 0.05 else ("better" if difference > 0 else "worse")
    result: dict[str, Any] = {
        "difference": difference,
        "interval": [low, high],
        "p": p,
        "tasks": len(tasks),
        "verdict": verdict,
    }
    if any(side["scores"] != side["wins"] for side in (first, second)):
        scores = [second["scores"][t] - first["scores"][t] for t in tasks]
        result["score_difference"], *result["score_interval"] = hierarchical_bootstrap([scores])
    return result


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test: tasks won by one side alone are equally likely on either side.

    >>> round(mcnemar(1, 9), 4)
    0.0215
    """
    n = only_a + only_b
    if n == 0:
        return 1.0
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    return min(1.0, 2 * tail)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
        wins = {str(k): v for k, v in data["wins"].items()}
        if not all(isinstance(won, bool) for won in wins.values()):
            raise ValueError("a win that is neither true nor false")
        scores = data.get("scores", wins)  # older files have none
        numbers = {task: float(scores[task]) for task in wins}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("a score that is no finite number")
        return {"panel": {"digest": str(data["panel"]["digest"])}, "wins": wins, "scores": numbers}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompareError(f"{path} was not written by `rlsd eval --save` ({type(error).__name__})") from error
