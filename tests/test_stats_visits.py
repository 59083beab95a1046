"""Latencies by visits: the fast level with its interval, and differences that a slow host does not hide or make."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trt_sweep.analysis.report.pairs import Scatter
from trt_sweep.results import ranking
from trt_sweep.results.stats import differences, visits
from trt_sweep.results.stats.estimates import Estimate
from trt_sweep.results.stats.ranks import _sides, proved, rank_sets

VISITS = 24


def on_a_host(rng: np.random.Generator, level: float = 1.0, count: int = VISITS) -> np.ndarray:
    """Return visits in ms on a host that is 1.6 times slower for a third of the time, for some visits on end."""
    slow, state = [], False
    for _ in range(count):
        state = rng.random() < (0.6 if state else 0.2)
        slow.append(state)
    found: np.ndarray = level * np.exp(rng.normal(0, 0.02, count)) * np.where(slow, 1.6, 1.0)
    return found


def estimate(ms: np.ndarray, group: object = "g") -> Estimate:
    return Estimate(float(np.quantile(ms, 0.25)), 0.0, math.inf, tuple(np.log(ms).tolist()), group)


@pytest.mark.parametrize("count", range(1, 8))
def test_the_chances_are_those_of_all_orders(count):
    signs = itertools.product((0, 1), repeat=count)
    sums = [sum(rank for rank, sign in enumerate(one, 1) if sign) for one in signs]
    by_hand = [np.mean(np.array(sums) <= most) for most in range(count * (count + 1) // 2 + 1)]
    assert visits.signed_ranks(count) == pytest.approx(by_hand)
    of_first = itertools.combinations(range(1, count + 5), count)
    sums = [sum(one) - count * (count + 1) // 2 for one in of_first]
    by_hand = [np.mean(np.array(sums) <= most) for most in range(4 * count + 1)]
    assert visits.rank_sums(count, 4) == pytest.approx(by_hand)


def test_the_interval_of_a_shift_ends_where_the_test_stops_to_reject():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, 20), rng.normal(0, 1, 17)
    value, low, high = visits.shift(a, b)
    assert low < value < high

    def p(moved: float) -> float:
        return float(stats.mannwhitneyu(a - moved, b, method="exact").pvalue)

    assert p(low - 1e-9) <= 0.05 < p(low + 1e-9) and p(high + 1e-9) <= 0.05 < p(high - 1e-9)


@pytest.mark.parametrize("level", [0.95, 0.9999])
def test_the_side_is_that_of_the_interval(level):
    rng = np.random.default_rng(1)
    found = set()
    for distance in (-1.0, -0.2, 0.0, 0.2, 1.0):
        a, b = np.sort(rng.normal(distance, 0.3, 20)), np.sort(rng.normal(0, 0.3, 18))
        _, low, high = visits.shift(a, b, level)
        assert visits.side(a, b, level) == int(low > 0) - int(high < 0)
        found.add(visits.side(a, b, level))
    assert found == {-1, 0, 1}
    assert visits.side(np.zeros(3), np.ones(3), 0.95) == 0  # too few for any claim
    assert all(map(math.isinf, visits.shift(np.zeros(3), np.ones(3))[1:]))


def test_the_interval_of_the_fast_level_holds_it():
    rng = np.random.default_rng(0)
    truth = float(np.quantile(on_a_host(rng, count=200_000), 0.25))
    found = [visits.fast_level(on_a_host(rng), 0.0) for _ in range(1000)]
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.93
    assert np.median([one.high / one.low for one in found]) < 1.05


def test_with_few_visits_the_fastest_call_is_the_lower_end():
    medians = np.arange(10.0, 16.0)
    found = visits.fast_level(medians, 9.5)
    assert (found.value, found.low) == (11.25, 9.5) and found.high in medians
    once = visits.fast_level(medians[:1], 9.5)
    assert once.value == 10.0 and math.isnan(once.low) and math.isnan(once.high)


def test_a_level_is_cut_at_the_work_of_the_gpu():
    level = visits.Level(2.0, 1.9, 2.1)
    assert level.at_least(None, None) == level and level.at_least(1.0, 1.2) == level
    assert level.at_least(1.95, 2.2) == visits.Level(2.0, 1.95, 2.1)
    assert level.at_least(2.3, 2.5) == visits.Level(2.3, 2.3, 2.5)  # as far as that work is known
    assert level.at_least(2.05, 2.08) == visits.Level(2.05, 2.05, 2.1)


def test_how_slow_the_host_was():
    assert visits.slow(np.array([1.0, 1.1, 1.6, 1.8]), 1.0) == (0.5, pytest.approx(1.7))
    assert visits.slow(np.array([1.0, 1.1]), 1.0) == (0.0, None)


def test_each_visit_has_its_share_of_a_quantile():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.6, 0.3])
    assert [visits.weighted_quantile(values, weights, share) for share in (0.5, 0.6, 0.9, 0.99)] == [1, 1, 2, 3]


def test_equal_times_are_not_told_apart_and_small_differences_are():
    rng = np.random.default_rng(0)
    false, found = 0, 0
    for _ in range(40):
        equal = [estimate(on_a_host(rng)) for _ in range(12)]
        false += any(map(any, proved(equal)))
        slower = estimate(on_a_host(rng, 1.1))
        found += sum(bool(differences.difference((1, -1), (item, slower)).side(66)) for item in equal)
    assert false <= 4  # at most one sweep in twenty is to claim anything
    assert found / 40 / 12 > 0.8


def test_the_ratio_of_two_points_is_held_by_its_interval():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(500):
        a, b = estimate(on_a_host(rng, 1.3)), estimate(on_a_host(rng))
        low, high = differences.ratio_interval(b, a)
        held.append(low <= 1.3 <= high)
    assert np.mean(held) > 0.93


def in_groups(rng: np.random.Generator, levels: dict[str, list[float]]) -> list[Estimate]:
    """Return times of groups, each on a host of its own hour, with an anchor that takes 1 ms where the host is calm."""
    found = []
    for group, listed in levels.items():
        hour = math.exp(rng.normal(0, 0.2))
        anchor = dataclasses.replace(estimate(hour * on_a_host(rng), "the anchor"), spread=0.0)
        found += [dataclasses.replace(estimate(on_a_host(rng, hour * level), group), anchor=anchor) for level in listed]
    return found


def test_points_of_two_groups_are_compared_through_their_anchor():
    """The interval holds the true ratio, though all of one group is faster or slower by the hour."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        a, b = in_groups(rng, {"g": [2.0], "h": [2.2]})
        low, high = differences.difference((1, -1), (b, a)).interval()
        held += low <= math.log(1.1) <= high
    assert held / 300 > 0.93
    assert differences.difference((1, -1), (b, a)).value == pytest.approx(math.log(1.1), abs=0.05)
    other = dataclasses.replace(b, anchor=dataclasses.replace(b.anchor, group="another anchor"))
    assert all(map(math.isnan, differences.difference((1, -1), (other, a)).interval()))


