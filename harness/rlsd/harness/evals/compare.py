"""Compare evaluations of one panel (a fixed evaluation set), task by task: two files, or any number of agents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

from rlsd.harness.evals.rates import mean_difference, passes_over_seeds, rate_interval
from rlsd.harness.evals.saved import CompareError, Entrant, check_alike, entrants, read_saved
from rlsd.harness.evals.stats import hierarchical_bootstrap, holm

__all__ = ["CompareError", "compare_agents", "compare_entrants", "compare_files", "compare_pair", "mcnemar", "verdict"]
LEVEL = 0.05
UNSETTLED = "not distinguishable"


def compare_files(a: Path, b: Path) -> dict[str, Any]:
    """B minus A on files of `rlsd eval --save`.

    Returns:
        difference, interval (95 %, paired bootstrap over tasks), p, test ("McNemar", exact; "t" with several samples),
        tasks, verdict; if scores differ from wins, also score_difference and score_interval.

    Raises:
        CompareError: a file is unreadable, or the panels differ.
    """
    first, second = (Entrant(name=path.stem, files=(read_saved(path),)) for path in (a, b))
    check_alike(first.files[0], second.files[0])
    found = compare_pair(first, second, "success")
    result: dict[str, Any] = {**found, "tasks": len(first.tasks), "verdict": verdict({**found, "p_holm": found["p"]})}
    if any(file.outcomes("score") != file.outcomes("success") for e in (first, second) for file in e.files):
        scores = second.table("score") - first.table("score")
        result["score_difference"], *result["score_interval"] = hierarchical_bootstrap(scores)
    return result


def compare_agents(arguments: Sequence[str], *, measure: str = "success") -> dict[str, Any]:
    """Every agent with its interval, and every pair with its difference, as `rlsd compare A B C …` names them.

    Args:
        measure: "success" or "score".

    Returns:
        panel, tasks, measure; agents: name, seeds, samples, rate, interval, by_type, and with several samples pass_at
        and pass_hat; pairs: a, b, difference (b − a), interval, p, test, p_holm, verdict; notes.

    Raises:
        CompareError: see `entrants`; or an unknown measure.
    """
    if measure not in ("success", "score"):
        raise CompareError(f"unknown measure {measure!r}; expected success or score")
    return compare_entrants(entrants(arguments), measure)


def compare_entrants(found: Sequence[Entrant], measure: str = "success") -> dict[str, Any]:
    """The same for agents whose files were read, which must be of one panel (`check_alike`)."""
    pairs = [{"a": a.name, "b": b.name, **compare_pair(a, b, measure)} for a, b in combinations(found, 2)]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs])):
        pair["p_holm"] = p
        pair["verdict"] = verdict(pair)
    return {
        "panel": found[0].files[0].digest,
        "tasks": len(found[0].tasks),
        "measure": measure,
        "agents": [_agent(entrant, measure) for entrant in found],
        "pairs": pairs,
        "notes": _notes(found),
    }


def verdict(comparison: dict[str, Any], level: float = LEVEL) -> str:
    """`better` or `worse` only where Holm's p is at most `level` and the interval leaves 0 out."""
    low, high = comparison["interval"]
    if comparison["p_holm"] > level or low <= 0 <= high:
        return UNSETTLED
    return "better" if comparison["difference"] > 0 else "worse"


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


def compare_pair(a: Entrant, b: Entrant, measure: str) -> dict[str, Any]:
    """B minus A: paired bootstrap and McNemar's test for one episode of each task, else t (`mean_difference`)."""
    first, second = a.table(measure), b.table(measure)
    if measure == "success" and all(len(e.files) == 1 and e.samples == 1 for e in (a, b)):
        difference, low, high = hierarchical_bootstrap(second - first)
        p = mcnemar(int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum()))
        test = "McNemar"
    else:
        difference, low, high, p = mean_difference(first, second)
        test = "t"
    return {"difference": difference, "interval": [low, high], "p": p, "test": test}


def _agent(entrant: Entrant, measure: str) -> dict[str, Any]:
    rate, low, high = rate_interval(entrant.table(measure), samples=entrant.samples)
    out: dict[str, Any] = {
        "name": entrant.name,
        "seeds": len(entrant.files),
        "samples": entrant.samples,
        "rate": rate,
        "interval": [low, high],
        "by_type": {},
    }
    for kind in sorted(set(entrant.types.values())):
        tasks = [task for task in entrant.tasks if entrant.types[task] == kind]
        rate, low, high = rate_interval(entrant.table(measure, tasks), samples=entrant.samples)
        out["by_type"][kind] = {"tasks": len(tasks), "rate": rate, "interval": [low, high]}
    if entrant.samples > 1:
        out.update(passes_over_seeds(entrant.counts(), entrant.samples))
    return out


def _notes(found: Sequence[Entrant]) -> list[str]:
    notes = list[str]()
    if len(found) > 2:
        notes.append(f"p (Holm): corrected for {len(found) * (len(found) - 1) // 2} comparisons; intervals are not")
    if all(len(entrant.files) == 1 for entrant in found):
        notes.append("one file an agent: this says which weights are better on such tasks, not which method is")
    least = min(len(entrant.files) for entrant in found)
    if 1 < least < 5:
        notes.append(
            f"{least} seeds: the spread over seeds is itself hardly known; `rlsd power` says how many it takes"
        )
    return notes
