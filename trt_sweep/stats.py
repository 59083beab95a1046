"""What samples can say: medians with intervals that hold, and which of many points differ.

All of it works on logarithms, so that noise is relative and an interval never reaches zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

LEVEL = 0.95
# What rounds within one run cannot show, as relative standard deviations found on an H200. Where weights and buffers
# come to lie in memory moves the GPU's time of one and the same engine, for as long as they lie there: between builds
# 0.2 to 0.5 %. `measure.rebuilds` replaces it by the spread of the point's own builds.
PLACEMENT = 0.004
# A call that the host bounds is as fast as the host just now, which changes by the minute: windows that follow one
# another are alike, and lie 15 to 30 % apart over ten minutes.
HOST_DRIFT = 0.1
# Sweeps of different hours lie further apart: one resnet18 engine took 0.29 to 0.69 ms, launch-bound as it is.
NIGHT_DRIFT = 0.3
# Where cuDNN chooses its algorithms by timing them it does so once in each process, and not always the same: over eight
# sweeps of towers of one convolution eager's work had a standard deviation of 4.5 %, but on levels up to 28 % apart.
# That is no bell's shape, so the allowance is for the levels: 1.96 times this and the root of two make 28 %.
CUDNN_CHOICE = 0.09
CAPTURES = 8  # of a call as a CUDA graph, the middle one of which is timed
ONE_CAPTURE = 0.02  # what captures may differ by where there was room for one only: the most that was seen


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
    below = int(stats.binom.ppf((1 - level) / 2, worth, 0.5)) - 1  # independent samples left out on either side
    if stats.binom.cdf(below + 1, worth, 0.5) <= (1 - level) / 2:
        below += 1
    if below < 0:
        return math.nan, math.nan
    ordered = np.sort(samples)
    skip = math.floor((below * len(ordered)) / worth)
    return float(ordered[skip]), float(ordered[-1 - skip])


@dataclass(frozen=True)
class Estimate:
    """A time with what is known of its scatter.

    `value` in ms; `spread` is the relative standard deviation of one of the `units` (rounds, or builds where there is
    more than one) behind it, with `freedom` degrees of freedom; `placement` the relative standard deviation of a run
    that these units cannot show.
    """

    value: float
    spread: float
    units: int
    freedom: float
    placement: float

    @property
    def variance(self) -> float:
        """Relative variance, as far as the units show it, of this time against the one that another run would find."""
        return self.spread**2 * (1 + 1 / self.units)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Where another run of the same point is expected, (nan, nan) where nothing is known of its scatter.

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
    """The time behind the samples of a point: `windows[build][round]` is one series, in ms.

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
    """The estimate behind the only window of a point, which has no more than its median's interval to go by."""
    if not 0 < low <= high < math.inf:
        return Estimate(value, math.nan, 1, math.inf, math.hypot(PLACEMENT, unseen, drift))
    spread = (math.log(high) - math.log(low)) / 2 / _t(math.inf, (1 + LEVEL) / 2)
    return Estimate(value, spread, 1, math.inf, math.hypot(PLACEMENT, unseen, drift))


def of_interval(value: float, low: float, high: float, *, unseen: float = 0.0, drift: float = 0.0) -> Estimate:
    """The estimate whose interval this is: of the only window of a point, whose median's is no longer at hand."""
    found = of_window(value, low, high, unseen=unseen, drift=drift)
    if math.isnan(found.spread):
        return found
    return dataclasses.replace(found, spread=math.sqrt(max(found.spread**2 / 2 - found.placement**2, 0.0)))


def unseen_gpu(between_captures: float | None, captures: int | None) -> float:
    """How far a run's middle capture may lie from the middle of all: relative, as a standard deviation.

    The median of n has 1.25 / sqrt(n) of the standard deviation of one. `between_captures` is null where no graph was
    captured, which needs no allowance, or only one.
    """
    if not captures:
        return 0.0
    return (between_captures if between_captures is not None else ONE_CAPTURE) * 1.25 / math.sqrt(captures)


def host_drift(launch_bound: bool | None, on_gpu: bool) -> float:
    """That of a latency that the host bounds, or may bound, with the host: relative, as a standard deviation."""
    return HOST_DRIFT if launch_bound or (launch_bound is None and on_gpu) else 0.0


