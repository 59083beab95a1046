"""Hold the visits of a point, and derive the timing columns of its record from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_sweep.measure.health import WindowHealth
from trt_sweep.results.columns import METHODS
from trt_sweep.results.measured import Timing
from trt_sweep.results.stats import estimates, visits

LAUNCH_BOUND = 0.8  # share of the GPU's time that enqueueing takes; trtexec warns from there on


@dataclass(frozen=True)
class Visit:
    """Hold the samples of one visit: float64 arrays in milliseconds.

    `latency_ms` and `enqueue_ms` have one entry for each call. The arrays of `gpu_ms`, by method, have one for each
    batch: the mean of its calls. `wall_ms` is the time in which the calls of `latency_ms` were made, by all threads.
    """

    latency_ms: np.ndarray
    enqueue_ms: np.ndarray | None
    gpu_ms: dict[str, np.ndarray]
    gpu_reason: str | None
    clock: str
    warmup_s: float
    health: WindowHealth
    wall_ms: float


@dataclass
class Measurement:
    """Hold the visits of a point as `windows[build][visit]`, and derive its figures.

    The first visit stands alone, right after the build. It counts for `latency_ms` only where there is no other.
    `visit_group` names the points that were visited in turn with this one, `anchor` is the one of them that other
    groups have as well. `choices` are the `gpu_ms` of each choice of algorithms that cuDNN made: the least was timed.
    `streams` is the number of threads that called.
    """

    windows: list[list[Visit]]
    batch_size: int
    first_call_ms: float | None
    distinct_engines: int | None = None
    timed_with: str | None = None
    visit_group: str | None = None
    point_id: str | None = None
    anchor: Measurement | None = None
    choices: list[float] | None = None
    streams: int = 1

    @property
    def methods(self) -> list[str]:
        """Return the methods by which every build has a `gpu_ms`."""
        return [name for name in METHODS if all(_taken(build, name) for build in self.windows)]

    def _all(self) -> list[Visit]:
        return [window for build in self.windows for window in build]

    def _visits(self) -> list[list[Visit]]:
        """Return the visits that count by build, each build as many."""
        fewest = min(map(len, self.windows))
        return [build[1:fewest] or build[:1] for build in self.windows]

    def restart(self, visit_group: str) -> None:
        """Forget all visits but the first, and begin anew as one of another group."""
        self.visit_group = visit_group
        for build in self.windows:
            del build[1:]

    def over(self, limit_ms: float) -> list[float]:
        """Return the share of calls that took longer, of each visit that counts: the worst of its builds."""
        visits = zip(*self._visits(), strict=True)
        return [max(float(np.mean(visit.latency_ms > limit_ms)) for visit in builds) for builds in visits]

    @property
    def call_s(self) -> float | None:
        """Return the seconds of a call at the first visit; None before it."""
        first = [build[0] for build in self.windows if build]
        return max(float(np.median(window.latency_ms)) for window in first) / 1e3 if first else None

    def timing(self, method: str | None = None) -> Timing:
        """Return the timing columns of the point; `gpu_ms` is by this method, or by the first there is."""
        counted, first = self._visits(), self.windows[0][0]
        method = method or next(iter(self.methods), None)
        work = _gpu_work([_taken(build, method) for build in self.windows]) if method else {}
        enqueue = [window.enqueue_ms for window in self._all() if window.enqueue_ms is not None]
        enqueue_ms = float(np.median([np.median(series) for series in enqueue])) if enqueue else None
        launch_bound = enqueue_ms > LAUNCH_BOUND * work["gpu_ms"] if work and enqueue_ms is not None else None

        series = [[visit.latency_ms for visit in build] for build in counted]
        logs = self._logs()
        medians = np.exp(logs.mean(axis=0))
        each_visit = [each for build in series for each in build]
        calls = np.concatenate(each_visit)
        # A visit in which calls were slow has fewer of them, and counts as much as any other.
        weights = np.concatenate([np.full(len(each), 1 / len(each) / len(each_visit)) for each in each_visit])
        mean = float(weights @ calls)
        fastest = float(calls.min())
        level = visits.fast_level(medians, fastest).at_least(work.get("gpu_ms"), work.get("gpu_ms_ci_high"))
        slow_share, slow_factor = visits.slow(medians, level.value)
        per_item = self._items_ms()
        most = fastest / self.streams / self.batch_size  # ms of an item, were every call the fastest
        item = visits.fast_level(per_item, most)
        return Timing(
            **work,
            latency_ms=level.value,
            latency_ms_ci_low=_known(level.low),
            latency_ms_ci_high=_known(level.high),
            latency_ms_visits=[float(value) for value in medians] if len(medians) > 1 else None,
            visit_group=self.visit_group,
            **(self.anchor.as_anchor() if self.anchor is not None and len(medians) > 1 else {}),
            host_slow_share=slow_share,
            host_slow_factor=slow_factor,
            latency_ms_between_rounds=_between(logs),
            latency_ms_between_builds=float(logs.mean(axis=1).std(ddof=1)) if len(logs) > 1 else None,
            clock=first.clock,
            timed_with=self.timed_with,
            rounds=len(medians),
            builds=len(self.windows),
            distinct_engines=self.distinct_engines,
            warmup_s=first.warmup_s,
            samples=len(calls),
            latency_ms_min=fastest,
            latency_ms_mean=mean,
            latency_ms_std=math.sqrt(float(weights @ (calls - mean) ** 2)),
            latency_ms_p90=visits.weighted_quantile(calls, weights, 0.9),
            latency_ms_p99=visits.weighted_quantile(calls, weights, 0.99),
            gpu_ms_method=method,
            gpu_ms_choices=self.choices,
            gpu_ms_reason=next((window.gpu_reason for window in self._all() if window.gpu_reason), None),
            enqueue_ms=enqueue_ms,
            launch_bound=launch_bound,
            first_call_ms=self.first_call_ms,
            throughput_per_s=1e3 / item.value,
            throughput_per_s_ci_low=_known(1e3 / item.high),
            throughput_per_s_ci_high=_known(1e3 / item.low),
            item_ms_visits=[float(value) for value in per_item] if len(per_item) > 1 else None,
        )

    def _items_ms(self) -> np.ndarray:
        """Return the wall time of each visit over the samples of its calls, in ms; the mean of the builds."""
        each = [[visit.wall_ms / len(visit.latency_ms) for visit in build] for build in self._visits()]
        found: np.ndarray = np.exp(np.log(each).mean(axis=0)) / self.batch_size
        return found

    def _logs(self) -> np.ndarray:
        """Return the logarithms of the medians of the visits that count, in ms: a row a build."""
        medians = [[float(np.median(visit.latency_ms)) for visit in build] for build in self._visits()]
        found: np.ndarray = np.log(medians)
        return found

    def as_anchor(self) -> dict[str, Any]:
        """Return what other points keep of this one, so that they can be compared with those of other groups."""
        medians, method = np.exp(self._logs().mean(axis=0)), next(iter(self.methods), None)
        spread = estimates.LOADS
        if method is not None:
            work = _gpu_work([_taken(build, method) for build in self.windows])
            between = max(work["gpu_ms_between_captures"] or 0.0, estimates.LOADS)
            chosen = float(np.log(self.choices).std()) if self.choices else 0.0
            spread = estimates.of_call(math.hypot(between, chosen), work["gpu_ms"], float(np.min(medians)))
        return {"anchor_id": self.point_id, "anchor_ms_visits": [*map(float, medians)], "anchor_spread": spread}

    def samples(self) -> dict[str, np.ndarray]:
        """Return all samples: an array for each clock, and beside it the build and the visit of each sample."""
        parts: dict[str, list[tuple[np.ndarray, int, int]]] = {}
        for build, windows in enumerate(self.windows):
            for number, window in enumerate(windows):
                clocks = {"latency_ms": window.latency_ms, "enqueue_ms": window.enqueue_ms}
                clocks["wall_ms"] = np.array([window.wall_ms])
                clocks |= {f"gpu_ms_{method}": series for method, series in window.gpu_ms.items()}
                for clock, series in clocks.items():
                    if series is not None:
                        parts.setdefault(clock, []).append((series, build, number))
        found: dict[str, np.ndarray] = {}
        for clock, listed in parts.items():
            found[clock] = np.concatenate([series for series, _, _ in listed])
            for index, what in ((1, "build"), (2, "round")):
                numbers = [np.full(len(item[0]), item[index], dtype=np.uint16) for item in listed]
                found[f"{clock}_{what}"] = np.concatenate(numbers)
        return found


def _taken(build: Sequence[Visit], method: str) -> list[float]:
    """Return the `gpu_ms` of each visit of a build in which it was timed by this method."""
    return [float(np.median(window.gpu_ms[method])) for window in build if method in window.gpu_ms]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _between(logs: np.ndarray) -> float | None:
    """Return the standard deviation between the visits of a build, pooled over builds; None for one visit."""
    return math.sqrt(float(np.mean(logs.var(axis=1, ddof=1)))) if logs.shape[1] > 1 else None


def _gpu_work(builds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the columns of `gpu_ms`, from what each capture of each build took in ms."""
    logs = [np.log(build) for build in builds]
    means = np.array([build.mean() for build in logs])
    fewest = min(map(len, logs))
    between = math.sqrt(float(np.mean([build.var(ddof=1) for build in logs]))) if fewest > 1 else None
    of_builds = float(means.std(ddof=1)) if len(means) > 1 else None
    found = estimates.of_captures(math.exp(means.mean()), fewest, between, len(means), of_builds)
    low, high = found.interval()
    return {
        "gpu_ms": found.value,
        "gpu_ms_ci_low": _known(low),
        "gpu_ms_ci_high": _known(high),
        "gpu_ms_captures": fewest,
        "gpu_ms_between_captures": between,
        "gpu_ms_between_builds": of_builds,
    }
