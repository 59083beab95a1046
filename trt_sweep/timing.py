"""Time a callable by three clocks. Knows no backend; keeps the raw samples and derives the figures from them."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trt_sweep import cudagraphs, gpu, stats
from trt_sweep.config import MeasureConfig
from trt_sweep.health import Monitor, Watch
from trt_sweep.records import Timing

Call = Callable[[], Any]
METHODS = GRAPH, QUEUED = ("graph", "queued")  # of gpu_ms, the preferred one first
LAUNCH_BOUND = 0.8  # of the GPU's time: trtexec warns of a bound by enqueueing from there on
BATCH_S = 0.05  # one synchronization and one look at the interval per this much timed work
BLOCK_CALLS_S = 5e-3  # GPU work of one batch behind a blocking kernel
BLOCK_HOST_S = 20e-3  # host time to issue it, at most
LEAST_BATCHES = 10
CAPTURES = 8  # of a call as a graph; the middle one is kept


@dataclass(frozen=True)
class Window:
    """One timed window: float64 arrays in milliseconds.

    `latency_ms` and `enqueue_ms` have one entry a call, the arrays of `gpu_ms` (by method) one a batch, its mean call.
    """

    latency_ms: np.ndarray
    enqueue_ms: np.ndarray | None
    gpu_ms: dict[str, np.ndarray]
    between_captures: float | None
    gpu_reason: str | None
    clock: str
    stopped_by: str
    warmup_s: float
    watch: Watch


@dataclass
class Measurement:
    """The windows of a point, `windows[build][round]`."""

    windows: list[list[Window]]
    batch_size: int
    first_call_ms: float
    distinct_engines: int | None = None

    @property
    def methods(self) -> list[str]:
        """The methods by which every window has a `gpu_ms`."""
        return [name for name in METHODS if all(name in window.gpu_ms for window in self._all())]

    def _all(self) -> list[Window]:
        return [window for build in self.windows for window in build]

    def _series(self, get: Callable[[Window], np.ndarray]) -> list[list[np.ndarray]]:
        return [[get(window) for window in build] for build in self.windows]

    def slow(self, max_s: float) -> bool:
        """Whether one call takes so long that another round would be dear."""
        return any(float(np.median(window.latency_ms)) / 1e3 > max_s for window in self._all())

    def timing(self, method: str | None = None) -> Timing:
        """The columns of a row; `gpu_ms` by this method, or by the first there is."""
        first = self.windows[0][0]
        method = method or next(iter(self.methods), None)
        captures = [window.between_captures for window in self._all() if window.between_captures is not None]
        between_captures = float(np.mean(captures)) if captures and method == GRAPH else None
        work: dict[str, Any] = {}
        if method:
            series = self._series(lambda window: window.gpu_ms[method])
            work = _columns("gpu_ms", series, unseen_gpu(between_captures))
        enqueue = [window.enqueue_ms for window in self._all() if window.enqueue_ms is not None]
        enqueue_ms = float(np.median([np.median(series) for series in enqueue])) if enqueue else None
        launch_bound = enqueue_ms > LAUNCH_BOUND * work["gpu_ms"] if work and enqueue_ms is not None else None
        pooled = np.concatenate([window.latency_ms for window in self._all()])
        p90, p99 = np.percentile(pooled, [90, 99])
        series = self._series(lambda window: window.latency_ms)
        latency = _columns("latency_ms", series, unseen_latency(launch_bound))
        return Timing(
            **latency,
            **work,
            clock=first.clock,
            stopped_by="max_s" if any(window.stopped_by == "max_s" for window in self._all()) else "target",
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
            gpu_ms_between_captures=between_captures,
            gpu_ms_reason=next((window.gpu_reason for window in self._all() if window.gpu_reason), None),
            enqueue_ms=enqueue_ms,
            launch_bound=launch_bound,
            first_call_ms=self.first_call_ms,
            throughput_per_s=self.batch_size / latency["latency_ms"] * 1e3,
        )

    def samples(self) -> dict[str, np.ndarray]:
        """All samples, one array a clock, beside it the build and the round of each."""
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


def unseen_gpu(between_captures: float | None) -> float:
    """What another run's middle capture may lie from this one's: relative, as a standard deviation.

    The median of n has 1.25 / sqrt(n) of the standard deviation of one; there are two of them.
    """
    return (between_captures or 0.0) * 1.25 * math.sqrt(2 / CAPTURES)


def unseen_latency(launch_bound: bool | None) -> float:
    """Likewise for the latency: a call that the host bounds drifts with it."""
    return stats.HOST_DRIFT if launch_bound else 0.0


def _columns(name: str, windows: Sequence[Sequence[np.ndarray]], unseen: float) -> dict[str, Any]:
    found = stats.estimate(windows, unseen)
    low, high = found.interval()
    between_rounds = stats.spread_of_rounds(windows)
    return {
        name: found.value,
        f"{name}_ci_low": low,
        f"{name}_ci_high": high,
        f"{name}_between_rounds": None if math.isnan(between_rounds) else between_rounds,
        f"{name}_between_builds": found.spread if len(windows) > 1 else None,
    }


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


class Timer:
    """Times one call, window after window, on a stream of its own: TensorRT synchronizes more on the default one.

    `replays` says that the call launches CUDA graphs itself, which cannot be captured again.
    """

    def __init__(self, call: Call, device: torch.device, settings: MeasureConfig, replays: bool = False) -> None:
        self.call, self._device, self._settings, self._replays = call, device, settings, replays
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        self._flush = _flush(device) if self._cuda and settings.cold_cache else None
        self._replay: Call | None = None
        self._between_captures: float | None = None

    @contextlib.contextmanager
    def on_stream(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        synchronize(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield
        synchronize(self._device)

    def first(self) -> tuple[Any, float]:
        """Result and wall time in ms of one call with everything that it compiles on the way."""
        with self.on_stream():
            start = time.perf_counter()
            result = self.call()
            synchronize(self._device)
            return result, (time.perf_counter() - start) * 1e3

    def window(self, monitor: Monitor, phase: Callable[[str], None] = lambda name: None) -> Window:
        """Warm up, then time calls by each clock until its interval is tight enough or its time is used up.

        `latency_ms`: each call between two CUDA events, back to back; on a CPU by a wall clock. `enqueue_ms` and the
        method "queued" of `gpu_ms`: batches issued behind a blocking kernel, as NVIDIA's nvbench does, so that the host
        never waits for the GPU nor the GPU for the host. The method "graph": replays of the call as one CUDA graph, in
        such batches; the graph is the middle one of several captures, made at the first window. `phase` hears "warmup"
        and "timing". Errors of the call pass through.
        """
        settings, watch = self._settings, Watch(problem=monitor.problem)
        limit_s = settings.max_s / settings.rounds
        with self.on_stream(), without_collection():
            phase("warmup")
            before = monitor.foreign_processes()
            energy, start = monitor.energy_mj(), time.perf_counter()
            calls, per_call_s, watch.steady = _warm_up(self.call, self._device, settings)
            warmup_s = time.perf_counter() - start

            phase("timing")
            size = int(min(max(BATCH_S / per_call_s, 1), 1000))
            batch = functools.partial(_events, self.call, size, self._flush) if self._cuda else _wall(self.call, size)
            latency, stopped_by = self._collect(batch, settings.min_samples, limit_s, monitor, watch)
            used = monitor.energy_mj()
            if energy is not None and used is not None:
                watch.energy_mj, watch.energy_s = used - energy, time.perf_counter() - start
                watch.energy_calls = calls + len(latency)

            by_method: dict[str, np.ndarray] = {}
            enqueue: list[np.ndarray] = []
            reason = None
            if self._cuda and per_call_s > settings.max_s:
                reason = f"a call takes {per_call_s:.1f} s, more than measure.max_s={settings.max_s:g}"
            elif self._cuda:
                reasons = {}
                for method in (QUEUED, GRAPH):
                    try:
                        issued = self.call if method == QUEUED else self.captured(per_call_s)
                        blocked = _Blocked(issued, self._device, per_call_s, self._flush)
                        by_method[method], _ = self._collect(blocked.batch, LEAST_BATCHES, limit_s, monitor, watch)
                        if method == QUEUED:
                            enqueue = blocked.host
                    except (_NotQueuedError, cudagraphs.CaptureError) as error:
                        by_method.pop(method, None)
                        reasons[method] = f"{method}: {error}"
                reason = "; ".join(reasons.values()) or None
            seen = [count for count in (before, monitor.foreign_processes()) if count is not None]
            watch.foreign = max(seen, default=None)
            watch.problem = watch.problem or monitor.problem
        host = np.concatenate(enqueue) if enqueue else None
        clock = "cuda_events" if self._cuda else "wall"
        between = self._between_captures if GRAPH in by_method else None
        return Window(latency, host, by_method, between, reason, clock, stopped_by, warmup_s, watch)

    def captured(self, per_call_s: float) -> Call:
        """Replays of the call as one CUDA graph; raises CaptureError where CUDA does not capture it.

        Where a graph's buffers come to lie moves its time, by up to some percent. So several are captured, as far as
        the memory allows, and the one with the middle time is kept.
        """
        if self._replays:
            raise cudagraphs.CaptureError("the call replays CUDA graphs itself, which CUDA does not capture again")
        if self._replay is None:
            timed: list[tuple[float, Call]] = []
            while len(timed) < CAPTURES and (not timed or gpu.has_room(self._device)):
                replay = _replay(*cudagraphs.record(self.call, self._device))
                blocked = _Blocked(replay, self._device, per_call_s, self._flush)
                timed.append((float(np.median([blocked.batch() for _ in range(3)])), replay))
            times = np.log([took for took, _ in timed])
            self._between_captures = float(times.std(ddof=1)) if len(timed) > 1 else None
            self._replay = sorted(timed, key=lambda item: item[0])[(len(timed) - 1) // 2][1]
        return self._replay

    def _collect(
        self, batch: Callable[[], np.ndarray], least: int, limit_s: float, monitor: Monitor, watch: Watch
    ) -> tuple[np.ndarray, str]:
        settings, parts, start = self._settings, [batch()], time.perf_counter()
        while True:
            watch.readings.append(monitor.read())
            samples, took = np.concatenate(parts), time.perf_counter() - start
            enough = len(samples) >= least and took >= settings.min_s
            if enough and _half_width(samples) <= settings.target:
                return samples, "target"
            if took >= limit_s and len(samples) >= 2:
                return samples, "max_s"
            parts.append(batch())


def _replay(graph: torch.cuda.CUDAGraph, outputs: Any) -> Call:
    def call() -> Any:
        graph.replay()
        return outputs  # they live as long as the graph may write them

    return call


def _half_width(samples: np.ndarray) -> float:
    low, high = stats.median_interval(samples)
    return (high - low) / 2 / float(np.median(samples))


def _warm_up(call: Call, device: torch.device, settings: MeasureConfig) -> tuple[int, float, bool]:
    """Call until the time of a call has stopped changing: number of calls, seconds a call, and whether it has.

    Judged by blocks of calls of some 20 ms: it has stopped once the last four neither rise nor fall one after the
    other, or lie within the target. A call that takes longer than `max_s` is made once.
    """
    blocks: list[float] = []
    calls, size, start = 0, 1, time.perf_counter()
    while True:
        begin = time.perf_counter()
        for _ in range(size):
            call()
        synchronize(device)
        now = time.perf_counter()
        blocks.append((now - begin) / size)
        calls += size
        size = int(min(max(0.02 / blocks[-1], 1), 10_000))
        last = np.array(blocks[-4:])
        steps = np.diff(last)
        still = not ((steps > 0).all() or (steps < 0).all()) or np.ptp(last) <= settings.target * last.min()
        if now - start >= settings.warmup_s and len(blocks) >= 4 and still:
            return calls, float(np.median(last)), True
        if now - start >= settings.warmup_max_s or blocks[-1] > settings.max_s:
            return calls, float(np.median(last)), len(blocks) < 4


def _events(call: Call, size: int, flush: Call | None) -> np.ndarray:
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(size)] for _ in range(2))
    for start, end in zip(starts, ends, strict=True):
        if flush is not None:
            flush()
        start.record()
        call()
        end.record()
    ends[-1].synchronize()
    return np.array([start.elapsed_time(end) for start, end in zip(starts, ends, strict=True)])


def _wall(call: Call, size: int) -> Callable[[], np.ndarray]:
    def batch() -> np.ndarray:
        marks = np.empty(size + 1)
        marks[0] = time.perf_counter()
        for index in range(size):
            call()
            marks[index + 1] = time.perf_counter()
        return np.diff(marks) * 1e3

    return batch


def _flush(device: torch.device) -> Call:
    """Overwrite twice the L2 cache."""
    buffer = torch.empty(2 * torch.cuda.get_device_properties(device).L2_cache_size, dtype=torch.int8, device=device)
    return buffer.zero_


@functools.cache
def _cycles_per_s(device: torch.device) -> float:
    """The rate of the clock that torch.cuda._sleep counts; the first sleep loads its kernel."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    cycles = 10_000_000
    for _ in range(2):
        start.record()
        torch.cuda._sleep(cycles)
        end.record()
        end.synchronize()
    return float(cycles / (start.elapsed_time(end) / 1e3))


