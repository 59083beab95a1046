"""Time a call visit by visit, by three clocks: latency, GPU time and enqueue time. Keeps all samples."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.machine.nvml import Monitor
from trt_sweep.measure import clocks, cuda_graph
from trt_sweep.measure.clocks import Call, synchronize
from trt_sweep.measure.collection import gc_disabled
from trt_sweep.measure.health import WindowHealth
from trt_sweep.measure.measurement import Visit
from trt_sweep.measure.threads import StreamThreads
from trt_sweep.results.columns import GRAPH, METHODS, QUEUED

T = TypeVar("T")
MOST_CALLS = 10_000  # of one visit
CAPTURES = 8  # after the first visit, spread over the others
QUEUE_EACH = 3  # captures, after which calls are queued as well
BATCHES = 3  # of GPU work in such a visit
ALONE = 3  # calls of each thread, before several call at the same time
STEADY = 0.005  # share by which blocks of calls may differ once warm


class Timer:
    """Time one call, visit after visit; where there are calls `beside` it, while each is made by a thread of its own.

    Each call has a CUDA stream of its own, since TensorRT synchronizes more on the default one. `replays` says that it
    launches CUDA graphs itself, which cannot be captured again.
    """

    def __init__(
        self,
        call: Call,
        device: torch.device,
        settings: MeasureConfig,
        replays: bool = False,
        beside: Sequence[Call] = (),
    ) -> None:
        self.call, self._device, self._settings, self._replays = call, device, settings, replays
        self.calls = (call, *beside)
        self._threads = StreamThreads(len(self.calls), device) if beside else None
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        if self._threads is not None:
            self._stream = self._threads.streams[0]  # a call stays on its stream, for which graphs are captured
        self._flush = clocks.l2_flush(device) if self._cuda and settings.cold_cache else None
        self._replay: Call | None = None
        self._queued: clocks.QueuedBatches | None = None
        self._missing: dict[str, str] = {}  # why a method of `gpu_ms` does not work here
        self._per_call_s = 0.0

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

    def in_turn(self, functions: Sequence[Callable[[], T]]) -> list[T]:
        """Call a function for each call, on its stream and in its thread, one after the other; return the results."""
        with self.on_stream():
            return [each() for each in functions] if self._threads is None else self._threads.in_turn(functions)

    def together(self, functions: Sequence[Callable[[], T]]) -> list[T]:
        """Do the same at the same time; there must be several calls."""
        assert self._threads is not None
        with self.on_stream():
            return self._threads.together(functions)[0]

    def capture_in_turn(self) -> int:
        """Have each of several threads call alone, since it may capture graphs; return how often each has called.

        Nothing may run beside a capture, and that need not be in the first call.
        """
        if self._threads is None:
            return 0
        self.in_turn([partial(_calls, call, ALONE) for call in self.calls])
        return ALONE

    def close(self) -> None:
        """End the threads, if there are any."""
        if self._threads is not None:
            self._threads.close()

    def first(self) -> tuple[Any, float]:
        """Make the first call; return its result and its wall time in ms, with all that it compiles."""
        with self.on_stream():
            start = time.perf_counter()
            result = self.call()
            synchronize(self._device)
            return result, (time.perf_counter() - start) * 1e3

    def gpu_ms(self) -> dict[str, float]:
        """Return the GPU's work in a call by each method that works, in ms, at a quick look; none of a slow call's."""
        if not self._cuda:
            return {}
        with self.on_stream(), gc_disabled():
            for _ in range(2):
                _, self._per_call_s = _settle(self._repeat, self._settings.settle_s, self._per_call_s or 1.0)
                if self._per_call_s > self._settings.max_s:
                    return {}
            found, _ = self._gpu_work(0)
        self._missing.clear()  # what had no room beside another choice may have it later
        self._replay = None
        return {name: float(np.median(found[name])) for name in METHODS if name in found}

    def visit(self, monitor: Monitor, number: int = 0, phase: Callable[[str], None] = lambda name: None) -> Visit:
        """Make the calls of one visit, and time those that count by each clock.

        - `latency_ms`: each call between two CUDA events, back to back; on a CPU by a wall clock; where there are
          several, those of all threads
        - `gpu_ms` by the method "graph": batches of replays of the call, captured anew as one CUDA graph
        - `gpu_ms` by the method "queued", and `enqueue_ms`: batches queued behind a blocking kernel, as in NVIDIA's
          nvbench, so that neither host nor GPU waits for the other; the first call alone, here and above

        Visit 0 warms up first. The GPU's work is timed in some of the visits. `phase` is called with "warmup" and
        "timing". Errors of the call pass through; raises RuntimeError for times that cannot be.
        """
        settings, health = self._settings, WindowHealth(problem=monitor.problem)
        phase("warmup" if number == 0 else "timing")
        with self.on_stream(), gc_disabled(collect=number == 0):
            energy, start = monitor.energy_mj(), time.perf_counter()
            alone = self.capture_in_turn()
            if number == 0:
                calls, self._per_call_s, health.steady = _warm_up(self._repeat, settings)
            else:
                calls, self._per_call_s = _settle(self._repeat, settings.settle_s, self._per_call_s)
            warmup_s = time.perf_counter() - start
            turn, rest = divmod(number, max(settings.visits_of(self._per_call_s) // CAPTURES, 1))
            look = rest == 0  # at the GPU's work, and at who else is on it

            if number == 0:
                phase("timing")
            latency, wall_ms = self._latency(settings.max_s / settings.visits)
            _require_times(latency)
            used = monitor.energy_mj()
            if energy is not None and used is not None:
                health.energy_mj, health.energy_s = used - energy, time.perf_counter() - start
                health.energy_calls = (alone + calls) * len(self.calls) + len(latency)
            health.readings.append(monitor.read())

            by_method: dict[str, np.ndarray] = {}
            enqueue = None
            if self._cuda and number == 0 and self._per_call_s > settings.max_s:  # later it is a slow moment
                call = f"a call takes {self._per_call_s:.1f} s"
                self._missing = dict.fromkeys(METHODS, f"{call}, more than measure.max_s={settings.max_s:g}")
            elif self._cuda and look:
                by_method, enqueue = self._gpu_work(turn)
            if look:
                health.foreign = monitor.foreign_processes()
            health.problem = health.problem or monitor.problem
        clock = "cuda_events" if self._cuda else "wall"
        reason = "; ".join(dict.fromkeys(self._missing.values())) or None
        return Visit(latency, enqueue, by_method, reason, clock, warmup_s, health, wall_ms)

    def _repeat(self, size: int) -> None:
        """Make so many calls, or so many in each thread at the same time, and wait for them."""
        if self._threads is None:
            _calls(self.call, size)
        else:
            self._threads.together([partial(_calls, call, size) for call in self.calls])
        synchronize(self._device)

    def _latency(self, seconds: float) -> tuple[np.ndarray, float]:
        """Make calls for about so many seconds; return the time of each, and of all by the wall, in ms.

        Gaps between calls count for all, and flushes of the cache do not.
        """
        if self._threads is not None:
            timed = [partial(clocks.time_for, call, seconds, MOST_CALLS, self._device) for call in self.calls]
            latencies, wall_s = self._threads.together(timed)
            return np.concatenate(latencies), wall_s * 1e3
        size = int(min(max(round(seconds / self._per_call_s), 1), MOST_CALLS))
        if self._cuda:
            return clocks.time_by_events(self.call, size, self._flush)
        return clocks.time_by_wall_clock(self.call, size)

    def _gpu_work(self, turn: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Return a few batches of `gpu_ms` by each method that works here, and `enqueue_ms`; one entry a batch or call.

        A method that did not work once is not tried again. Where graphs are captured, calls are queued less often.
        """
        found: dict[str, np.ndarray] = {}
        enqueue = None
        for method in METHODS:
            if method in self._missing or (method == QUEUED and GRAPH in found and turn % QUEUE_EACH):
                continue
            try:
                if method == GRAPH:
                    queued = clocks.QueuedBatches(self.capture_graph(), self._device, self._per_call_s, self._flush)
                else:
                    self._queued = queued = self._queued or clocks.QueuedBatches(
                        self.call, self._device, self._per_call_s, self._flush
                    )
                    queued.host.clear()
                found[method] = np.concatenate([queued.batch() for _ in range(BATCHES)])
                if method == QUEUED:
                    enqueue = np.concatenate(queued.host)
            except (clocks.NotQueuedError, cuda_graph.CaptureError) as error:
                self._missing[method] = f"{method}: {error}"
        return found, enqueue

    def capture_graph(self) -> Call:
        """Return a function that replays the call as a CUDA graph, captured now.

        The addresses of a graph's buffers change its time by up to some percent. So the last graph is kept until the
        next one is there, which then gets other addresses. Raises CaptureError where CUDA does not capture the call.
        """
        if self._replays:
            raise cuda_graph.CaptureError("the call replays CUDA graphs itself, which CUDA does not capture again")
        self._replay = _replay(*cuda_graph.record_graph(self.call, self._device))
        return self._replay


