"""Intervals that hold, and ranks that claim no more than the data carry."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from trt_sweep.results.layers.median import effective_size, median_interval
from trt_sweep.results.stats import differences, shrinkage
from trt_sweep.results.stats.estimates import Estimate, of_captures
from trt_sweep.results.stats.ranks import _sides, proved, rank_sets


# With n samples, P(X <= k) of a binomial(n, 1/2) must be at most 2.5 % on either side: of 10, (1 + 10) / 1024 leaves
# out one on each end, and (1 + 10 + 45) / 1024 would be too much; of 6, 1 / 64 leaves out none.
@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15)])
def test_interval_by_hand(n, low, high):
    samples = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert effective_size(samples) == n
    assert median_interval(samples) == (low, high)


def test_interval_of_too_few_samples():
    assert all(map(math.isnan, median_interval(np.arange(5.0))))


def test_interval_at_another_level():
    samples = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    wide, narrow = median_interval(samples, 0.99), median_interval(samples, 0.5)
    assert wide[0] < narrow[0] < 50.5 < narrow[1] < wide[1]


def test_interval_covers_the_median_of_a_skewed_distribution():
    rng = np.random.default_rng(0)
    trials, covered = 1000, 0
    for _ in range(trials):
        low, high = median_interval(rng.lognormal(0.0, 1.5, 60))  # its median is 1
        covered += low <= 1.0 <= high
    assert 0.93 <= covered / trials < 1.0


def autoregressive(rng: np.random.Generator, size: int, weight: float) -> np.ndarray:
    noise, series = rng.normal(size=size), np.empty(size)
    series[0] = noise[0] / math.sqrt(1 - weight**2)
    for index in range(1, size):
        series[index] = weight * series[index - 1] + noise[index]
    return series


def test_interval_covers_the_median_of_samples_that_hang_together():
    """Taken as independent, the interval of such a series covers its median in some 60 of 100 cases."""
    rng = np.random.default_rng(0)
    trials, covered, naive = 400, 0, 0
    for _ in range(trials):
        series = autoregressive(rng, 400, 0.8)
        low, high = median_interval(series)
        covered += low <= 0 <= high
        low, high = median_interval(rng.permutation(series))
        naive += low <= 0 <= high
    assert covered / trials > 0.9
    assert naive / trials < 0.7


def test_effective_size():
    rng = np.random.default_rng(0)
    assert effective_size(np.ones(50)) == 50
    assert effective_size(rng.normal(size=1000)) > 700
    assert 30 < effective_size(autoregressive(rng, 1000, 0.9)) < 200


def test_estimate_of_captures_by_hand():
    """Nine captures: one more is expected within t(8) = 2.306 times s times sqrt(1 + 1 / 9)."""
    found = of_captures(2.0, 9, 0.003, 1, None)
    spread = 0.003 * math.sqrt(10 / 9)
    assert (found.spread, found.freedom) == (pytest.approx(spread), 8)
    reach = math.exp(2.306 * spread)
    assert found.interval() == pytest.approx((2 / reach, 2 * reach), rel=1e-4)


def test_estimate_of_builds():
    """Their own scatter counts, but for no less than the captures, which may have moved all of them together."""
    few = of_captures(1.0, 9, 0.003, 3, 0.01)
    assert (few.spread, few.freedom) == (pytest.approx(0.01 * math.sqrt(4 / 3)), 2)
    assert of_captures(1.0, 9, 0.03, 3, 0.001).spread == pytest.approx(0.01 * math.sqrt(4 / 3))


def test_one_capture_tells_nothing_of_its_scatter():
    found = of_captures(1.0, 1, None, 1, None)
    assert not found.known and all(map(math.isnan, found.interval()))


@pytest.mark.parametrize("noise", [0.002, 0.1])
def test_interval_holds_another_run(noise):
    """Builds scatter as captures do, and loads of one by the floor."""
    rng = np.random.default_rng(0)
    trials, held = 1000, 0

    def run() -> Estimate:
        each = rng.normal(0, noise, 9)
        return of_captures(math.exp(rng.normal(0, noise)), 9, float(each.std(ddof=1)), 1, None)

    for _ in range(trials):
        once, again = run(), run()
        held += differences.difference((1, -1), (once, again)).side() == 0
    assert held / trials > 0.935


def test_spreads_that_are_alike_are_pooled():
    rng = np.random.default_rng(0)
    drawn = [np.std(rng.normal(0, 0.1, 3), ddof=1) for _ in range(40)]
    careful = shrinkage.moderated([Estimate(1.0, float(spread), 2) for spread in drawn])
    spreads = [item.spread for item in careful]
    assert np.std(spreads) < np.std(drawn) / 2 and 0.08 < np.mean(spreads) < 0.12
    assert min(item.freedom for item in careful) > 10


def test_spreads_that_differ_stay_apart():
    rng = np.random.default_rng(0)
    scales = [0.0001, 0.3] * 20
    careful = shrinkage.moderated([Estimate(1.0, float(np.std(rng.normal(0, s, 3), ddof=1)), 2) for s in scales])
    assert max(item.spread for item in careful[::2]) < min(item.spread for item in careful[1::2])
    assert max(item.freedom for item in careful) < 5


def captured(rng: np.random.Generator, value: float, noise: float) -> Estimate:
    """A build with nine captures, which scatter as builds do."""
    spread = float(rng.normal(0, noise, 9).std(ddof=1))
    return of_captures(value * math.exp(rng.normal(0, noise)), 9, spread, 1, None)


@pytest.mark.parametrize("noise", [0.0005, 0.2])
def test_points_of_one_kind_are_not_ranked_apart(noise):
    """Twenty points that are one and the same, a hundred sweeps: a difference is claimed in at most 5 % of them."""
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        points = [captured(rng, 1.0, noise) for _ in range(20)]
        false += any(map(any, proved(points)))
    assert false <= 5


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    times = [1.0, 1.0, 1.0, 1.0, 1.03, 2.0]
    points = [captured(rng, value, 0.0005) for value in times]
    assert rank_sets(points, range(6)) == [(1, 4)] * 4 + [(5, 5), (6, 6)]


def exact(value: float, spread: float = 1e-6) -> Estimate:
    return Estimate(value, spread, 2)


def test_ranks_overlap_where_only_the_ends_differ():
    points = [Estimate(math.exp(0.012 * step), 0.004) for step in range(3)]
    assert rank_sets(points, range(3)) == [(1, 2), (1, 3), (2, 3)]


def test_ratio_interval_by_hand():
    """1.96 times sqrt(2) of the spread on either side."""
    low, high = differences.ratio_interval(Estimate(2.0, 0.01), Estimate(3.0, 0.01))
    reach = math.exp(1.95996 * math.sqrt(2) * 0.01)
    assert (low, high) == pytest.approx((1.5 / reach, 1.5 * reach), rel=1e-4)
    assert differences.ratio_interval(exact(1.0), Estimate(9.0)) == (0.0, math.inf)


def test_step_down_asks_less_of_the_next_as_holm_does():
    """Two pairs: 2.24 standard deviations for the first (0.05 / 2), 1.96 for the second once that is proved."""

    def pair(deviations: float) -> differences.Difference:
        return differences.Difference(deviations * 0.01, 0.01**2)

    assert differences.step_down([pair(2.3), pair(2.1)]) == [1, 1]
    assert differences.step_down([pair(2.2), pair(2.1)]) == [0, 0]
    assert differences.step_down([pair(-2.3), pair(1.9)]) == [-1, 0]
    assert differences.step_down([]) == []


def test_more_than_a_share_is_proved_by_the_interval_and_not_the_estimate():
    """3.1 ± 0.98 % is proved to be more than 2 %; 2.5 % is not, though it is more than nothing."""
    for value, side in ((0.031, 1), (0.025, 0), (-0.031, -1)):
        assert differences.Difference(math.copysign(math.log1p(abs(value)), value), 0.005**2).side(delta=0.02) == side
    assert differences.Difference(math.log1p(0.025), 0.005**2).side() == 1
    assert differences.step_down([differences.Difference(math.log1p(0.025), 0.005**2)], 0.02) == [0]


def test_a_group_is_never_ranked_apart():
    points = [exact(1.0), exact(1.1), exact(2.0), exact(0.5)]
    assert rank_sets(points, ["a", "a", "b", "c"]) == [(2, 3), (2, 3), (4, 4), (1, 1)]


def test_nothing_is_claimed_without_a_known_scatter():
    assert differences.difference((1, -1), (exact(1.0), Estimate(9.0))).side() == 0
    assert rank_sets([], []) == []


def test_one_measurement_of_many_points_is_one():
    """Points that were timed once for all of them say no more of the spread than one does."""
    distinct = [Estimate(1.0 + index / 10, spread, 2.0) for index, spread in enumerate((0.01, 0.02, 0.03))]
    many = shrinkage.moderated([*distinct, *[distinct[0]] * 20])
    assert many[:3] == shrinkage.moderated(distinct) and many[3:] == [many[0]] * 20
    ranks = rank_sets([*distinct, distinct[0]], ["a", "b", "c", "a"])
    assert ranks[0] == ranks[3] and ranks[0][1] >= 2  # two rows share the first place


def test_all_pairs_at_once_are_judged_as_each_alone():
    random = np.random.default_rng(0)
    estimates = [
        Estimate(1 + 0.05 * random.random(), 0.01 * random.random(), freedom)
        for freedom in (1, 2, 2.5, 40, math.inf)
        for _ in range(12)
    ]
    estimates.append(Estimate(2.0))  # timed once
    pairs = len(estimates) * (len(estimates) - 1) // 2
    alone = [
        [0 if a is b else differences.difference((1, -1), (a, b)).side(pairs) for b in estimates] for a in estimates
    ]
    assert _sides(estimates).tolist() == alone
    assert any(map(any, alone)) and not any(alone[-1])


def test_times_are_alike_only_where_that_is_proved():
    def pair(ratio, spread):
        return differences.difference((1, -1), [Estimate(value, spread, 20) for value in (ratio, 1.0)])

    assert pair(1.001, 0.002).within(0.02)
    assert not pair(1.001, 0.02).within(0.02)  # nothing is proved by not seeing a difference
    assert not pair(1.05, 0.002).within(0.02)
    assert not pair(1.0, math.nan).within(0.02)


def test_a_mean_of_differences_knows_more_than_one():
    one, two = (Estimate(value, 0.01, 20) for value in (1.1, 1.0))
    single = differences.difference((1, -1), (one, two))
    mean = differences.difference((0.5, -0.5, 0.5, -0.5), (one, two, one, two))
    assert mean.value == pytest.approx(single.value) == pytest.approx(math.log(1.1))
    assert mean.variance == pytest.approx(single.variance / 2)
    assert mean.interval()[0] > single.interval()[0]


def test_nothing_imports_all_of_scipy_stats_when_it_starts():
    """It takes half a second, and every command would wait for it."""
    package = Path(shrinkage.__file__).parents[2]
    all_of_it = re.compile(r"(?m)^(from scipy import .*\bstats\b|from scipy\.stats|import scipy\.stats)")
    assert [path for path in package.rglob("*.py") if all_of_it.search(path.read_text(encoding="utf-8"))] == []


def test_a_scatter_beyond_all_numbers_proves_nothing():
    assert not proved([Estimate(1.0, 1e200, 5.0), Estimate(2.0, 0.1, 5.0)])[0][1]
