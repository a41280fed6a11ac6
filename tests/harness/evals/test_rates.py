"""Intervals that count seeds and tasks, pass@k, and the tails they rest on; also against scipy and statsmodels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlsd.harness.evals.rates import (
    mean_difference,
    pass_at_k,
    pass_hat_k,
    passes,
    passes_over_seeds,
    rate_interval,
    spread,
)
from rlsd.harness.evals.stats import holm, wilson
from rlsd.harness.evals.tails import incomplete_beta, normal_quantile, normal_tail, t_quantile, t_tail


@given(samples=st.integers(1, 8), data=st.data())
def test_pass_at_k_and_pass_hat_k_count_all_choices_of_k_samples(samples: int, data: st.DataObject) -> None:
    wins, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    choices = list(itertools.combinations([True] * wins + [False] * (samples - wins), k))
    assert pass_at_k(wins, samples, k) == pytest.approx(sum(map(any, choices)) / len(choices))
    assert pass_hat_k(wins, samples, k) == pytest.approx(sum(map(all, choices)) / len(choices))


def test_pass_at_k_is_unbiased() -> None:
    """The mean over all outcomes of 6 samples with chance .3 each is what k = 3 further ones would give."""
    chances = [math.comb(6, c) * 0.3**c * 0.7 ** (6 - c) for c in range(7)]
    assert sum(p * pass_at_k(c, 6, 3) for c, p in enumerate(chances)) == pytest.approx(1 - 0.7**3)
    assert sum(p * pass_hat_k(c, 6, 3) for c, p in enumerate(chances)) == pytest.approx(0.3**3)


@pytest.mark.parametrize(("wins", "samples", "k"), [(1, 4, 0), (1, 4, 5), (5, 4, 2), (-1, 4, 2)])
def test_pass_at_k_refuses_what_cannot_be(wins: int, samples: int, k: int) -> None:
    with pytest.raises(ValueError, match="expected 1 ≤ k ≤ samples"):
        pass_at_k(wins, samples, k)


def test_passes_of_a_panel() -> None:
    found = passes([0, 3, 6, 6], 6)
    assert list(found["pass_at"]) == ["1", "2", "4", "6"]
    assert found["pass_at"]["1"][0] == found["pass_hat"]["1"][0] == 0.625
    assert found["pass_at"]["6"][0] == 0.75
    assert found["pass_hat"]["6"][0] == 0.5
    assert all(low <= value <= high for kind in found.values() for value, low, high in kind.values())


def test_passes_over_seeds_are_the_means_of_those_of_each_seed() -> None:
    wins = [[4, 1, 0, 0, 3], [4, 4, 1, 0, 2]]
    both, each = passes_over_seeds(wins, 4), [passes(row, 4) for row in wins]
    for kind, k in itertools.product(("pass_at", "pass_hat"), ("1", "2", "4")):
        value, low, high = both[kind][k]
        assert value == pytest.approx(sum(found[kind][k][0] for found in each) / 2)
        assert low < value < high
    assert passes_over_seeds([wins[0]], 4) == each[0]


@given(wins=st.lists(st.booleans(), min_size=1, max_size=40))
def test_one_episode_of_each_task_has_wilsons_interval(wins: list[bool]) -> None:
    rate, low, high = rate_interval([[float(won) for won in wins]])
    assert rate == pytest.approx(sum(wins) / len(wins))
    assert (low, high) == pytest.approx(wilson(sum(wins), len(wins)))


def test_samples_that_always_agree_tell_no_more_than_one() -> None:
    """8 samples of 50 tasks, each won always or never: 50 facts, not 400."""
    tasks = [1.0] * 20 + [0.0] * 30
    rate, low, high = rate_interval([tasks], samples=8)
    assert rate == 0.4
    assert high - low == pytest.approx(np.diff(wilson(20, 50)).item(), rel=0.05)
    assert high - low > 2.5 * np.diff(wilson(160, 400)).item()


def test_samples_that_are_independent_count_one_by_one() -> None:
    rng = np.random.default_rng(1)
    cells = rng.binomial(8, 0.4, size=(1, 400)) / 8
    rate, low, high = rate_interval(cells, samples=8)
    assert high - low == pytest.approx(np.diff(wilson(rate * 3200, 3200)).item(), rel=0.1)


def test_seeds_that_disagree_widen_the_interval() -> None:
    tasks = np.random.default_rng(2).binomial(1, 0.5, size=(1, 100)).astype(float)
    alike = np.repeat(tasks, 3, axis=0)
    apart = np.array([[0.0] * 30 + [1.0] * 70, [0.0] * 50 + [1.0] * 50, [0.0] * 70 + [1.0] * 30])
    widths = [np.diff(rate_interval(table)[1:]).item() for table in (alike, apart)]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize("seeds, tasks, samples, of_seeds", [(1, 120, 4, 0.0), (3, 120, 1, 0.3), (8, 60, 2, 0.3)])
def test_the_interval_covers_the_rate_of_all_seeds_and_tasks(
    seeds: int, tasks: int, samples: int, of_seeds: float
) -> None:
    """95 % of 300 evaluations of models whose chance depends on their seed and on the task (logits)."""
    rng = np.random.default_rng(3)
    true, covered, naive = 0.5, 0, 0  # by symmetry
    for _ in range(300):
        logits = of_seeds * rng.normal(size=(seeds, 1)) + 2.0 * rng.normal(size=(1, tasks))
        cells = rng.binomial(samples, 1 / (1 + np.exp(-logits))) / samples
        rate, low, high = rate_interval(cells, samples=samples)
        covered += low <= true <= high
        low, high = wilson(rate * cells.size * samples, cells.size * samples)
        naive += low <= true <= high
    assert 0.92 <= covered / 300 <= 0.99
    assert naive / 300 < 0.87, "episodes are not independent"


@pytest.mark.parametrize("table", [[], [[]], [1.0, 0.0]])
def test_a_table_must_have_seeds_and_tasks(table: list[float]) -> None:
    with pytest.raises(ValueError, match="seeds, tasks"):
        rate_interval(table)  # type: ignore[arg-type]


def test_all_won_is_not_certain() -> None:
    assert rate_interval([[1.0] * 10] * 3, samples=4) == (1.0, *wilson(10, 10))
    assert rate_interval([[0.0] * 10] * 3, samples=4) == (0.0, *wilson(0, 10))


def test_a_difference_counts_shared_tasks_once_and_seeds_of_either_side() -> None:
    hard = np.array([0.0] * 40 + [1.0] * 60)
    better = hard.copy()
    better[:10] = 1.0
    difference, low, high, p = mean_difference([hard] * 3, [better] * 3)
    assert difference == pytest.approx(0.1)
    assert 0.03 < low < high < 0.17, "what is common to both does not blur the difference"
    assert p < 0.01
    noisy = [np.roll(better, shift) for shift in (0, 15, 30)]
    noisy[0][:] = 1.0  # one seed that happens to win all
    assert mean_difference([hard] * 3, noisy)[3] > 0.05
    back = mean_difference([better] * 3, [hard] * 3)
    assert back == pytest.approx((-difference, -high, -low, p))


def test_no_difference_at_all_is_p_1() -> None:
    assert mean_difference([[1.0, 0.0]], [[1.0, 0.0]]) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="must share their tasks"):
        mean_difference([[1.0, 0.0]], [[1.0]])


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    """Two methods that are the same, three seeds each, 200 times."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(200):
        task = 1.5 * rng.normal(size=(1, 100))
        draw = [rng.binomial(1, 1 / (1 + np.exp(-(task + 0.3 * rng.normal(size=(3, 1)))))) for _ in range(2)]
        alarms += mean_difference(*draw)[3] <= 0.05
    assert alarms / 200 <= 0.08


