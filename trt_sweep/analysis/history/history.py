"""Find where the level of a point's times shifted over many nights of one sweep, and what changed that night."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from trt_sweep.analysis.compare import matching, times
from trt_sweep.analysis.compare.matching import Row
from trt_sweep.analysis.compare.nights import Night
from trt_sweep.errors import SweepError
from trt_sweep.results import ranking
from trt_sweep.results.stats import differences
from trt_sweep.results.stats.estimates import LOADS, Estimate
from trt_sweep.results.thresholds import MIN_EFFECT

QUARTILE = 0.6745  # of a normal distribution, in standard deviations: half of all lies nearer
FEWEST = 4  # nights for a shift: two on either side
ALONE = "it stands alone: no new level yet"


@dataclass(frozen=True)
class Value:
    """Hold a time in ms of night number `night`; `spread` is the relative standard deviation of a night.

    `left_out` says why it belongs to no level: its row was not healthy, or the night stands out alone.
    """

    night: int
    ms: float
    spread: float
    row: Row
    left_out: str | None = None


@dataclass(frozen=True)
class Shift:
    """Hold a level that begins with night number `night`: `ratio` to the one before, in `low` to `high` (95 %).

    `changed` is what else was different from the night before, with both values.
    """

    night: int
    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    changed: dict[str, tuple[object, object]]


@dataclass(frozen=True)
class Series:
    """Hold a point's times by one clock and method over the nights that have it, and where their level shifted."""

    label: str
    clock: str
    method: str | None
    values: list[Value]
    shifts: list[Shift] = field(default_factory=list)

    @property
    def levels(self) -> list[list[Value]]:
        """Return the values that were used, by level."""
        return _segments([value for value in self.values if not value.left_out], [shift.night for shift in self.shifts])


def history(nights: Sequence[Night], min_effect: float = MIN_EFFECT) -> list[Series]:
    """Return the series of all points, those with shifts first; raise SweepError where ruptures is missing.

    PELT (R. Killick and others, 2012, by `ruptures`) proposes where the mean of the logarithms shifts. Its penalty is
    that of Y.-C. Yao (1988), in units of what a night is known to scatter by. A proposal counts where the levels on its
    sides are proved to differ by more than the share `min_effect`, for as many questions as there are places for a
    shift in all series.
    """
    series = _series(nights)
    questions = sum(len(each.values) for each in series)
    found = [_with_shifts(each, max(questions, 1), min_effect) for each in series]
    return sorted(found, key=lambda each: not each.shifts)


def _series(nights: Sequence[Night]) -> list[Series]:
    values: dict[tuple[tuple[str | None, ...], str, str | None], list[Value]] = {}
    last: dict[tuple[str | None, ...], Row] = {}
    for number, night in enumerate(nights):
        for row in night.rows[night.rows["status"] == "ok"].to_dict("records"):
            last[matching.key(row)] = row
            for clock in times.CLOCKS:
                if matching.is_time(row[clock]):
                    method = row["gpu_ms_method"] if clock == times.GPU else None
                    values.setdefault((matching.key(row), clock, method), []).append(_value(number, row, clock))
    if not last:
        return []
    rows = pd.DataFrame(list(last.values())).convert_dtypes()  # integers among nulls are floats by now
    labels = dict(zip(last, matching.labels(rows), strict=True))
    return [Series(labels[key], clock, method, found) for (key, clock, method), found in values.items()]


def _value(night: int, row: Row, clock: str) -> Value:
    """Return a night's time; what a latency scatters by between nights, only the nights themselves tell."""
    spread = ranking.estimate(row, clock).spread if clock == times.GPU else times.within_night(row, clock)
    left_out = None if matching.healthy(row) else f"{row['health']}: {row['health_reason']}"
    return Value(night, float(row[clock]), max(spread, LOADS) if spread > 0 else LOADS, row, left_out)


def _with_shifts(series: Series, questions: int, effect: float) -> Series:
    used = [value for value in series.values if not value.left_out]
    if len(used) < 2:
        return series
    spread = _spread(used)
    begins = _proposed(used, spread)
    alone = {level[0].night for level in _segments(used, begins) if len(level) == 1}
    if alone:
        values = [
            dataclasses.replace(value, left_out=ALONE) if value.night in alone else value for value in series.values
        ]
        return _with_shifts(dataclasses.replace(series, values=values), questions, effect)
    while begins:  # a proposal that is not proved joins its levels, the smallest first
        shifts = [_shift(*pair, spread) for pair in itertools.pairwise(_segments(used, begins))]
        levels = [[_level(level, spread) for level in pair] for pair in itertools.pairwise(_segments(used, begins))]
        proved = [differences.difference((-1, 1), pair).side(questions, effect) != 0 for pair in levels]
        if all(proved):
            return dataclasses.replace(series, shifts=shifts)
        weak = [index for index, sure in enumerate(proved) if not sure]
        del begins[min(weak, key=lambda index: abs(math.log(shifts[index].ratio)))]
    return series


def _spread(values: Sequence[Value]) -> float:
    """Return the spread of a night in this series: what is known of it, or more where neighbours differ by more.

    A shift moves one of their differences, which hardly moves the median of all.
    """
    told = math.sqrt(float(np.mean([value.spread**2 for value in values])))
    steps = np.abs(np.diff([math.log(value.ms) for value in values]))
    return max(told, float(np.median(steps)) / QUARTILE / math.sqrt(2))


def _proposed(values: Sequence[Value], spread: float) -> list[int]:
    """Return the numbers of the nights with which a level may begin."""
    try:
        import ruptures
    except ImportError:
        raise SweepError("history needs ruptures: pip install 'trt-sweep[history]'") from None
    logs = np.array([math.log(value.ms) for value in values]) / spread
    ends = ruptures.Pelt(model="l2", min_size=1, jump=1).fit_predict(logs, pen=2 * math.log(len(logs)))
    return [values[end].night for end in ends[:-1]]


def _segments(values: Sequence[Value], begins: Sequence[int]) -> list[list[Value]]:
    edges = [-1, *begins, math.inf]
    return [[value for value in values if low <= value.night < high] for low, high in itertools.pairwise(edges)]


def _level(values: Sequence[Value], spread: float) -> Estimate:
    middle = math.exp(float(np.mean([math.log(value.ms) for value in values])))
    return Estimate(middle, spread / math.sqrt(len(values)))


def _shift(before: Sequence[Value], after: Sequence[Value], spread: float) -> Shift:
    old, new = _level(before, spread), _level(after, spread)
    changed = matching.changed(before[-1].row, after[0].row)
    interval = differences.ratio_interval(old, new)
    return Shift(after[0].night, old.value, new.value, new.value / old.value, *interval, changed)