def _require_times(samples: np.ndarray) -> None:
    """Raise RuntimeError for samples that are no times."""
    if not (np.isfinite(samples).all() and (samples >= 0).all() and np.median(samples) > 0):
        worst = samples[~np.isfinite(samples)][0] if not np.isfinite(samples).all() else samples.min()
        raise RuntimeError(f"a call was timed as {worst:.3g} ms: the clock is broken, or went backwards")


def _calls(call: Call, size: int) -> None:
    for _ in range(size):
        call()


def _settle(repeat: Callable[[int], None], seconds: float, call_s: float) -> tuple[int, float]:
    """Call for about so many seconds, at least once; return the calls made and the seconds of one.

    `repeat` makes so many calls and waits for them. The first of several may set things up anew, and is not timed.
    """
    size = int(min(max(seconds / call_s, 1), MOST_CALLS))
    first = int(size > 1)
    repeat(first)
    start = time.perf_counter()
    repeat(size)
    return first + size, (time.perf_counter() - start) / size


def _replay(graph: torch.cuda.CUDAGraph, outputs: Any) -> Call:
    def call() -> Any:
        graph.replay()
        return outputs  # to be kept as long as the graph may write them

    return call


def _warm_up(repeat: Callable[[int], None], settings: MeasureConfig) -> tuple[int, float, bool]:
    """Call until the time of a call has stopped changing; return calls made, seconds per call, and whether it has.

    Calls are timed in blocks of some 20 ms. The time has stopped changing once the last four blocks neither rise nor
    fall one after the other, or lie within `STEADY`. A call that takes longer than `max_s` is made twice, since the
    first may compile.
    """
    blocks: list[float] = []
    calls, size, start = 0, 1, time.perf_counter()
    while True:
        begin = time.perf_counter()
        repeat(size)
        now = time.perf_counter()
        blocks.append((now - begin) / size)
        calls += size
        size = int(min(max(0.02 / blocks[-1], 1), 10_000))
        last = np.array(blocks[-4:])
        steps = np.diff(last)
        still = not ((steps > 0).all() or (steps < 0).all()) or np.ptp(last) <= STEADY * last.min()
        if now - start >= settings.warmup_s and len(blocks) >= 4 and still:
            return calls, float(np.median(last)), True
        slow = len(blocks) > 1 and blocks[-1] > settings.max_s
        if now - start >= settings.warmup_max_s or slow:
            return calls, float(np.min(last) if slow else np.median(last)), len(blocks) < 4
