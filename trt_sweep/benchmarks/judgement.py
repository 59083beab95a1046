"""Test whether the ranks claim differences that are not there: time builds of one engine, some with work added.

Such an A/A test knows the truth: builds of one engine are equal, and those with added work are slower.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from trt_sweep.benchmarks.windows import Table, series
from trt_sweep.config import groups
from trt_sweep.machine import devices, locks, nvml
from trt_sweep.measure import clocks, measurement
from trt_sweep.measure.timer import Timer
from trt_sweep.points.run import PointRun
from trt_sweep.results import columns, ranking
from trt_sweep.results.stats import ranks

ADDED = (0.01, 0.03)  # shares of the GPU's time that are added as real work to the points that must be found


@dataclasses.dataclass
class JudgedPoint:
    """Hold a point of the A/A test: the call of a build, and the share of work added to it."""

    build: int
    timer: Timer
    added: float
    windows: list[measurement.Window] = dataclasses.field(default_factory=list)

    def row(self, clock: str, windows: Sequence[Sequence[measurement.Window]] | None = None) -> pd.Series:
        """Return the row that a record of the point would be."""
        listed = [list(build) for build in windows or [self.windows]]
        found = measurement.Measurement(listed, 1, 0.0).timing(clock.partition(" ")[2] or None)
        return pd.Series(vars(columns.Build()) | vars(found) | {"added": self.added})


def time_points(line: PointRun) -> list[JudgedPoint]:
    """Time builds of one engine, and some of them with work added, in rounds as a sweep does."""
    device, settings = devices.resolve("auto"), line.config.measure
    points = [JudgedPoint(build, timer, 0.0) for build, timer in enumerate(line.timers)]
    few = max(len(line.timers) // 4, 1)
    for number, share in enumerate(ADDED):
        print(f"adding {100 * share:.0f} %", flush=True)
        with line.running():
            work = _work(line.timers[0].call, share, device)
        for build in range(number * few, min((number + 1) * few, len(line.timers))):
            slower = Timer(_then(line.timers[build].call, work), device, settings)
            points.append(JudgedPoint(build, slower, share))
    monitor = nvml.monitor(device)
    for number in range(settings.rounds):
        print(f"judgement, round {number + 1}/{settings.rounds} of {len(points)} points", flush=True)
        for point in points:
            with line.running(point.build), locks.device_lock(device):
                point.windows.append(point.timer.window(monitor))
    return points


def _clocks(points: list[JudgedPoint]) -> list[str]:
    return [clock for clock in series(points[0].windows[0]) if clock != "enqueue_ms"]


def added_work(points: list[JudgedPoint]) -> Table:
    """Return how much longer the added work made calls, each compared with itself without it."""
    rows = []
    for clock in _clocks(points):
        column = clock.partition(" ")[0]
        alone = {point.build: point.row(clock)[column] for point in points if not point.added}
        for share in ADDED:
            slower = [point for point in points if point.added == share]
            now = float(np.mean([point.row(clock)[column] / alone[point.build] for point in slower]) - 1)
            rows.append({"clock": clock, "asked_percent": 100 * share, "measured_percent": round(100 * now, 2)})
    return rows


def judge(points: list[JudgedPoint]) -> Table:
    """Count the differences claimed between equal points, and those found for points with work added.

    The ranks do not see `engine_id`. "single" takes each build as a point, as measure.rebuilds=1 does, and "rebuilt"
    takes the builds in groups of five. `found` counts pairs. `not_first` counts the points with work added that are
    proved not to be the fastest.
    """
    table = []
    for clock in _clocks(points):
        table.append(_claims(clock, "single", [point.row(clock) for point in points]))
        fives = []
        for share in (0.0, *ADDED):
            alike = [point for point in points if point.added == share]
            for start in range(0, len(alike) - 4, 5):
                fives.append(alike[start].row(clock, [each.windows for each in alike[start : start + 5]]))
        if sum(not row["added"] for row in fives) > 1:
            table.append(_claims(clock, "rebuilt", fives))
    return table


def _claims(clock: str, how: str, rows: list[pd.Series]) -> dict[str, Any]:
    column = clock.partition(" ")[0]
    estimates = [ranking.estimate(row, column) for row in rows]
    claimed, best = ranks.proved(estimates), ranks.rank_sets(estimates, range(len(rows)))
    pairs = list(itertools.combinations(range(len(rows)), 2))
    shares, values = [row["added"] for row in rows], [float(row[column]) for row in rows]
    same = [(a, b) for a, b in pairs if shares[a] == shares[b] == 0]
    alike = [value for value, share in zip(values, shares, strict=True) if not share]
    found: dict[str, Any] = {
        "clock": clock,
        "points": how,
        "same_pairs": len(same),
        "spread_percent": round(100 * (max(alike) / min(alike) - 1), 2),
        "cv_percent": round(100 * float(np.std(np.log(alike), ddof=1)), 3),
        "false_by_trt_sweep": sum(claimed[a][b] for a, b in same),
        "false_by_median": sum(values[a] != values[b] for a, b in same),
    }
    for share in ADDED:
        slower = [(a, b) for a, b in pairs if {shares[a], shares[b]} == {0.0, share}]
        found[f"found_{100 * share:.0f}_percent"] = f"{sum(claimed[a][b] for a, b in slower)}/{len(slower)}"
        late = [index for index, each in enumerate(shares) if each == share]
        out = sum(best[index][0] > 1 for index in late)
        found[f"not_first_{100 * share:.0f}_percent"] = f"{out}/{len(late)}"
    return found


def _then(call: clocks.Call, work: clocks.Call) -> clocks.Call:
    def both() -> Any:
        result = call()
        work()
        return result

    return both


def _work(call: clocks.Call, share: float, device: torch.device) -> clocks.Call:
    """Return elementwise work that makes a call longer by about this share; its size is found by bisection."""
    settings = groups.MeasureConfig(min_s=0.05, warmup_s=0.02, max_s=0.3)

    def took(timed: clocks.Call) -> float:
        window = Timer(timed, device, settings).window(nvml.monitor(device))
        return float(np.median(window.gpu_ms.get(columns.GRAPH, window.latency_ms)))

    def work(bits: float) -> clocks.Call:
        buffer = torch.ones(int(2**bits), device=device)
        return lambda: buffer.mul_(1.0)

    low, high, alone_ms = 0.0, 28.0, took(call)
    while high - low > 0.2:
        middle = (low + high) / 2
        longer = took(_then(call, work(middle))) / alone_ms - 1
        low, high = (middle, high) if longer < share else (low, middle)
    return work(high)
