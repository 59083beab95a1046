"""Compare times: how much they differ, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trt_sweep.results.stats import visits
from trt_sweep.results.stats.estimates import Estimate, _reach
from trt_sweep.results.stats.samples import LEVEL


@dataclass(frozen=True)
class Difference:
    """Hold a weighted sum of the logarithms of times, 0 where they are alike.

    `variance`, `freedom` and `placement` are as in `Estimate`. Where the times were visited in turn, the interval comes
    from those visits alone: from the logarithms of two times in `sides`, or from a sum for each round in `rounds`.
    """

    value: float
    variance: float
    freedom: float
    placement: float
    rounds: tuple[float, ...] = ()
    sides: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return both ends of the interval, as logarithms; (nan, nan) where nothing is known of the scatter."""
        if self.rounds or self.sides:
            if self.sides:
                more, less = map(np.array, self.sides)
                _, low, high = visits.shift(more, less, level)
            else:
                _, low, high = visits.paired(np.array(self.rounds), level)
            return (low, high) if math.isfinite(low) else (math.nan, math.nan)
        if not math.isfinite(self.variance):
            return math.nan, math.nan
        reach = _reach(self.variance, self.freedom, self.placement, (1 + level) / 2)
        return self.value - reach, self.value + reach

    def within(self, delta: float, level: float = LEVEL) -> bool:
        """Tell whether the times are proved to be alike to within a relative `delta`, either way.

        Two one-sided tests (D. J. Schuirmann, A comparison of the two one-sided tests procedure and the power approach
        for assessing the equivalence of average bioavailability, 1987). Without a known scatter nothing is alike.
        """
        low, high = self.interval(2 * level - 1)
        return -math.log1p(delta) < low and high < math.log1p(delta)


def difference(weights: Sequence[float], estimates: Sequence[Estimate]) -> Difference:
    """Return the sum of the logarithms of times, each with its weight: 1 and -1 for the difference of two.

    Two times that were visited in turn are compared by their visits at the host's fast level. Others are taken as
    independent, with Welch's degrees of freedom. Of times that were visited, but not in turn, nothing is known.
    """
    if together(estimates) and sorted(weights) == [-1, 1]:
        more, less = (np.array(estimates[list(weights).index(sign)].visits) for sign in (1, -1))
        return by_visits(more, less)
    if any(item.visits for item in estimates):
        value = sum(weight * math.log(item.value) for weight, item in zip(weights, estimates, strict=True))
        return Difference(value, math.nan, math.inf, 0.0)
    columns = [(math.log(item.value), item.variance, item.freedom, item.placement) for item in estimates]
    return combined(np.array(weights, dtype=float), *np.array(columns).T)


def together(estimates: Sequence[Estimate]) -> bool:
    """Return whether these times were visited in turn."""
    return all(item.visits for item in estimates) and len({item.group for item in estimates}) == 1


def by_visits(more: np.ndarray, less: np.ndarray) -> Difference:
    """Return the difference of two times, from the logarithms of their visits at the host's fast level."""
    sides = (more[visits.fast(more)], less[visits.fast(less)])
    value, *_ = visits.shift(*sides)
    spread = sum(float(side.var()) for side in sides)
    return Difference(value, spread, math.inf, 0.0, sides=(tuple(sides[0].tolist()), tuple(sides[1].tolist())))


def by_rounds(each: np.ndarray) -> Difference:
    """Return the difference that has these values, one a round."""
    value, *_ = visits.paired(each)
    return Difference(value, float(each.var()), math.inf, 0.0, rounds=tuple(each.tolist()))


def combined(
    weights: np.ndarray, logs: np.ndarray, variances: np.ndarray, freedom: np.ndarray, placements: np.ndarray
) -> Difference:
    """Return the same as `difference`, from arrays: one entry a time."""
    scaled = weights**2 * variances
    variance = float(scaled.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = float((scaled**2 / freedom).sum())
    placement = math.sqrt(float((weights**2 * placements**2).sum()))
    return Difference(float(weights @ logs), variance, variance**2 / loss if loss > 0 else math.inf, placement)


def differ(a: Estimate, b: Estimate, comparisons: int, level: float = LEVEL) -> bool:
    """Tell whether two times differ by more than chance, where `comparisons` such questions are asked (Bonferroni).

    Welch's test on the logarithms, with the allowance for placement on top. Without a known scatter nothing differs.
    """
    low, high = difference((1, -1), (a, b)).interval(1 - (1 - level) / comparisons)
    return low > 0 or high < 0


def proved_less(a: Estimate, b: Estimate, comparisons: int, level: float = LEVEL) -> bool:
    """Tell whether a is proved to be less than b, where `comparisons` such questions are asked (Bonferroni)."""
    _, high = difference((1, -1), (a, b)).interval(1 - (1 - level) / comparisons)
    return high < 0


def ratio_interval(a: Estimate, b: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Return the confidence interval of the time of b over that of a; (0, inf) without a known scatter."""
    low, high = difference((-1, 1), (a, b)).interval(level)
    return (0.0, math.inf) if math.isnan(low) else (math.exp(low), math.exp(high))


def step_down(pairs: Sequence[tuple[Estimate, Estimate]], level: float = LEVEL) -> list[bool]:
    """Tell for each of these pairs whether it differs, such that with a chance of `level` not one is claimed wrongly.

    S. Holm, A simple sequentially rejective multiple test procedure (1979): what is proved no longer counts among the
    questions asked. It holds however the pairs depend on each other.
    """
    apart = [False] * len(pairs)
    while True:
        left = [index for index, found in enumerate(apart) if not found]
        more = [index for index in left if differ(*pairs[index], len(left), level)]
        if not more:
            return apart
        for index in more:
            apart[index] = True