def test_ranks_of_two_groups_are_those_of_each_pair_alone():
    rng = np.random.default_rng(1)
    items = in_groups(rng, {"g": [1.0, 1.0, 1.5], "h": [1.0, 1.05, 2.0], "i": [1.5]})
    pairs = len(items) * (len(items) - 1) // 2
    alone = [[0 if a is b else differences.difference((1, -1), (a, b)).side(pairs) for b in items] for a in items]
    found = _sides(items)
    assert found.tolist() == alone and found[0, 5] == found[0, 6] == -1 and not found[0, 3]


def test_an_anchor_is_no_more_than_itself():
    """Its own visits say nothing against it: what is known of another group is known as well through it."""
    rng = np.random.default_rng(0)
    (b,) = in_groups(rng, {"h": [2.0]})
    own = on_a_host(rng)
    a = dataclasses.replace(estimate(own, "g"), anchor=estimate(own, "the anchor"))
    found = differences.difference((1, -1), (b, a))
    assert found.interval() == pytest.approx(differences.to_anchor(b).interval())


def test_points_that_were_not_visited_in_turn_are_not_compared():
    rng = np.random.default_rng(0)
    first, other = estimate(on_a_host(rng)), estimate(on_a_host(rng, 3.0), "another group")
    assert all(map(math.isnan, differences.difference((1, -1), (first, other)).interval()))
    assert not differences.difference((1, -1), (first, other)).side() and rank_sets([first, other], "ab") == [
        (1, 2),
        (1, 2),
    ]
    without = dataclasses.replace(other, visits=(), group=None, spread=0.001)
    assert not differences.difference((1, -1), (first, without)).side() and not _sides([first, without]).any()