def choice(cudnn_choices: int | None) -> float:
    """How far a process's choice of algorithms may move its times: relative, as a standard deviation.

    For each kind of convolution it is another one, so that of many the mean moves less; they are taken as alike.
    """
    return CUDNN_CHOICE / math.sqrt(cudnn_choices) if cudnn_choices else 0.0


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
    """The estimate behind a time with this scatter between its rounds (nan for one round), and between its builds.

    `unseen` is what the rounds of one build cannot show, on top of placement; the scatter of builds replaces both.
    `drift` is what no run shows. What moved a whole round moved all builds in it, so their scatter does not count for
    less than that of the rounds.
    """
    if between_builds is None:
        return Estimate(value, between_rounds, rounds, rounds - 1, math.hypot(PLACEMENT, unseen, drift))
    by_rounds = 0.0 if math.isnan(between_rounds) else between_rounds / math.sqrt(rounds)
    return Estimate(value, max(between_builds, by_rounds), builds, builds - 1, drift)


def spread_of_rounds(windows: Sequence[Sequence[np.ndarray]]) -> float:
    """Relative standard deviation of a round within its build, pooled over the builds; nan with one round each."""
    medians = [np.log([float(np.median(series)) for series in build]) for build in windows]
    variances = [build.var(ddof=1) for build in medians if len(build) > 1]
    return math.sqrt(float(np.mean(variances))) if variances else math.nan


