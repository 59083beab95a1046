"""Race points against each other: after some visits, drop those that are proved worse than the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trt_sweep.results import limits, ranking
from trt_sweep.results.limits import BROKEN, KEPT, UNKNOWN, Limit, Verdict
from trt_sweep.results.stats import differences, racing, visits
from trt_sweep.results.stats.estimates import Estimate
from trt_sweep.results.stats.shrinkage import moderated

# What may be made best, and the column that holds it.
OBJECTIVES = {
    "latency": "latency_ms",
    "throughput": "throughput_per_s",
    "energy": "energy_mj_per_call",
    "memory": "peak_gpu_bytes",
}
VISITED = ("latency", "throughput")  # objectives that more visits make better known
MOST_VISITS = 192  # that are compared: see `ranking.MOST_VISITS`, which a race that looks often cannot wait for


@dataclass(frozen=True)
class Goal:
    """Hold what a race is for: the objective, the limits, and the share by which points may differ all the same."""

    objective: str = "latency"
    limits: tuple[Limit, ...] = ()
    delta: float = 0.02


@dataclass(frozen=True)
class Contestant:
    """Hold a point as a race sees it: what is to be little, what is known of each limit, and whether it may win."""

    estimate: Estimate
    verdicts: tuple[Verdict, ...] = ()
    wins: bool = True

    def after(self, earlier: Contestant | None) -> Contestant:
        """Return the same, with what was sure at an earlier look, of other visits, where it cannot be told now."""
        if earlier is None:
            return self
        pairs = zip(self.verdicts, earlier.verdicts, strict=True)
        told = (old if new.verdict == UNKNOWN and old.verdict == KEPT else new for new, old in pairs)
        return dataclasses.replace(self, verdicts=tuple(told))

    @property
    def keeps(self) -> bool:
        """Return whether every limit is surely kept."""
        return all(found.verdict == KEPT for found in self.verdicts)

    @property
    def likely(self) -> bool:
        """Return whether no limit is surely broken, and each figure that is known keeps its limit."""
        return all(found.verdict != BROKEN and not (found.over > 1 and found.value >= 0) for found in self.verdicts)

    @property
    def open(self) -> bool:
        """Return whether some limit cannot be told yet."""
        return any(found.verdict == UNKNOWN for found in self.verdicts)


@dataclass(frozen=True)
class Look:
    """Hold what a look has found: who is `out` and why, who is `left`, the best, and why the race ends, if it does."""

    out: dict[str, str]
    left: tuple[str, ...]
    best: str | None
    ended: str | None = None


KINDS = 3  # of claims: a limit is kept or broken, a point is worse than the best, all are alike
ONE_LEFT = "one is left"
ALIKE = "all that are left are alike"
NONE_LEFT = "none is left"


@dataclass
class Race:
    """Look at points again and again, each time a little surer, so that all looks together err in 5 % of races.

    `number` counts the looks. Between two of them the best may become another point.
    """

    goal: Goal
    number: int = 0
    entered: int = field(default=1)  # points that the visits began with: all their pairs may be asked about

    def begin(self, points: int) -> None:
        """Note how many points the coming visits begin with."""
        self.entered = max(points, 1)

    def next_level(self) -> float:
        """Return the level at which limits are judged in the next look: each point's count as a question each."""
        return racing.level(self.number + 1, KINDS * self.entered * max(len(self.goal.limits), 1))

    def look(self, points: Mapping[str, Contestant], names: Mapping[str, str]) -> Look:
        """Drop whom a limit or the best proves to be out; `names` are for the reasons.

        A third of what a look may err is for limits, one for who is worse, and one for whether all are alike.
        """
        self.number += 1
        out: dict[str, str] = {}
        for key, point in points.items():
            broken = [found for found in point.verdicts if found.verdict == BROKEN]
            if broken:
                out[key] = str(broken[0])
            elif not point.estimate.value > 0:
                out[key] = f"has no {OBJECTIVES[self.goal.objective]}"
        left = [key for key in points if key not in out]
        drawn = moderated([points[key].estimate for key in left])
        known = dict(zip(left, drawn, strict=True))
        best = min(
            (key for key in left if points[key].keeps and points[key].wins),
            key=lambda key: known[key].value,
            default=None,
        )
        level = racing.level(self.number, KINDS)
        if best is not None:
            pairs = self.entered * (self.entered - 1) // 2
            for key in [key for key in left if key != best and not _alike(known[key], known[best], pairs, level)]:
                found = differences.difference((1, -1), (known[key], known[best]))
                if found.side(max(pairs, 1), level=level) > 0:
                    out[key] = f"proved worse than {names[best]}: {_ratio(found)}"
            left = [key for key in left if key not in out]
        ended = self._ended([key for key in left if points[key].wins], best, points, known, level)
        return Look(out, tuple(left), best, ended)

    def _ended(
        self,
        left: list[str],
        best: str | None,
        points: Mapping[str, Contestant],
        known: Mapping[str, Estimate],
        level: float,
    ) -> str | None:
        """Return why no further look is needed.

        That all are alike needs no correction for their number, since each of them must be proved to be (R. L. Berger,
        Multiparameter Hypothesis Testing and Acceptance Sampling, 1982).
        """
        if not left:
            return NONE_LEFT
        if best is None or any(points[key].open for key in left):
            return None
        if len(left) == 1:
            return ONE_LEFT
        others = [differences.difference((1, -1), (known[key], known[best])) for key in left if key != best]
        return ALIKE if all(found.within(self.goal.delta, level) for found in others) else None


def contestant(row: Mapping[str, Any], over: list[float] | None, goal: Goal, level: float) -> Contestant:
    """Return what a race sees of a row of the table; `over` is as in `limits.judge`."""
    found = tuple(limits.judge(limit, row, over, level) for limit in goal.limits)
    return Contestant(estimate(row, goal.objective), found)


def estimate(row: Mapping[str, Any], objective: str) -> Estimate:
    """Return what is to be little, with its scatter: memory has none, and of energy none is known."""
    if objective in VISITED:
        if row["latency_ms"] is None:
            return Estimate(math.nan)
        known: dict[Hashable, Any] = dict(row.items())
        for name in ("latency_ms_visits", "item_ms_visits"):
            every = row.get(name) or []
            known[name] = every[:: math.ceil(len(every) / MOST_VISITS) or 1] or None
        return ranking.per_item(known) if objective == "throughput" else ranking.estimate(known, "latency_ms")
    value = row[OBJECTIVES[objective]]
    return Estimate(math.nan if value is None else float(value), 0.0 if objective == "memory" else math.nan)


def nearest(points: Mapping[str, Collection[Verdict]]) -> tuple[str, Verdict] | None:
    """Return the point that comes nearest to keeping all limits, with the verdict that speaks most against it."""
    worst = {
        key: max(found, key=lambda one: (one.verdict == BROKEN, one.over)) for key, found in points.items() if found
    }
    return min(worst.items(), key=lambda item: item[1].over, default=None)


def _alike(one: Estimate, other: Estimate, pairs: int, level: float) -> bool:
    """Return whether visits alone tell that nothing is proved, which is quickly found."""
    if not differences.together((one, other)):
        return False
    logs = [np.sort(item.visits) for item in (one, other)]
    first, second = (each[visits.fast(each)] for each in logs)
    return visits.side(first, second, 1 - (1 - level) / max(pairs, 1)) == 0


def _ratio(found: differences.Difference) -> str:
    low, high = found.interval()
    return f"{math.exp(found.value):.3g}× [{math.exp(low):.3g}, {math.exp(high):.3g}]"
