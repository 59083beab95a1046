"""Compare times: how much they differ, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trt_sweep.results.stats.estimates import Estimate, _reach
from trt_sweep.results.stats.samples import LEVEL


@dataclass(frozen=True)
class Difference:
    """Hold a weighted sum of the logarithms of times, 0 where they are alike.

    `variance`, `freedom` and `placement` are as in `Estimate`.
    """

    value: float
    variance: float
    freedom: float
    placement: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return both ends of the interval, as logarithms; (nan, nan) where nothing is known of the scatter."""
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
    """Return the sum of the logarithms of independent times, each with its weight: 1 and -1 for the difference of two.

    The degrees of freedom are Welch's.
    """
    columns = [(math.log(item.value), item.variance, item.freedom, item.placement) for item in estimates]
    return combined(np.array(weights, dtype=float), *np.array(columns).T)


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