def moderated(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The estimates with their spreads drawn towards what they have in common, and the freedom that this adds.

    Three rounds say little about a spread; those of all points together say more, the more alike they are. Times that
    the host bounds scatter a hundred times as much as others, and are taken by themselves. Empirical Bayes after G. K.
    Smyth, Linear models and empirical Bayes methods (2004), sections 3 and 6.
    """
    by_host = [item.placement >= HOST_DRIFT for item in estimates]
    found = dict[Estimate, Estimate]()
    for bound in (False, True):
        # Equal ones are one measurement, of points that were timed once for all of them.
        found |= _drawn(dict.fromkeys(item for item, host in zip(estimates, by_host, strict=True) if host == bound))
    return [found.get(item, item) for item in estimates]


def _drawn(estimates: Iterable[Estimate]) -> dict[Estimate, Estimate]:
    """What becomes of the estimates whose spread is known, where there are enough of them."""
    known = [item for item in estimates if item.spread > 0 and 0 < item.freedom < math.inf]
    if len(known) < 3:
        return {}
    freedom = np.array([item.freedom for item in known])
    logs = np.log([item.spread**2 for item in known])
    shifted = logs - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = float(shifted.var(ddof=1) - special.polygamma(1, freedom / 2).mean())
    prior = 2 * _inverse_trigamma(excess) if excess > 0 else math.inf
    if math.isinf(prior):
        common, prior = math.exp(float(shifted.mean())), float(freedom.sum())
    else:
        common = math.exp(float(shifted.mean() + special.digamma(prior / 2) - math.log(prior / 2)))

    def drawn(item: Estimate) -> Estimate:
        total = item.freedom + prior
        spread = math.sqrt((item.freedom * item.spread**2 + prior * common) / total)
        return dataclasses.replace(item, spread=spread, freedom=total)

    return {item: drawn(item) for item in known}


def _inverse_trigamma(value: float) -> float:
    """Newton's method as in the appendix of Smyth (2004)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x += step
        if abs(step) < 1e-10 * x:
            break
    return float(x)


@dataclass(frozen=True)
class Difference:
    """A weighted sum of the logarithms of times, 0 where they are alike; the rest as in `Estimate`."""

    value: float
    variance: float
    freedom: float
    placement: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Both ends, as logarithms; (nan, nan) where nothing is known of the scatter."""
        if not math.isfinite(self.variance):
            return math.nan, math.nan
        reach = _reach(self.variance, self.freedom, self.placement, (1 + level) / 2)
        return self.value - reach, self.value + reach

    def within(self, delta: float, level: float = LEVEL) -> bool:
        """Whether the times are proved to be alike to within a relative `delta`, either way.

        Two one-sided tests (D. J. Schuirmann, A comparison of the two one-sided tests procedure and the power approach
        for assessing the equivalence of average bioavailability, 1987). Without a known scatter nothing is alike.
        """
        low, high = self.interval(2 * level - 1)
        return -math.log1p(delta) < low and high < math.log1p(delta)


def difference(weights: Sequence[float], estimates: Sequence[Estimate]) -> Difference:
    """The sum of the logarithms of independent times, each with its weight: 1 and -1 for the difference of two.

    The degrees of freedom are Welch's.
    """
    columns = [(math.log(item.value), item.variance, item.freedom, item.placement) for item in estimates]
    return combined(np.array(weights, dtype=float), *np.array(columns).T)


def combined(
    weights: np.ndarray, logs: np.ndarray, variances: np.ndarray, freedom: np.ndarray, placements: np.ndarray
) -> Difference:
    """`difference` of what is at hand as arrays."""
    scaled = weights**2 * variances
    variance = float(scaled.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = float((scaled**2 / freedom).sum())
    placement = math.sqrt(float((weights**2 * placements**2).sum()))
    return Difference(float(weights @ logs), variance, variance**2 / loss if loss > 0 else math.inf, placement)


def differ(a: Estimate, b: Estimate, comparisons: int, level: float = LEVEL) -> bool:
    """Whether two times differ by more than chance, one of `comparisons` such questions (Bonferroni).

    Welch's test on the logarithms, with the allowance for placement on top. Without a known scatter nothing differs.
    """
    low, high = difference((1, -1), (a, b)).interval(1 - (1 - level) / comparisons)
    return low > 0 or high < 0


def ratio_interval(a: Estimate, b: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Confidence interval of the time of b over that of a, by the same test; (0, inf) without a known scatter."""
    low, high = difference((-1, 1), (a, b)).interval(level)
    return (0.0, math.inf) if math.isnan(low) else (math.exp(low), math.exp(high))


def step_down(pairs: Sequence[tuple[Estimate, Estimate]], level: float = LEVEL) -> list[bool]:
    """Which of these pairs differ, such that with a chance of `level` not one is claimed wrongly.

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


def rank_sets(estimates: Sequence[Estimate], groups: Sequence[object]) -> list[tuple[int, int]]:
    """The best and the worst rank that each time can have, given what is proved: (1, 1) is a proved winner.

    Best is one more than the number of times that are proved to be less, worst likewise from the other side (M. Mogstad
    and others, Inference for Ranks, 2024). Members of one group (one engine, say) are taken together and never apart.
    """
    members: dict[object, list[Estimate]] = {}
    for item, group in zip(moderated(estimates), groups, strict=True):
        members.setdefault(group, []).append(item)
    together = [items[0] if len(items) == 1 else pooled(items) for items in members.values()]
    sizes = np.array([len(items) for items in members.values()])
    values = np.array([item.value for item in together])
    found = {}
    for index, (name, apart) in enumerate(zip(members, _apart(together), strict=True)):
        less = values < values[index]
        below, above = int(sizes[apart & less].sum()), int(sizes[apart & ~less].sum())
        found[name] = (1 + below, int(sizes.sum()) - above)
    return [found[name] for name in groups]


def proved(estimates: Sequence[Estimate]) -> list[list[bool]]:
    """`[i][j]`: whether two of these times differ, corrected for the number of pairs."""
    found: list[list[bool]] = _apart(moderated(estimates)).tolist()
    return found


def _apart(estimates: Sequence[Estimate]) -> np.ndarray:
    """`differ` for every pair of many, as a matrix.

    Welch's degrees of freedom lie between the smaller of the two and infinity: most pairs are decided by one of these,
    and only the others need a quantile of their own.
    """
    count = len(estimates)
    quantile = 1 - (1 - LEVEL) / 2 / max(count * (count - 1) // 2, 1)
    logs = np.log([item.value for item in estimates])
    variances = np.array([item.variance for item in estimates])
    freedom = np.minimum([item.freedom for item in estimates], 1e6)
    placements = np.array([item.placement for item in estimates]) ** 2
    largest, least = special.stdtrit(freedom, quantile) ** 2, _t(math.inf, quantile) ** 2
    losses = variances**2 / np.where(freedom > 0, freedom, math.nan)
    apart = np.zeros((count, count), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        for index in range(count):
            variance = variances[index] + variances
            beyond = (logs[index] - logs) ** 2 - least * (placements[index] + placements)
            apart[index] = beyond > np.maximum(largest[index], largest) * variance
            (open_,) = np.nonzero(~apart[index] & (beyond > least * variance))
            welch = np.minimum(variance[open_] ** 2 / (losses[index] + losses[open_]), 1e6)
            apart[index, open_] = beyond[open_] > special.stdtrit(welch, quantile) ** 2 * variance[open_]
    np.fill_diagonal(apart, False)
    return apart


def pooled(members: list[Estimate]) -> Estimate:
    """One estimate for several of the same thing: their geometric mean, with the scatter of the widest of them."""
    value = math.exp(float(np.mean([math.log(item.value) for item in members])))
    widest = max(members, key=lambda item: item.variance if math.isfinite(item.variance) else math.inf)
    return Estimate(value, widest.spread, widest.units, widest.freedom, widest.placement)
