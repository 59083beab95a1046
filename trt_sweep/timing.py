"""Time a callable. Knows no backend; keeps the raw samples and derives the statistics from them."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from trt_sweep.config import MeasureConfig
from trt_sweep.records import Timing

Call = Callable[[], Any]
BATCH_S = 0.1  # one synchronization and one look at the interval per this much timed work


@dataclass(frozen=True)
class Measurement:
    """Raw samples of one timed window: float64 arrays of shape [samples], in milliseconds."""

    latency_ms: np.ndarray
    enqueue_ms: np.ndarray | None
    clock: str
    stopped_by: str

    def timing(self, batch_size: int, first_call_ms: float | None = None) -> Timing:
        """The statistics of the samples."""
        latency = self.latency_ms
        low, high = median_interval(latency)
        median = float(np.median(latency))
        p90, p99 = np.percentile(latency, [90, 99])
        return Timing(
            clock=self.clock,
            stopped_by=self.stopped_by,
            samples=len(latency),
            latency_ms=median,
            latency_ms_ci_low=low,
            latency_ms_ci_high=high,
            latency_ms_min=float(latency.min()),
            latency_ms_mean=float(latency.mean()),
            latency_ms_std=float(latency.std(ddof=1)),
            latency_ms_p90=float(p90),
            latency_ms_p99=float(p99),
            enqueue_ms=None if self.enqueue_ms is None else float(np.median(self.enqueue_ms)),
            first_call_ms=first_call_ms,
            throughput_per_s=batch_size / median * 1e3,
        )


def median_interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the median from order statistics; free of any assumption on the distribution.

    W. J. Conover, Practical Nonparametric Statistics (1999), section 3.2, as scipy's `quantile_test` computes it.
    Samples are taken as independent; fewer than six give (nan, nan).
    """
    interval = stats.quantile_test(samples, p=0.5).confidence_interval(confidence_level=level)
    return float(interval.low), float(interval.high)


def _half_width(samples: np.ndarray) -> float:
    low, high = median_interval(samples)
    return (high - low) / 2 / float(np.median(samples))


def first_call(call: Call, device: torch.device) -> tuple[Any, float]:
    """Result and wall time in ms of one call with everything that it compiles on the way, on its own stream."""
    with on_own_stream(device):
        start = time.perf_counter()
        result = call()
        synchronize(device)
        return result, (time.perf_counter() - start) * 1e3


def synchronize(device: torch.device) -> None:
    """Wait for the GPU; nothing to do on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the timed calls, as the standard library's timeit does."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def on_own_stream(device: torch.device) -> Iterator[None]:
    """Run the body on a new stream: TensorRT synchronizes more on the default one, and warns about it."""
    if device.type != "cuda":
        yield
        return
    synchronize(device)
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        yield
    synchronize(device)


def measure(
    call: Call,
    device: torch.device,
    settings: MeasureConfig,
    phase: Callable[[str], None] = lambda name: None,
) -> Measurement:
    """Warm up, then time calls back to back until the interval is tight enough or the time is used up.

    On a GPU each call stands between two CUDA events, and the host's clock around it gives the enqueue time; on a CPU
    a wall clock times each call. `phase` hears "warmup" and "timing". Errors of the callable pass through.
    """
    batch = _cuda_batch if device.type == "cuda" else _wall_batch
    with on_own_stream(device), without_collection():
        phase("warmup")
        per_call_s = _warm_up(call, device, settings)
        size = int(min(max(BATCH_S / per_call_s, 1), 1000))
        phase("timing")
        latency: list[np.ndarray] = []
        enqueue: list[np.ndarray] = []
        start = time.perf_counter()
        while True:
            times, host = batch(call, size)
            latency.append(times)
            enqueue.append(host)
            samples = np.concatenate(latency)
            if len(samples) >= settings.min_samples and _half_width(samples) <= settings.target:
                stopped_by = "target"
                break
            if time.perf_counter() - start >= settings.max_s and len(samples) >= 2:
                stopped_by = "max_s"
                break
    if device.type == "cuda":
        return Measurement(samples, np.concatenate(enqueue), "cuda_events", stopped_by)
    return Measurement(samples, None, "wall", stopped_by)


def _warm_up(call: Call, device: torch.device, settings: MeasureConfig) -> float:
    """Seconds per call over the second half of the warm-up."""
    calls, start = 0, time.perf_counter()
    marks = [start]
    while calls < settings.warmup_calls or marks[-1] - start < settings.warmup_s:
        call()
        synchronize(device)
        marks.append(time.perf_counter())
        calls += 1
    half = len(marks) // 2
    return (marks[-1] - marks[half - 1]) / (len(marks) - half)


def _cuda_batch(call: Call, size: int) -> tuple[np.ndarray, np.ndarray]:
    starts = [torch.cuda.Event(enable_timing=True) for _ in range(size)]
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(size)]
    host = np.empty(size)
    for i in range(size):
        starts[i].record()
        before = time.perf_counter()
        call()
        host[i] = time.perf_counter() - before
        ends[i].record()
    ends[-1].synchronize()
    return np.array([a.elapsed_time(b) for a, b in zip(starts, ends, strict=True)]), host * 1e3


def _wall_batch(call: Call, size: int) -> tuple[np.ndarray, np.ndarray]:
    marks = np.empty(size + 1)
    marks[0] = time.perf_counter()
    for i in range(size):
        call()
        marks[i + 1] = time.perf_counter()
    times = np.diff(marks) * 1e3
    return times, times
