"""Turn the samples of one series into a median with an interval that holds."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from trt_sweep.results.stats.visits import LEVEL


def effective_size(samples: np.ndarray) -> float:
    """Return how many independent samples a series is worth for its median, from 1 to its length.

    It is n over the integrated autocorrelation time of the indicator "above the median", summed as C. J. Geyer does
    (Practical Markov Chain Monte Carlo, 1992, section 3.3: pairs of lags while their sum stays positive).
    """
    count = len(samples)
    above = (samples > np.median(samples)).astype(float)
    above -= above.mean()
    if count < 4 or not above.any():
        return float(count)
    spectrum = np.fft.rfft(above, 2 * count)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:count]
    correlation = covariance / covariance[0]
    pairs = correlation[: count // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    time = 2 * pairs[: ends[0] if len(ends) else len(pairs)].sum() - 1
    return float(np.clip(count / max(time, 1.0), 1.0, count))


def median_interval(samples: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the confidence interval of the median of one series, in the unit of the samples.

    It is made of order statistics, so it holds for any distribution. The ranks are those of W. J. Conover, Practical
    Nonparametric Statistics (1999), section 3.2, for as many independent samples as the series is worth
    (`effective_size`). Where that is fewer than six, the interval is (nan, nan).
    """
    worth = math.floor(effective_size(samples))
    below = _left_out(worth, (1 - level) / 2)
    if below < 0:
        return math.nan, math.nan
    ordered = np.sort(samples)
    skip = math.floor((below * len(ordered)) / worth)
    return float(ordered[skip]), float(ordered[-1 - skip])


def _left_out(count: int, tail: float) -> int:
    """Return how many of `count` independent samples an interval of the median may leave out on either side.

    It is the largest k for which a binomial(count, 1/2) is at most k with a chance of at most `tail`; -1 for none.
    """
    found = float(special.bdtrik(tail, count, 0.5))
    below = 0 if math.isnan(found) else math.floor(found)
    while special.bdtr(below + 1, count, 0.5) <= tail:
        below += 1
    while below >= 0 and special.bdtr(below, count, 0.5) > tail:
        below -= 1
    return below
