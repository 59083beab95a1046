"""Intervals of the median of one series of samples, and how far rounds lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special  # scipy.stats takes a second to import

LEVEL = 0.95


def effective_size(samples: np.ndarray) -> float:
    """How many independent samples a series is worth for its median, between 1 and its length.

    n over the integrated autocorrelation time of the indicator "above the median", summed as C. J. Geyer does
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
    """Confidence interval of the median of one series from order statistics, whatever the distribution.

    The ranks are those of W. J. Conover, Practical Nonparametric Statistics (1999), section 3.2, for as many
    independent samples as the series is worth (`effective_size`). Fewer than six such give (nan, nan).
    """
    worth = math.floor(effective_size(samples))
    tail = (1 - level) / 2
    below = _binomial_quantile(tail, worth) - 1  # independent samples left out on either side
    if special.bdtr(below + 1, worth, 0.5) <= tail:
        below += 1
    if below < 0:
        return math.nan, math.nan
    ordered = np.sort(samples)
    skip = math.floor((below * len(ordered)) / worth)
    return float(ordered[skip]), float(ordered[-1 - skip])


def _binomial_quantile(probability: float, trials: int) -> int:
    """Return the least number of heads that as many throws of a coin stay within with this probability."""
    heads = int(max(math.ceil(special.bdtrik(probability, trials, 0.5)), 0))  # good to rounding, so one less is tried
    return heads - 1 if heads > 0 and special.bdtr(heads - 1, trials, 0.5) >= probability else heads


def spread_of_rounds(windows: Sequence[Sequence[np.ndarray]]) -> float:
    """Relative standard deviation of a round within its build, pooled over the builds; nan with one round each."""
    medians = [np.log([float(np.median(series)) for series in build]) for build in windows]
    variances = [build.var(ddof=1) for build in medians if len(build) > 1]
    return math.sqrt(float(np.mean(variances))) if variances else math.nan
