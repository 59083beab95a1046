"""Hold the timed windows of a point, and derive the timing columns of its record from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_sweep.measure.health import WindowHealth
from trt_sweep.results.columns import GRAPH, METHODS, Timing
from trt_sweep.results.stats import estimates, unseen
from trt_sweep.results.stats.samples import spread_of_rounds

LAUNCH_BOUND = 0.8  # share of the GPU's time that enqueueing takes; trtexec warns from there on


@dataclass(frozen=True)
class Window:
    """Hold the samples of one timed window: float64 arrays in milliseconds.

    `latency_ms` and `enqueue_ms` have one entry for each call. The arrays of `gpu_ms`, by method, have one for each
    batch: the mean of its calls.
    """

    latency_ms: np.ndarray
    enqueue_ms: np.ndarray | None
    gpu_ms: dict[str, np.ndarray]
    captures_ms: list[float]
    gpu_reason: str | None
    clock: str
    stopped_by: str
    warmup_s: float
    health: WindowHealth


@dataclass
class Measurement:
    """Hold the windows of a point as `windows[build][round]`, and derive its figures.

    `cudnn_benchmark` says whether cuDNN chose its convolution algorithms by timing them.
    """

    windows: list[list[Window]]
    batch_size: int
    first_call_ms: float | None
    distinct_engines: int | None = None
    timed_with: str | None = None
    cudnn_benchmark: bool = False

    @property
    def methods(self) -> list[str]:
        """Return the methods by which every window has a `gpu_ms`."""
        return [name for name in METHODS if all(name in window.gpu_ms for window in self._all())]

    def _all(self) -> list[Window]:
        return [window for build in self.windows for window in build]

    def _series(self, get: Callable[[Window], np.ndarray]) -> list[list[np.ndarray]]:
        return [[get(window) for window in build] for build in self.windows]

    def _captures(self) -> tuple[int, float | None]:
        """Return the number of captures of each build, and the relative standard deviation between them, pooled."""
        builds = [np.log(build[0].captures_ms) for build in self.windows]
        number = min(map(len, builds))
        return number, float(np.mean([logs.std(ddof=1) for logs in builds])) if number > 1 else None

    def slow(self, max_s: float) -> bool:
        """Return whether one call takes longer than `max_s` seconds, so that another round would be too costly."""
        return any(float(np.median(window.latency_ms)) / 1e3 > max_s for window in self._all())

    def timing(self, method: str | None = None) -> Timing:
        """Return the timing columns of the point; `gpu_ms` is by this method, or by the first there is."""
        first = self.windows[0][0]
        method = method or next(iter(self.methods), None)
        captures, between_captures = self._captures() if method == GRAPH else (None, None)
        choice = unseen.choice(self.cudnn_benchmark)
        work: dict[str, Any] = {}
        if method:
            series = self._series(lambda window: window.gpu_ms[method])
            work = _columns("gpu_ms", series, unseen=unseen.unseen_gpu(between_captures, captures), drift=choice)
        enqueue = [window.enqueue_ms for window in self._all() if window.enqueue_ms is not None]
        enqueue_ms = float(np.median([np.median(series) for series in enqueue])) if enqueue else None
        launch_bound = enqueue_ms > LAUNCH_BOUND * work["gpu_ms"] if work and enqueue_ms is not None else None
        pooled = np.concatenate([window.latency_ms for window in self._all()])
        p90, p99 = np.percentile(pooled, [90, 99])
        series = self._series(lambda window: window.latency_ms)
        host = unseen.host_drift(launch_bound, first.clock == "cuda_events")
        latency = _columns("latency_ms", series, drift=math.hypot(host, choice))
        return Timing(
            **latency,
            **work,
            clock=first.clock,
            stopped_by="max_s" if any(window.stopped_by == "max_s" for window in self._all()) else "target",
            timed_with=self.timed_with,
            rounds=min(map(len, self.windows)),
            builds=len(self.windows),
            distinct_engines=self.distinct_engines,
            warmup_s=first.warmup_s,
            samples=len(pooled),
            latency_ms_min=float(pooled.min()),
            latency_ms_mean=float(pooled.mean()),
            latency_ms_std=float(pooled.std(ddof=1)),
            latency_ms_p90=float(p90),
            latency_ms_p99=float(p99),
            gpu_ms_method=method,
            gpu_ms_captures=captures,
            gpu_ms_between_captures=between_captures,
            gpu_ms_reason=next((window.gpu_reason for window in self._all() if window.gpu_reason), None),
            enqueue_ms=enqueue_ms,
            launch_bound=launch_bound,
            first_call_ms=self.first_call_ms,
            throughput_per_s=self.batch_size / latency["latency_ms"] * 1e3,
        )

    def samples(self) -> dict[str, np.ndarray]:
        """Return all samples: an array for each clock, and beside it the build and the round of each sample."""
        parts: dict[str, list[tuple[np.ndarray, int, int]]] = {}
        for build, windows in enumerate(self.windows):
            for number, window in enumerate(windows):
                clocks = {"latency_ms": window.latency_ms, "enqueue_ms": window.enqueue_ms}
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


def _columns(name: str, windows: Sequence[Sequence[np.ndarray]], **allowed: float) -> dict[str, Any]:
    found = estimates.estimate(windows, **allowed)
    low, high = found.interval()
    between_rounds = spread_of_rounds(windows)
    return {
        name: found.value,
        f"{name}_ci_low": low,
        f"{name}_ci_high": high,
        f"{name}_between_rounds": None if math.isnan(between_rounds) else between_rounds,
        f"{name}_between_builds": found.spread if len(windows) > 1 else None,
    }
