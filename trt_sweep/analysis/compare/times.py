"""Compare the times of one point in two nights: by which clock and method, and by what factor they differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trt_sweep.analysis.compare import matching
from trt_sweep.analysis.compare.matching import Row, differs, healthy, is_time
from trt_sweep.analysis.compare.nights import Night
from trt_sweep.results import ranking
from trt_sweep.results.stats import differences, shrinkage
from trt_sweep.results.stats.differences import Difference
from trt_sweep.results.stats.estimates import Estimate, student

GPU, LATENCY = CLOCKS = ("gpu_ms", "latency_ms")  # the first that can be judged decides
FEWEST = 5  # points whose GPU work tells how much the machine itself has changed
AGREE = 0.75  # share of them that must have changed alike
QUARTILE = 0.6745  # of a normal distribution, in standard deviations: half of all lies nearer
Key = tuple[tuple[str | None, ...], str]  # a point, and one of its clocks


@dataclass(frozen=True)
class Times:
    """Hold a clock's two times, in ms; `ratio` is new over old, between `low` and `high` with 95 % confidence.

    `ratio` is without what the machine itself has changed by. `side` is 1 where the time is proved to be longer by more
    than the share `effect`, -1 where shorter, all questions of the comparison together. `by_history` says that only
    earlier nights tell its scatter.
    """

    clock: str
    method: str | None
    old_ms: float
    new_ms: float
    ratio: float
    low: float
    high: float
    effect: float
    side: int
    by_history: bool

    @property
    def within(self) -> bool:
        """Return whether the two are shown to differ by less than the share `effect`, either way.

        These are two one-sided tests (D. J. Schuirmann, 1987), by an interval that is wider than they need.
        """
        return self.low > 1 / (1 + self.effect) and self.high < 1 + self.effect

    @property
    def beyond(self) -> bool:
        """Return whether the interval, taken alone, lies beyond `effect`."""
        return self.low > 1 + self.effect or self.high < 1 / (1 + self.effect)

    @property
    def blind(self) -> bool:
        """Return whether even equal times would not have shown that they are within `effect`."""
        return not self.reach <= self.effect

    @property
    def reach(self) -> float:
        """Return half of the interval, as a share; infinite where nothing is known of the scatter."""
        return math.sqrt(self.high / self.low) - 1 if self.low > 0 else math.inf


@dataclass(frozen=True)
class Pair:
    """Hold a clock of one point in two nights, not judged yet."""

    clock: str
    method: str | None
    old: Estimate
    new: Estimate
    by_history: bool = False

    @property
    def question(self) -> tuple[Estimate, Estimate]:
        """Return what is asked: the same for points that were timed once for all of them."""
        return self.old, self.new

    @property
    def difference(self) -> Difference:
        """Return how much longer the new time is."""
        if not self.by_history:
            return differences.difference((-1, 1), self.question)
        # Both spreads are one and the same estimate: its freedom counts once.
        variance = self.old.spread**2 + self.new.spread**2
        return Difference(math.log(self.new.value / self.old.value), variance, self.old.freedom)


def compared(
    pairs: Sequence[tuple[Row, Row]], effect: float, spreads: Mapping[Key, Estimate]
) -> tuple[list[list[Times]], Difference | None]:
    """Return the times of each pair of rows by each clock that both have, and by how much the machine has changed.

    `spreads` are what earlier nights tell, see `between_nights`.
    """
    found = [_pairs(old, new, spreads) for old, new in pairs]
    judged, machine = judge([pair for pairs_of_point in found for pair in pairs_of_point], effect)
    times = iter(judged)
    return [[next(times) for _ in pairs_of_point] for pairs_of_point in found], machine


def judge(pairs: Sequence[Pair], effect: float) -> tuple[list[Times], Difference | None]:
    """Answer all questions of a comparison together; return the times and by how much the machine has changed.

    Spreads of the GPU's work are drawn towards those of their night (`moderated`). What several points share, since
    they were timed once for all of them, is one question. The machine's change is taken out of the GPU's work where it
    is less than `effect`: more than that may be what somebody looks for.
    """
    places = [index for index, pair in enumerate(pairs) if not pair.by_history]
    nights = [shrinkage.moderated([getattr(pairs[index], side) for index in places]) for side in ("old", "new")]
    moderated = list(pairs)
    for index, old, new in zip(places, *nights, strict=True):
        moderated[index] = dataclasses.replace(pairs[index], old=old, new=new)
    found = {pair.question: pair.difference for pair in moderated}
    work = {moderated[index].question for index in places}
    machine = machine_change([found[question] for question in work])
    if machine is not None and abs(machine.value) < math.log1p(effect):
        for question in work:
            one = found[question]
            found[question] = dataclasses.replace(
                one, value=one.value - machine.value, variance=one.variance + machine.variance
            )
    sides = dict(zip(found, differences.step_down([*found.values()], effect), strict=True))
    times = [_times(pair, found[pair.question], effect, sides[pair.question]) for pair in moderated]
    return times, machine


def _times(pair: Pair, found: Difference, effect: float, side: int) -> Times:
    low, high = found.interval()
    ends = (0.0, math.inf) if math.isnan(low) else (math.exp(low), math.exp(high))
    ratio = math.exp(found.value)
    return Times(
        pair.clock, pair.method, pair.old.value, pair.new.value, ratio, *ends, effect, side, by_history=pair.by_history
    )


def machine_change(found: Sequence[Difference]) -> Difference | None:
    """Return the change that these points have in common, as the machine causes it: their median.

    None where they are fewer than `FEWEST`, of which a few that changed would be taken for all, and where fewer than
    `AGREE` of them lie within their own error of it: then they did not change alike. Its variance is that of a median,
    pi / 2 times that of a mean, from what the captures tell or how far the points lie apart, whichever is more.
    """
    known = [one for one in found if math.isfinite(one.variance)]
    if len(known) < FEWEST:
        return None
    values = np.array([one.value for one in known])
    middle = float(np.median(values))
    alike = [one.interval()[0] <= middle <= one.interval()[1] for one in known]
    if np.mean(alike) < AGREE:
        return None
    told = float(np.median([one.variance for one in known]))
    seen = (float(np.median(np.abs(values - middle))) / QUARTILE) ** 2
    return Difference(middle, math.pi / 2 * max(told, seen) / len(known))


def between_nights(nights: Sequence[Night]) -> dict[Key, Estimate]:
    """Return how much each point's times change from one healthy night to the next: `spread` is that of one night.

    It is the mean square of successive differences (J. von Neumann and others, 1941), which a lasting change of level
    hardly moves. Its degrees of freedom are those of A. W. Kamat (1953): about two thirds of the nights.
    """
    nightly: dict[Key, list[float]] = {}
    for night in nights:
        for row in night.rows[night.rows["status"] == "ok"].to_dict("records"):
            for clock in CLOCKS:
                if is_time(row[clock]) and healthy(row):
                    nightly.setdefault((matching.key(row), clock), []).append(float(row[clock]))
    return {key: spread_between(values) for key, values in nightly.items() if len(values) > 2}


def spread_between(nights: Sequence[float]) -> Estimate:
    """Return the last of three or more nights' times, in ms, with the spread of one."""
    steps = np.diff(np.log(nights))
    freedom = 2 * len(steps) ** 2 / (3 * len(steps) - 1)
    return Estimate(nights[-1], math.sqrt(float(np.mean(steps**2)) / 2), freedom)


