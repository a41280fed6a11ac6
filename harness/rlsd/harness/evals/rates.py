"""Rates over a panel played several times: intervals that know which episodes belong together, and pass@k.

A table is (seeds, tasks): each cell a mean over the samples of one task under one seed, in [0, 1]. Episodes of one task
are alike, and so are those of one trained seed; an interval that counts episodes as independent is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlsd.harness.evals.stats import Z95, wilson
from rlsd.harness.evals.tails import normal_quantile, t_quantile, t_tail

Table = Sequence[Sequence[float]] | np.ndarray


class Spread(NamedTuple):
    """Variance of a table's mean, and the degrees of freedom with which it is known."""

    variance: float
    freedom: float


def spread(table: Table) -> Spread:
    """Variance of the mean of a (seeds, tasks) table when seeds and tasks are both a sample of those there could be.

    Two-way analysis of variance: (max(M_seeds, M) + max(M_tasks, M) − M) / (seeds × tasks), M_… the mean squares, M
    that of the residual; freedom by Satterthwaite 1946. One seed: the variance of the task means over tasks, the
    cluster-robust variance with its small-sample factor. Fewer than two tasks: infinite.

    Raises:
        ValueError: no table, or an empty one.
    """
    cells = _checked(table)
    seeds, tasks = cells.shape
    if tasks < 2:
        return Spread(math.inf, 1.0)
    if seeds < 2:
        return Spread(float(cells[0].var(ddof=1)) / tasks, tasks - 1.0)
    whole, rows, columns = cells.mean(), cells.mean(axis=1), cells.mean(axis=0)
    by_seed = tasks * float(rows.var(ddof=1))
    by_task = seeds * float(columns.var(ddof=1))
    left = cells - rows[:, None] - columns[None, :] + whole
    rest = float((left**2).sum()) / ((seeds - 1) * (tasks - 1))
    parts = ((max(by_seed, rest), seeds - 1), (max(by_task, rest), tasks - 1), (rest, (seeds - 1) * (tasks - 1)))
    total = parts[0][0] + parts[1][0] - rest
    if total <= 0:
        return Spread(0.0, tasks - 1.0)
    return Spread(total / (seeds * tasks), total**2 / sum(square**2 / freedom for square, freedom in parts))


def rate_interval(table: Table, *, samples: int = 1, level: float = 0.95) -> tuple[float, float, float]:
    """(rate, low, high) of a (seeds, tasks) table of shares: Wilson's interval at the effective number of episodes, so
    many independent ones as would tell as much (Korn and Graubard 1998), with Student's quantile.

    One seed and one sample of each task is Wilson's own interval. Where all cells are 0, or all 1, the tasks count
    once each.

    Args:
        samples: episodes in each cell.

    >>> tuple(round(x, 3) for x in rate_interval([[1, 1, 0, 1], [1, 0, 0, 1]]))
    (0.625, 0.09, 0.966)
    """
    cells = _checked(table)
    seeds, tasks = cells.shape
    rate, episodes = float(cells.mean()), cells.size * samples
    z = Z95 if level == 0.95 else normal_quantile((1 + level) / 2)
    if seeds == 1 and samples == 1 and np.isin(cells, (0.0, 1.0)).all():
        return (rate, *_wilson(rate, tasks, z))
    if rate in (0.0, 1.0) or tasks < 2:
        return (rate, *_wilson(rate, tasks, z))
    variance, freedom = spread(cells)
    if variance == 0:
        return (rate, *_wilson(rate, episodes, z))
    factor = (z / t_quantile((1 + level) / 2, freedom)) ** 2
    return (rate, *_wilson(rate, min(episodes, factor * rate * (1 - rate) / variance), z))