def test_ranks_of_visited_points():
    rng = np.random.default_rng(0)
    items = [estimate(on_a_host(rng, level)) for level in (2.0, 1.0, 1.0, 3.0)]
    assert rank_sets(items, "abcd") == [(3, 3), (1, 2), (1, 2), (4, 4)]
    assert rank_sets([item.per(10) for item in items], "abcd") == rank_sets(items, "abcd")
    assert rank_sets(items, "xyyx") == [(3, 4), (1, 2), (1, 2), (3, 4)]  # one engine is never told apart from itself


def row(ms: np.ndarray | None, **values) -> dict:
    visited = {} if ms is None else {"latency_ms": float(ms.min()), "latency_ms_visits": ms.tolist()}
    base = dict.fromkeys(ranking.VISITED) | {"sweep_id": "s", "visit_group": "g", "latency_ms": 1.0}
    return base | visited | values


def test_a_ratio_has_an_interval_where_both_were_visited():
    rng = np.random.default_rng(0)
    slow, fast = row(on_a_host(rng, 2.0)), row(on_a_host(rng))
    ratio, low, high = ranking.ratio(slow, fast)
    assert low < ratio < high and low < 2.0 < high and high / low < 1.1
    assert ranking.ratio(slow, fast | {"visit_group": "h"})[1:] == (None, None)
    assert ranking.ratio(row(None, latency_ms=3.0), row(None)) == (3.0, None, None)


def test_the_mean_over_pairs_is_made_round_by_round(tmp_path):
    """Four points of which two pairs share what one round did to both: 10 % in each."""
    rng = np.random.default_rng(0)
    scatter = Scatter.__new__(Scatter)
    rounds = np.exp(rng.normal(0, 0.02, VISITS))
    items = [estimate(level * rounds * np.exp(rng.normal(0, 0.001, VISITS))) for level in (1.0, 1.1, 2.0, 2.2)]
    scatter.visited, scatter.measurement = dict(enumerate(items)), np.arange(4)
    scatter.logs, scatter.spread, scatter.freedom = np.log([item.value for item in items]), np.zeros(4), np.full(4, 9.0)
    mean = scatter.mean(np.array([0, 2]), np.array([1, 3]))
    low, high = mean.interval()
    assert low < math.log(1.1) < high < low + 0.002
    values, reach = scatter.each(np.array([0, 2]), np.array([1, 3]))
    assert values == pytest.approx([math.log(1.1)] * 2, abs=0.03) and (reach < 0.03).all()
    scatter.measurement[1] = 0
    same = scatter.mean(np.array([0]), np.array([1]))
    assert (same.value, same.variance, same.interval()) == (0.0, 0.0, (0.0, 0.0))


def test_what_another_build_of_the_anchor_does_is_common_to_all_pairs():
    """It does not average out: two pairs through one anchor know no more of it than one."""
    rng = np.random.default_rng(0)
    scatter = Scatter.__new__(Scatter)
    items = in_groups(rng, {"g": [2.0, 3.0], "h": [2.2, 3.3]})
    items = [dataclasses.replace(item, anchor=dataclasses.replace(item.anchor, spread=0.05)) for item in items]
    scatter.visited, scatter.measurement = dict(enumerate(items)), np.arange(4)
    scatter.logs, scatter.spread = np.log([item.value for item in items]), np.zeros(4)
    scatter.freedom = np.full(4, math.inf)
    low, high = scatter.mean(np.array([0, 1]), np.array([2, 3])).interval()
    assert high - low > 2 * 1.96 * 0.05 * math.sqrt(2) and low < math.log(1.1) < high


def test_pairs_that_were_never_fast_in_one_round_are_not_called_alike():
    """One point is slow in the even rounds and the other in the odd ones."""
    scatter = Scatter.__new__(Scatter)
    slow = np.tile([1.0, 1.6], VISITS // 2)
    items = [estimate(slow), estimate(2 * slow[::-1]), estimate(slow), estimate(2 * slow[::-1])]
    scatter.visited, scatter.measurement = dict(enumerate(items)), np.arange(4)
    scatter.logs, scatter.spread, scatter.freedom = np.log([item.value for item in items]), np.zeros(4), np.full(4, 9.0)
    mean = scatter.mean(np.array([0, 2]), np.array([1, 3]))
    assert mean.value == pytest.approx(math.log(2)) and all(map(math.isnan, mean.interval()))
    assert not mean.within(10.0)


def test_old_records_are_shown_and_have_no_ratio_interval():
    table = pd.DataFrame([row(None, visit_group=None), row(None, visit_group=None, latency_ms=2.0)])
    first, second = table.to_dict("records")
    assert ranking.ratio(second, first) == (2.0, None, None)
