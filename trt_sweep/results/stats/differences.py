"""Compare times: how much they differ, and whether that is more than chance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trt_sweep.results.stats import visits
from trt_sweep.results.stats.estimates import Estimate, student
from trt_sweep.results.stats.visits import LEVEL


@dataclass(frozen=True)
class Difference:
    """Hold a weighted sum of the logarithms of times, 0 where they are alike.

    `variance` has `freedom` degrees of freedom. Where the times were visited in turn, it is only what visits of one
    build do not show, and what they do show is told by them: by the logarithms of two times in `sides`, or by a sum for
    each round in `rounds`. `parts` are two differences of which this is one less the other.
    """

    value: float
    variance: float
    freedom: float = math.inf
    rounds: tuple[float, ...] = ()
    sides: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    parts: tuple[Difference, Difference] | None = None

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return both ends of the interval, as logarithms; (nan, nan) where nothing is known of the scatter.

        That of `parts` is made of theirs (G. Y. Zou and A. Donner, Construction of confidence limits about effect
        measures, 2008).
        """
        if self.parts:
            (low, high), (least, most) = (part.interval(level) for part in self.parts)
            one, other = (part.value for part in self.parts)
            return self.value - math.hypot(one - low, most - other), self.value + math.hypot(high - one, other - least)
        low = high = self.value
        if self.sides:
            _, low, high = visits.shift(np.array(self.sides[0]), np.array(self.sides[1]), level)
        elif self.rounds:
            _, low, high = visits.paired(np.array(self.rounds), level)
        if not math.isfinite(high - low):
            return math.nan, math.nan
        reach = student(self.freedom, (1 + level) / 2) * math.sqrt(self.variance)
        return self.value - math.hypot(self.value - low, reach), self.value + math.hypot(high - self.value, reach)

    def within(self, delta: float, level: float = LEVEL) -> bool:
        """Tell whether the times are proved to be alike to within a relative `delta`, either way.

        Two one-sided tests (D. J. Schuirmann, A comparison of the two one-sided tests procedure and the power approach
        for assessing the equivalence of average bioavailability, 1987). Without a known scatter nothing is alike.
        """
        low, high = self.interval(2 * level - 1)
        return -math.log1p(delta) < low and high < math.log1p(delta)

    def side(self, questions: int = 1, delta: float = 0.0, level: float = LEVEL) -> int:
        """Return 1 where more by over a relative `delta` is proved, -1 where less by it, 0 where neither.

        It is one of so many `questions` (Bonferroni). Without a known scatter nothing is proved.
        """
        low, high = self.interval(1 - (1 - level) / questions)
        return int(low > math.log1p(delta)) - int(high < -math.log1p(delta))


def difference(weights: Sequence[float], estimates: Sequence[Estimate]) -> Difference:
    """Return the sum of the logarithms of times, each with its weight: 1 and -1 for the difference of two.

    Two times that were visited in turn are compared by their visits at the host's fast level; those of two groups
    through their anchor. Others are taken as independent, with Welch's degrees of freedom. Of times that were visited,
    but not in turn, nothing is known.
    """
    if sorted(weights) == [-1, 1] and (together(estimates) or anchored(estimates)):
        more, less = (estimates[list(weights).index(sign)] for sign in (1, -1))
        return by_visits(more, less) if together(estimates) else by_anchor(more, less)
    spreads = [math.nan if item.visits else item.spread for item in estimates]
    logs, freedom = np.log([item.value for item in estimates]), np.array([item.freedom for item in estimates])
    return combined(np.array(weights, dtype=float), logs, np.array(spreads), freedom)


def together(estimates: Sequence[Estimate]) -> bool:
    """Return whether these times were visited in turn."""
    return all(item.visits for item in estimates) and len({item.group for item in estimates}) == 1


def anchored(estimates: Sequence[Estimate]) -> bool:
    """Return whether these times were each visited in turn with one and the same anchor."""
    return len({item.anchor and item.anchor.group for item in estimates} - {None}) == 1 and all(
        item.visits and item.anchor for item in estimates
    )


def by_anchor(more: Estimate, less: Estimate) -> Difference:
    """Return the difference of two times of different groups, of what each takes more than the anchor."""
    parts = to_anchor(more), to_anchor(less)
    variance = parts[0].variance + parts[1].variance
    return Difference(parts[0].value - parts[1].value, variance, parts=parts)


def to_anchor(item: Estimate) -> Difference:
    """Return how much more a time takes than its anchor; nothing where it is that."""
    assert item.anchor is not None
    return by_visits(item, item.anchor) if item.visits != item.anchor.visits else Difference(0.0, 0.0)


def by_visits(more: Estimate, less: Estimate) -> Difference:
    """Return the difference of two times that were visited in turn, by the visits at the host's fast level."""
    sides = [logs[visits.fast(logs)] for logs in (np.array(more.visits), np.array(less.visits))]
    value, *_ = visits.shift(*sides)
    spreads, freedom = (np.array([getattr(item, name) for item in (more, less)]) for name in ("spread", "freedom"))
    unseen = combined(np.ones(2), np.zeros(2), spreads, freedom)
    return dataclasses.replace(unseen, value=value, sides=(tuple(sides[0].tolist()), tuple(sides[1].tolist())))


def by_rounds(each: np.ndarray, unseen: Difference) -> Difference:
    """Return the difference that has these values, one a round; `unseen` has what visits of one build do not show."""
    value, *_ = visits.paired(each)
    return dataclasses.replace(unseen, value=value, rounds=tuple(each.tolist()))


def combined(weights: np.ndarray, logs: np.ndarray, spreads: np.ndarray, freedom: np.ndarray) -> Difference:
    """Return the difference of times that are independent, from arrays: one entry a time."""
    scaled = (weights * spreads) ** 2
    variance = float(scaled.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = float((scaled**2 / freedom).sum())
    return Difference(float(weights @ logs), variance, variance**2 / loss if loss > 0 else math.inf)


def ratio_interval(a: Estimate, b: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Return the confidence interval of the time of b over that of a; (0, inf) without a known scatter."""
    low, high = difference((-1, 1), (a, b)).interval(level)
    return (0.0, math.inf) if math.isnan(low) else (math.exp(low), math.exp(high))


def step_down(questions: Sequence[Difference], delta: float = 0.0, level: float = LEVEL) -> list[int]:
    """Return the `side` of each difference, such that with a chance of `level` not one is claimed wrongly.

    S. Holm, A simple sequentially rejective multiple test procedure (1979): what is proved no longer counts among the
    questions asked. It holds however the differences depend on each other.
    """
    sides = [0] * len(questions)
    while True:
        left = [index for index, found in enumerate(sides) if not found]
        more = {index: side for index in left if (side := questions[index].side(len(left), delta, level))}
        if not more:
            return sides
        for index, side in more.items():
            sides[index] = side
