"""Tail probabilities and quantiles of the normal and Student's t distribution, to about twelve digits."""

from __future__ import annotations

import math
from statistics import NormalDist

_TINY = 1e-300
_STEPS = 500


def normal_quantile(p: float) -> float:
    """z with P(Z ≤ z) = p, for 0 < p < 1.

    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    return NormalDist().inv_cdf(p)


def normal_tail(z: float) -> float:
    """P(Z > z).

    >>> round(normal_tail(1.959964), 6)
    0.025
    """
    return 0.5 * math.erfc(z / math.sqrt(2))


def incomplete_beta(x: float, a: float, b: float, *, rest: float | None = None) -> float:
    """The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction.

    Args:
        rest: 1 - x, where the caller knows it more exactly than the difference says.

    >>> round(incomplete_beta(0.5, 2.0, 3.0), 6)
    0.6875
    """
    if x <= 0 or (x >= 1 and not rest):
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(1 - x if rest is None else rest, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    whole = d
    for m in range(1, _STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            whole *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) * whole / a


def t_tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's t with `freedom` degrees of freedom, which need not be whole.

    >>> round(t_tail(2.776445, 4), 6)
    0.025
    """
    whole = freedom + t * t
    half = 0.5 * incomplete_beta(freedom / whole, freedom / 2, 0.5, rest=t * t / whole)
    return half if t >= 0 else 1 - half


def t_quantile(p: float, freedom: float) -> float:
    """t with P(T ≤ t) = p, for 0 < p < 1.

    >>> round(t_quantile(0.975, 4), 6)
    2.776445
    """
    if p < 0.5:
        return -t_quantile(1 - p, freedom)
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - p:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - p else (low, middle)
    return (low + high) / 2


def _away(value: float) -> float:
    """Not 0."""
    return value if abs(value) > _TINY else _TINY
