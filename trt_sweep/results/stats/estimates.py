"""Estimate the time of a point from its samples, with what is known of its scatter.

All of it works on logarithms, so that noise is relative and an interval never reaches zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from trt_sweep.results.stats.samples import LEVEL, median_interval, spread_of_rounds
from trt_sweep.results.stats.unseen import LOADS, PLACEMENT, choice


@dataclass(frozen=True)
class Estimate:
    """Hold a time with what is known of its scatter.

    `value` in ms; `spread` is the relative standard deviation of one of the `units` (rounds, or builds where there is
    more than one) behind it, with `freedom` degrees of freedom; `placement` the relative standard deviation of a run
    that these units cannot show. `visits` are the logarithms of its visits, made in turn with those of the other times
    of `group`; empty where it has none.
    """

    value: float
    spread: float
    units: int
    freedom: float
    placement: float
    visits: tuple[float, ...] = ()
    group: object = None

    @property
    def known(self) -> bool:
        """Return whether anything is known of its scatter."""
        return bool(self.visits) or math.isfinite(self.variance)

    def per(self, items: int) -> Estimate:
        """Return the time of one of so many items."""
        less = math.log(items)
        visits = tuple(log - less for log in self.visits)
        return dataclasses.replace(self, value=self.value / items, visits=visits)

    @property
    def variance(self) -> float:
        """Return the relative variance, as far as the units show it, of this time and the one of another run."""
        return self.spread**2 * (1 + 1 / self.units)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return where another run of the same point is expected; (nan, nan) where nothing is known of its scatter.

        A prediction interval of Student's t (G. J. Hahn and W. Q. Meeker, Statistical Intervals, 1991, section 4.7):
        unlike an interval of the mean it does not shrink to nothing when a drift slower than the rounds moves them
        together. The allowance for placement comes on top, this run's and the other's, all being independent.
        """
        reach = math.exp(_reach(self.variance, self.freedom, math.sqrt(2) * self.placement, (1 + level) / 2))
        return self.value / reach, self.value * reach


def _t(freedom: float, quantile: float) -> float:
    return float(special.stdtrit(min(freedom, 1e6), quantile))


def _reach(variance: float, freedom: float, placement: float, quantile: float) -> float:
    return math.hypot(_t(freedom, quantile) * math.sqrt(variance), _t(math.inf, quantile) * placement)


def estimate(windows: Sequence[Sequence[np.ndarray]], unseen: float = 0.0, drift: float = 0.0) -> Estimate:
    """Return the time behind the samples of a point: `windows[build][round]` is one series, in ms.

    It is the geometric mean of the series' medians. A single window has only its own interval to go by; see `of_rounds`
    for more, and for `unseen` and `drift`.
    """
    medians = [np.log([float(np.median(series)) for series in build]) for build in windows]
    means = np.array([build.mean() for build in medians])
    value = math.exp(means.mean())
    between_builds = float(means.std(ddof=1)) if len(windows) > 1 else None
    rounds = min(map(len, windows))
    if between_builds is not None or rounds > 1:
        scatter = spread_of_rounds(windows)
        return of_rounds(
            value, rounds, scatter, builds=len(windows), between_builds=between_builds, unseen=unseen, drift=drift
        )
    return of_window(value, *median_interval(windows[0][0]), unseen=unseen, drift=drift)


def of_window(value: float, low: float, high: float, *, unseen: float = 0.0, drift: float = 0.0) -> Estimate:
    """Return the estimate of a point with one window, from the confidence interval of that window's median.

    `value`, `low` and `high` are in ms; `unseen` and `drift` as in `of_rounds`.
    """
    if not 0 < low <= high < math.inf:
        return Estimate(value, math.nan, 1, math.inf, math.hypot(PLACEMENT, unseen, drift))
    spread = (math.log(high) - math.log(low)) / 2 / _t(math.inf, (1 + LEVEL) / 2)
    return Estimate(value, spread, 1, math.inf, math.hypot(PLACEMENT, unseen, drift))


def of_interval(value: float, low: float, high: float, *, unseen: float = 0.0, drift: float = 0.0) -> Estimate:
    """Return the estimate of a point with one window, from the interval that `Estimate.interval` once gave it."""
    found = of_window(value, low, high, unseen=unseen, drift=drift)
    if math.isnan(found.spread):
        return found
    return dataclasses.replace(found, spread=math.sqrt(max(found.spread**2 / 2 - found.placement**2, 0.0)))


def of_rounds(
    value: float,
    rounds: int,
    between_rounds: float,
    *,
    builds: int,
    between_builds: float | None,
    unseen: float = 0.0,
    drift: float = 0.0,
) -> Estimate:
    """Return the estimate of a time with this scatter between its rounds (nan for one round) and its builds.

    `unseen` is what the rounds of one build cannot show, on top of placement; the scatter of builds replaces both.
    `drift` is what no run shows. What moved a whole round moved all builds in it, so their scatter does not count for
    less than that of the rounds.
    """
    if between_builds is None:
        return Estimate(value, between_rounds, rounds, rounds - 1, math.hypot(PLACEMENT, unseen, drift))
    by_rounds = 0.0 if math.isnan(between_rounds) else between_rounds / math.sqrt(rounds)
    return Estimate(value, max(between_builds, by_rounds), builds, builds - 1, drift)


def of_captures(
    value: float,
    captures: int,
    between_captures: float | None,
    builds: int,
    between_builds: float | None,
    *,
    cudnn_benchmark: bool = False,
) -> Estimate:
    """Return the estimate of the GPU's work from its captures: they scatter as builds of one engine do.

    The arguments are as in the columns. One capture alone tells nothing of its scatter. What cuDNN chose by timing
    scatters as `unseen.choice` says.
    """
    drift = choice(cudnn_benchmark)
    if between_builds is not None:
        spread = max(between_builds, (between_captures or 0.0) / math.sqrt(captures))
        return Estimate(value, math.hypot(spread, LOADS), builds, builds - 1, drift)
    spread = math.nan if between_captures is None else math.hypot(between_captures, LOADS)
    return Estimate(value, spread, captures, captures - 1, drift)
