"""Judge latencies by visits: short looks at each point in turn, so that what the host does falls on all of them.

A host has a fast level and slower ones, between which it changes within seconds. A point's latency is that of the
fast level. Two points are compared by their visits at that level.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95  # of confidence
QUARTER = 0.25
SLOW = 1.2  # times the fast level: half of the way, as a factor, to the next level of the hosts that were seen


@dataclass(frozen=True)
class Level:
    """Hold a latency in ms and its interval; the ends are NaN where they are not known."""

    value: float
    low: float
    high: float

    def at_least(self, gpu_ms: float | None, most: float | None) -> Level:
        """Return the same, cut where it lies below the GPU's own work: no call takes less.

        Where the level itself is cut, the interval reaches to `most`, the upper end of that work's own.
        """
        if gpu_ms is None:
            return self
        high = self.high if most is None or self.value > gpu_ms else max(self.high, most)
        return Level(*(ms if math.isnan(ms) else max(ms, gpu_ms) for ms in (self.value, self.low, high)))


def fast_level(medians: np.ndarray, fastest: float, level: float = LEVEL) -> Level:
    """Return the lower quartile of the visits' medians, in ms, with the interval that holds it.

    The interval is made of order statistics and holds for any distribution (H. A. David and H. N. Nagaraja, Order
    Statistics, 2003, section 7.1). With fewer than 13 visits no visit is low enough: then `fastest`, the fastest call,
    is the lower end. With fewer than 2 there is no interval.
    """
    count, ordered = len(medians), np.sort(medians)
    value = float(np.quantile(ordered, QUARTER))
    if count < 2:
        return Level(value, math.nan, math.nan)
    tail = (1 - level) / 2
    chances = special.bdtr(np.arange(count), count, QUARTER)  # that at most k visits lie below the quartile
    below = int((chances <= tail).sum()) - 1
    above = int((chances < 1 - tail).sum())
    low = float(ordered[below]) if below >= 0 else fastest
    return Level(value, low, float(ordered[min(above, count - 1)]))


def slow(medians: np.ndarray, fast_ms: float) -> tuple[float, float | None]:
    """Return the share of visits in which the host was slow, and how many times as long a call took then."""
    found = medians[medians > SLOW * fast_ms]
    return len(found) / len(medians), float(np.median(found)) / fast_ms if len(found) else None


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the least value that has at least this share of all weight at or below it; the weights add up to 1."""
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(weights[order]), share * (1 - 1e-12)))
    return float(values[order[min(place, len(values) - 1)]])


def fast(logs: np.ndarray) -> np.ndarray:
    """Return for each visit, given as a logarithm, whether the host was at its fast level in it."""
    found: np.ndarray = logs <= np.quantile(logs, QUARTER) + math.log(SLOW)
    return found


def shift(a: np.ndarray, b: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Return how much more `a` typically is than `b`, with the interval; the ends are infinite for too few of them.

    It is Hodges and Lehmann's estimate, the median of all differences, with the interval of Wilcoxon's rank-sum test
    (M. Hollander, D. A. Wolfe and E. Chicken, Nonparametric Statistical Methods, 2014, sections 4.2 and 4.3).
    """
    each = np.sort(np.subtract.outer(a, b), axis=None)
    skip = left_out(rank_sums(len(a), len(b)), level)
    low, high = (float(each[skip]), float(each[-1 - skip])) if skip >= 0 else (-math.inf, math.inf)
    return float(np.median(each)), low, high


def side(a: np.ndarray, b: np.ndarray, level: float) -> int:
    """Return 1 where the interval of `shift` lies above zero, -1 where below, else 0; both are sorted."""
    skip = left_out(rank_sums(len(a), len(b)), level)
    above = int(np.searchsorted(b, a, side="left").sum())
    below = len(a) * len(b) - int(np.searchsorted(b, a, side="right").sum())
    total = len(a) * len(b)
    return 0 if skip < 0 else int(total - above <= skip) - int(total - below <= skip)


def paired(differences: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the typical value of differences, one a round, and its interval, as `shift` does.

    It is Hodges and Lehmann's estimate, the median of the means of all pairs, with the interval of Wilcoxon's
    signed-rank test (Hollander, Wolfe and Chicken, sections 3.2 and 3.3).
    """
    first, second = np.triu_indices(len(differences))
    means = np.sort((differences[first] + differences[second]) / 2)
    skip = left_out(signed_ranks(len(differences)), level)
    low, high = (float(means[skip]), float(means[-1 - skip])) if skip >= 0 else (-math.inf, math.inf)
    return float(np.median(means)), low, high


def left_out(chances: np.ndarray, level: float) -> int:
    """Return how many values an interval leaves out on either side; -1 where none of this level can be made.

    `chances` are those of its test: that the statistic is at most 0, 1, 2, and so on.
    """
    return int(np.searchsorted(chances, (1 - level) / 2, side="right")) - 1


@functools.cache
def signed_ranks(count: int) -> np.ndarray:
    """Return the chances of Wilcoxon's signed-rank statistic of so many differences."""
    chances = np.ones(1)
    for rank in range(1, count + 1):
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return np.cumsum(chances)


@functools.cache
def rank_sums(first: int, second: int) -> np.ndarray:
    """Return the chances of the rank-sum statistic (Mann and Whitney's U) of two samples of these sizes."""
    ways = np.zeros(first * second + 1)
    ways[0] = 1
    for number in range(1, first + 1):  # the coefficients of a Gaussian binomial, factor by factor
        whole = ways.copy()
        if second + number < len(ways):
            whole[second + number :] -= ways[: -second - number]
        for start in range(number):
            whole[start::number] = np.cumsum(whole[start::number])
        ways = whole
    chances: np.ndarray = np.cumsum(ways) / ways.sum()
    return chances