class _NotQueuedError(Exception):
    """The GPU began a batch before the host had issued all of it."""


class _Blocked:
    """Batches of calls that are wholly issued while a blocking kernel holds the GPU up; it then runs them at one go.

    The size of a batch follows from the time that one call takes to issue and to run. Whether the last call was issued
    before the GPU began is looked up each time: a full launch queue (some thousand kernels) shows there, as a call
    does that waits for the GPU. `host` collects the time in ms of each call that was issued so.
    """

    def __init__(self, call: Call, device: torch.device, per_call_s: float, flush: Call | None) -> None:
        """Find the size; raises _NotQueuedError where not even one call can be issued ahead."""
        self._call, self._flush, self._device = call, flush, device
        self._size, self._host_s = 1, 2 * per_call_s
        self.host: list[np.ndarray] = []
        self._attempt()  # whatever it loads at its first time
        first = self._tries(3)
        if first is None:
            raise _NotQueuedError("a call waits for the GPU, or issues more kernels than the launch queue takes")
        fitting = min(BLOCK_CALLS_S / (first / 1e3), BLOCK_HOST_S / self._host_s)
        self._size = int(min(max(fitting, 1), 200))
        self._host_s *= self._size
        while self._tries(2) is None and self._size > 1:
            self._size //= 2
        self.host = []

    def batch(self) -> np.ndarray:
        """The mean time of a call in one more batch, ms."""
        mean_ms = self._tries(5)
        if mean_ms is None:
            raise _NotQueuedError(f"the GPU began before {self._size} calls were issued, five times on end")
        return np.array([mean_ms])

    def _tries(self, number: int) -> float | None:
        for _ in range(number):
            mean_ms = self._attempt()
            if mean_ms is not None:
                return mean_ms
        return None

    def _attempt(self) -> float | None:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * self._size if self._flush else 2)]
        host = np.empty(self._size)
        block_s = min(1.5 * self._host_s + 1e-3, 1.0)
        torch.cuda._sleep(int(block_s * _cycles_per_s(self._device)))
        began = torch.cuda.Event()
        began.record()
        if not self._flush:
            events[0].record()
        for index in range(self._size):
            if self._flush:
                self._flush()
                events[2 * index].record()
            before = time.perf_counter()
            self._call()
            host[index] = time.perf_counter() - before
            if self._flush:
                events[2 * index + 1].record()
        if not self._flush:
            events[1].record()
        queued = not began.query()
        events[-1].synchronize()
        # Slowly down, at once up: the host has its moments.
        self._host_s = max(float(host.sum()), 0.9 * self._host_s) if queued else 2 * max(host.sum(), self._host_s)
        if not queued:
            self._host_s = min(self._host_s, 1.0)
            return None
        self.host.append(host * 1e3)
        pairs = zip(events[::2], events[1::2], strict=True)
        return float(sum(start.elapsed_time(end) for start, end in pairs) / self._size)