# ------------------------------------------------------------------------------------------ scipy and statsmodels


@given(p=st.floats(1e-4, 1 - 1e-4), freedom=st.floats(0.5, 500))
@example(p=0.5000000000000001, freedom=1.0)
@example(p=0.5, freedom=3.0)
@settings(max_examples=40, deadline=None)
def test_students_tails_are_scipys(p: float, freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    t = t_quantile(p, freedom)
    assert t == pytest.approx(stats.t.ppf(p, freedom), rel=1e-7, abs=1e-9)
    assert t_tail(t, freedom) == pytest.approx(1 - p, rel=1e-7)
    assert normal_quantile(p) == pytest.approx(stats.norm.ppf(p))
    assert normal_tail(t) == pytest.approx(stats.norm.sf(t), rel=1e-9, abs=1e-300)


@given(x=st.floats(0, 1), a=st.floats(0.3, 60), b=st.floats(0.3, 60))
@settings(max_examples=40, deadline=None)
def test_the_incomplete_beta_function_is_scipys(x: float, a: float, b: float) -> None:
    special = pytest.importorskip("scipy.special")
    assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-12)


@given(trials=st.integers(1, 500), data=st.data())
@settings(max_examples=40, deadline=None)
def test_wilsons_interval_is_statsmodels(trials: int, data: st.DataObject) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    won = data.draw(st.integers(0, trials))
    assert wilson(won, trials) == pytest.approx(proportion.proportion_confint(won, trials, method="wilson"), abs=1e-9)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_holm_is_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_statsmodels_on_random_tables(seed: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    from rlsd.harness.evals.compare import mcnemar

    a, b = np.random.default_rng(seed).binomial(1, [[0.4], [0.6]], size=(2, 80))
    table = [[int(((a == x) & (b == y)).sum()) for y in (1, 0)] for x in (1, 0)]
    assert mcnemar(table[0][1], table[1][0]) == pytest.approx(tables.mcnemar(table, exact=True).pvalue)


@pytest.mark.parametrize("seed", range(5))
def test_the_variance_over_tasks_is_statsmodels_cluster_robust_one(seed: int) -> None:
    """A mean is a regression on a constant; episodes of a task are a cluster."""
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(seed)
    wins = rng.binomial(1, rng.beta(1, 1, size=(30, 1)), size=(30, 5)).astype(float)
    groups = np.repeat(np.arange(30), 5)
    fitted = api.OLS(wins.ravel(), np.ones(150)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert math.sqrt(spread(wins.mean(axis=1)[None, :]).variance) == pytest.approx(fitted.bse[0])


@pytest.mark.parametrize("seed", range(5))
def test_mean_squares_over_seeds_and_tasks_are_statsmodels(seed: int) -> None:
    formula, anova = (pytest.importorskip(f"statsmodels.{x}") for x in ("formula.api", "stats.anova"))
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(4, 12)) + 2 * rng.normal(size=(4, 1)) + 3 * rng.normal(size=(1, 12))
    frame = pytest.importorskip("pandas").DataFrame
    data = {
        "y": cells.ravel(),
        "s": np.repeat(np.arange(4), 12),
        "t": np.tile(np.arange(12), 4),
    }
    table = anova.anova_lm(formula.ols("y ~ C(s) + C(t)", frame(data)).fit())
    squares = dict(table["mean_sq"])
    want = (squares["C(s)"] + squares["C(t)"] - squares["Residual"]) / 48
    assert spread(cells).variance == pytest.approx(want)


def test_a_paired_difference_with_one_seed_is_scipys_t_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = np.random.default_rng(6).random(size=(2, 25))
    difference, low, high, p = mean_difference(a[None, :], b[None, :])
    found = stats.ttest_rel(b, a)
    assert p == pytest.approx(found.pvalue)
    assert (low, high) == pytest.approx(tuple(found.confidence_interval()))
    assert difference == pytest.approx((b - a).mean())
