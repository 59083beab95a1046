"""Judge a limit by the interval of what it limits: surely kept, surely broken, or neither."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_sweep.results.cells import size
from trt_sweep.results.stats import racing, visits

KEPT, BROKEN, UNKNOWN = "kept", "broken", "cannot tell"
FEWEST = 6  # visits of which an interval can be made
SLOWER = visits.SLOW**2  # times the fast level: the next level of the hosts that were seen


@dataclass(frozen=True)
class Limit:
    """Hold the most that a figure may be. `flag` is how it was asked for, `column` where a record has the figure.

    With a `percentile`, so many of 100 calls must keep it.
    """

    flag: str
    column: str
    most: float
    unit: str = ""
    percentile: float | None = None

    def __str__(self) -> str:
        share = "" if self.percentile is None else f" for {self.percentile:g} % of calls"
        return f"{self.flag} {shown(self.most, self.unit)}{share}"


@dataclass(frozen=True)
class Verdict:
    """Hold what is known of a limit: `kept`, `broken` or `cannot tell`, and the figure with both ends in its unit.

    Of a percentile they are the share of calls that are over the limit.
    """

    limit: Limit
    verdict: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"{self.limit} {self.verdict}: there is no {self.limit.column}"
        if self.limit.percentile is not None:
            over = f"{100 * self.value:.3g} % of calls are over it [{100 * self.low:.3g}, {100 * self.high:.3g}]"
            return f"{self.limit} {self.verdict}: {over}"
        ends = "" if self.low == self.high else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.limit} {self.verdict}: {shown(self.value, self.limit.unit, ends)}"

    @property
    def over(self) -> float:
        """Return how many times what is allowed was found; to name what comes nearest."""
        allowed = self.limit.most if self.limit.percentile is None else 1 - self.limit.percentile / 100
        return math.inf if math.isnan(self.value) else self.value / allowed if allowed else math.inf


def shown(value: float, unit: str, ends: str = "") -> str:
    """Return a figure with its unit, memory in the one that suits it."""
    if unit == "B":
        return size(value)
    return f"{value:.4g}{ends}{f' {unit}' * bool(unit)}"


def judge(limit: Limit, row: Mapping[str, Any], over: list[float] | None, level: float) -> Verdict:
    """Judge one limit for a row of the table, at this level.

    `over` are the shares of calls over the limit, visit by visit, of a percentile. An interval that ends at the limit
    keeps it. A figure that is read once, as memory is, has no interval: it keeps the limit or breaks it.
    """
    if limit.percentile is not None:
        return _of_calls(limit, over or [], level)
    value = math.nan if row.get(limit.column) is None else float(row[limit.column])
    low = high = value
    if limit.column == "latency_ms":
        medians = np.array(row.get("latency_ms_visits") or [])
        if len(medians) < FEWEST:
            return Verdict(limit, UNKNOWN, value, math.nan, math.nan)
        found = visits.fast_level(medians, float(row["latency_ms_min"]), level)
        tail = (1 - level) / 2  # so few visits may all lie above the level that they are to tell, or all below it
        if (1 - visits.QUARTER) ** len(medians) > tail:
            found = dataclasses.replace(found, low=found.low / SLOWER)
        if visits.QUARTER ** len(medians) > tail:
            found = dataclasses.replace(found, high=math.inf)
        found = found.at_least(row.get("gpu_ms"), row.get("gpu_ms_ci_high"))
        value, low, high = found.value, found.low, found.high
    return Verdict(limit, _verdict(low, high, limit.most), value, low, high)


def _of_calls(limit: Limit, over: list[float], level: float) -> Verdict:
    assert limit.percentile is not None
    if not over:
        return Verdict(limit, UNKNOWN, math.nan, math.nan, math.nan)
    low, high = racing.share_interval(over, level)
    verdict = _verdict(low, high, 1 - limit.percentile / 100)
    return Verdict(limit, verdict, sum(over) / len(over), low, high)


def _verdict(low: float, high: float, most: float) -> str:
    return KEPT if high <= most else BROKEN if low > most else UNKNOWN