def mean_difference(a: Table, b: Table, *, level: float = 0.95) -> tuple[float, float, float, float]:
    """(B − A, low, high, p) of two (seeds, tasks) tables of the same tasks, each with seeds of its own.

    Tasks are paired; seeds are not, as number 1 of one method has nothing in common with number 1 of another. The
    variance is that of the tasks' mean differences plus what either side's seeds add; t test, freedom by
    Satterthwaite.

    Raises:
        ValueError: not the same number of tasks.
    """
    first, second = _checked(a), _checked(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"tables must share their tasks, got {first.shape[1]} and {second.shape[1]}")
    per_task = second.mean(axis=0) - first.mean(axis=0)
    difference = float(per_task.mean())
    parts = [spread(per_task[None, :]), *(extra for side in (first, second) if (extra := _of_seeds(side)) is not None)]
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return difference, difference, difference, float(difference == 0)
    if math.isinf(variance):
        return difference, -math.inf, math.inf, 1.0
    freedom = variance**2 / sum(part.variance**2 / part.freedom for part in parts if part.variance)
    half = t_quantile((1 + level) / 2, freedom) * math.sqrt(variance)
    return difference, difference - half, difference + half, 2 * t_tail(abs(difference) / math.sqrt(variance), freedom)


def _of_seeds(cells: np.ndarray) -> Spread | None:
    """What the choice of seeds adds to the variance of the mean, beyond that of the tasks; None for one seed."""
    seeds, tasks = cells.shape
    if seeds < 2:
        return None
    rows, columns = cells.mean(axis=1), cells.mean(axis=0)
    left = cells - rows[:, None] - columns[None, :] + cells.mean()
    rest = float((left**2).sum()) / ((seeds - 1) * (tasks - 1))
    return Spread(max(0.0, float(rows.var(ddof=1)) / seeds - rest / cells.size), seeds - 1.0)


def pass_at_k(wins: int, samples: int, k: int) -> float:
    """Chance that at least one of k samples of a task wins, unbiased: 1 − C(n − c, k) / C(n, k) (Chen et al. 2021).

    >>> round(pass_at_k(1, 4, 2), 3)
    0.5

    Raises:
        ValueError: k is not between 1 and the number of samples.
    """
    _check_k(wins, samples, k)
    return 1 - math.comb(samples - wins, k) / math.comb(samples, k)


def pass_hat_k(wins: int, samples: int, k: int) -> float:
    """Chance that all of k samples of a task win (pass^k, tau-bench 2024), unbiased: C(c, k) / C(n, k).

    >>> round(pass_hat_k(3, 4, 2), 3)
    0.5

    Raises:
        ValueError: k is not between 1 and the number of samples.
    """
    _check_k(wins, samples, k)
    return math.comb(wins, k) / math.comb(samples, k)


def passes(wins: Sequence[int], samples: int) -> dict[str, dict[str, list[float]]]:
    """pass@k and pass^k with 95 % intervals over tasks, for k = 1, 2, 4, … and `samples`.

    Args:
        wins: of each task, among its `samples`.

    Returns:
        {"pass_at": {"1": [value, low, high], …}, "pass_hat": {…}}.
    """
    return passes_over_seeds([wins], samples)


def passes_over_seeds(wins: Sequence[Sequence[int]], samples: int) -> dict[str, dict[str, list[float]]]:
    """The same of a (seeds, tasks) table of wins: the mean over seeds, with an interval over seeds and tasks."""
    powers = sorted({*(2**i for i in range(samples.bit_length()) if 2**i <= samples), samples})
    out: dict[str, dict[str, list[float]]] = {}
    for name, estimate in (("pass_at", pass_at_k), ("pass_hat", pass_hat_k)):
        tables = {k: [[estimate(count, samples, k) for count in row] for row in wins] for k in powers}
        out[name] = {str(k): list(rate_interval(table, samples=samples)) for k, table in tables.items()}
    return out


def _check_k(wins: int, samples: int, k: int) -> None:
    if not 1 <= k <= samples or not 0 <= wins <= samples:
        raise ValueError(f"expected 1 ≤ k ≤ samples and 0 ≤ wins ≤ samples, got k {k}, {wins} of {samples}")


def _checked(table: Table) -> np.ndarray:
    cells = np.asarray(table, dtype=float)
    if cells.ndim != 2 or not cells.size:
        raise ValueError(f"a table must be (seeds, tasks), got shape {cells.shape}")
    return cells


def _wilson(rate: float, episodes: float, z: float) -> tuple[float, float]:
    return wilson(rate * episodes, episodes, z)