def _pairs(old: Row, new: Row, spreads: Mapping[Key, Estimate]) -> list[Pair]:
    """Return the clocks that both rows have, those first whose scatter is known: they decide."""
    found = []
    for clock in CLOCKS:
        other = "clock" if clock == LATENCY else "gpu_ms_method"
        if not (is_time(old[clock]) and is_time(new[clock])) or differs(old, new, other):
            continue
        # What cuDNN chose by timing is another choice in each process.
        by_history = clock == LATENCY or ranking.cudnn_chose(old) or ranking.cudnn_chose(new)
        before, after = (ranking.estimate(row, clock) for row in (old, new))
        if by_history:
            told = spreads.get((matching.key(new), clock))
            before, after = (by_nights(row, clock, told) for row in (old, new))
        found.append(Pair(clock, old["gpu_ms_method"] if clock == GPU else None, before, after, by_history))
    return sorted(found, key=lambda pair: math.isnan(pair.old.spread) or math.isnan(pair.new.spread))


def by_nights(row: Row, clock: str, told: Estimate | None) -> Estimate:
    """Return a time with the scatter that earlier nights tell, but for no less than its own night does."""
    if told is None:
        return Estimate(float(row[clock]))
    return Estimate(float(row[clock]), max(told.spread, within_night(row, clock)), told.freedom)


def within_night(row: Row, clock: str) -> float:
    """Return the relative standard deviation that a time's own interval stands for; 0 where it has none."""
    low, high = row[f"{clock}_ci_low"], row[f"{clock}_ci_high"]
    return math.log(high / low) / 2 / student(math.inf, 0.975) if is_time(low) and is_time(high) else 0.0
