"""Time a call window by window, by three clocks: latency, GPU time and enqueue time. Keeps all samples."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.machine import devices
from trt_sweep.machine.nvml import Monitor
from trt_sweep.measure import clocks, cuda_graph
from trt_sweep.measure.clocks import Call, synchronize
from trt_sweep.measure.collection import gc_disabled
from trt_sweep.measure.health import WindowHealth
from trt_sweep.measure.measurement import Window
from trt_sweep.results.columns import GRAPH, QUEUED
from trt_sweep.results.stats import unseen
from trt_sweep.results.stats.samples import median_interval

BATCH_S = 0.05  # seconds of timed work between two synchronizations and looks at the interval
LEAST_BATCHES = 10


class Timer:
    """Time one call, window after window.

    It has a CUDA stream of its own, since TensorRT synchronizes more on the default one. `replays` says that the call
    launches CUDA graphs itself, which cannot be captured again.
    """

    def __init__(self, call: Call, device: torch.device, settings: MeasureConfig, replays: bool = False) -> None:
        self.call, self._device, self._settings, self._replays = call, device, settings, replays
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        self._flush = clocks.l2_flush(device) if self._cuda and settings.cold_cache else None
        self._replay: Call | None = None
        self._captures_ms: list[float] = []

    @contextlib.contextmanager
    def on_stream(self) -> Iterator[None]:
        """Run what is inside on the timer's stream; synchronize before and after."""
        if self._stream is None:
            yield
            return
        synchronize(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield
        synchronize(self._device)

    def first(self) -> tuple[Any, float]:
        """Make the first call; return its result and its wall time in ms, with all that it compiles."""
        with self.on_stream():
            start = time.perf_counter()
            result = self.call()
            synchronize(self._device)
            return result, (time.perf_counter() - start) * 1e3

    def window(self, monitor: Monitor, phase: Callable[[str], None] = lambda name: None) -> Window:
        """Warm up, then time calls by each clock until its interval is tight enough or its time is used up.

        - `latency_ms`: each call between two CUDA events, back to back; on a CPU by a wall clock
        - `gpu_ms` by the method "queued", and `enqueue_ms`: batches queued behind a blocking kernel, as in NVIDIA's
          nvbench, so that neither host nor GPU waits for the other
        - `gpu_ms` by the method "graph": such batches, of replays of the call as one CUDA graph

        `phase` is called with "warmup" and "timing". Errors of the call pass through.
        """
        settings, health = self._settings, WindowHealth(problem=monitor.problem)
        limit_s = settings.max_s / settings.rounds
        with self.on_stream(), gc_disabled():
            phase("warmup")
            before = monitor.foreign_processes()
            energy, start = monitor.energy_mj(), time.perf_counter()
            calls, per_call_s, health.steady = _warm_up(self.call, self._device, settings)
            warmup_s = time.perf_counter() - start

            phase("timing")
            size = int(min(max(BATCH_S / per_call_s, 1), 1000))
            timed = (
                functools.partial(clocks.time_by_events, flush=self._flush) if self._cuda else clocks.time_by_wall_clock
            )
            batch = functools.partial(timed, self.call, size)
            latency, stopped_by = self._collect(batch, settings.min_samples, limit_s, monitor, health)
            used = monitor.energy_mj()
            if energy is not None and used is not None:
                health.energy_mj, health.energy_s = used - energy, time.perf_counter() - start
                health.energy_calls = calls + len(latency)

            by_method: dict[str, np.ndarray] = {}
            enqueue: list[np.ndarray] = []
            reason = None
            if self._cuda and per_call_s > settings.max_s:
                reason = f"a call takes {per_call_s:.1f} s, more than measure.max_s={settings.max_s:g}"
            elif self._cuda:
                reasons = {}
                for method in (QUEUED, GRAPH):
                    try:
                        issued = self.call if method == QUEUED else self.capture_graph(per_call_s)
                        queued = clocks.QueuedBatches(issued, self._device, per_call_s, self._flush)
                        by_method[method], _ = self._collect(queued.batch, LEAST_BATCHES, limit_s, monitor, health)
                        if method == QUEUED:
                            enqueue = queued.host
                    except (clocks.NotQueuedError, cuda_graph.CaptureError) as error:
                        by_method.pop(method, None)
                        reasons[method] = f"{method}: {error}"
                reason = "; ".join(reasons.values()) or None
            seen = [count for count in (before, monitor.foreign_processes()) if count is not None]
            health.foreign = max(seen, default=None)
            health.problem = health.problem or monitor.problem
        host = np.concatenate(enqueue) if enqueue else None
        clock = "cuda_events" if self._cuda else "wall"
        return Window(latency, host, by_method, self._captures_ms, reason, clock, stopped_by, warmup_s, health)

    def capture_graph(self, per_call_s: float) -> Call:
        """Return a function that replays the call as a CUDA graph, captured at the first use.

        The addresses of a graph's buffers change its time by up to some percent. So several graphs are captured, as far
        as memory and a window's time allow, and the one with the median time is kept. Raises CaptureError where CUDA
        does not capture the call.
        """
        if self._replays:
            raise cuda_graph.CaptureError("the call replays CUDA graphs itself, which CUDA does not capture again")
        if self._replay is None:
            timed: list[tuple[float, Call]] = []
            end = time.perf_counter() + self._settings.max_s / self._settings.rounds
            while not timed or (
                len(timed) < unseen.CAPTURES and time.perf_counter() < end and devices.has_room(self._device)
            ):
                replay = _replay(*cuda_graph.record_graph(self.call, self._device))
                queued = clocks.QueuedBatches(replay, self._device, per_call_s, self._flush)
                timed.append((float(np.median([queued.batch() for _ in range(3)])), replay))
            self._captures_ms = [took for took, _ in timed]
            self._replay = sorted(timed, key=lambda item: item[0])[(len(timed) - 1) // 2][1]
        return self._replay

    def _collect(
        self, batch: Callable[[], np.ndarray], least: int, limit_s: float, monitor: Monitor, health: WindowHealth
    ) -> tuple[np.ndarray, str]:
        settings, parts, start = self._settings, [batch()], time.perf_counter()
        while True:
            health.readings.append(monitor.read())
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
        return outputs  # to be kept as long as the graph may write them

    return call


def _half_width(samples: np.ndarray) -> float:
    low, high = median_interval(samples)
    return (high - low) / 2 / float(np.median(samples))


def _warm_up(call: Call, device: torch.device, settings: MeasureConfig) -> tuple[int, float, bool]:
    """Call until the time of a call has stopped changing; return calls made, seconds per call, and whether it has.

    Calls are timed in blocks of some 20 ms. The time has stopped changing once the last four blocks neither rise nor
    fall one after the other, or lie within the target. A call that takes longer than `max_s` is made once.
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
