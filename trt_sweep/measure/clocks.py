"""Time one batch of calls: by CUDA events, by a wall clock, or queued behind a kernel that blocks the GPU."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Call = Callable[[], Any]
BLOCK_CALLS_S = 5e-3  # GPU time of one queued batch
BLOCK_HOST_S = 20e-3  # host time to issue it, at most
UNDER_WAY = 2  # calls of a thread at most, as with trtexec: it waits for the one before the last


def synchronize(device: torch.device) -> None:
    """Wait until the GPU has done all its work; return at once on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_by_events(call: Call, size: int, flush: Call | None) -> tuple[np.ndarray, float]:
    """Return the milliseconds of `size` calls, each between two CUDA events, back to back, and those of all.

    All take from the start of the first to the end of the last, gaps between them included. `flush` runs before each
    call, outside of its time: all then take the sum.
    """
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(size)] for _ in range(2))
    for start, end in zip(starts, ends, strict=True):
        if flush is not None:
            flush()
        start.record()
        call()
        end.record()
    ends[-1].synchronize()
    found = np.array([start.elapsed_time(end) for start, end in zip(starts, ends, strict=True)])
    return found, starts[0].elapsed_time(ends[-1]) if flush is None else float(found.sum())


def time_by_wall_clock(call: Call, size: int) -> tuple[np.ndarray, float]:
    """Return the milliseconds of `size` calls by the host's clock, and those of all."""
    marks = np.empty(size + 1)
    marks[0] = time.perf_counter()
    for index in range(size):
        call()
        marks[index + 1] = time.perf_counter()
    marks *= 1e3
    return np.diff(marks), float(marks[-1] - marks[0])


def time_for(call: Call, seconds: float, most: int, device: torch.device) -> np.ndarray:
    """Return the milliseconds of the calls that fit into so many seconds, at least one; `most` at most.

    On a GPU each call is timed between two events of the current stream, on a CPU by a wall clock. Others may call at
    the same time.
    """
    found: list[float] = []
    now = start = time.perf_counter()
    if device.type != "cuda":
        while not found or (now - start < seconds and len(found) < most):
            before = now
            call()
            now = time.perf_counter()
            found.append((now - before) * 1e3)
        return np.array(found)
    events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
    while not events or (now - start < seconds and len(events) < most):
        if len(events) >= UNDER_WAY:
            events[-UNDER_WAY][1].synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        events.append((begin, end))
        now = time.perf_counter()
    events[-1][1].synchronize()
    return np.array([begin.elapsed_time(end) for begin, end in events])


def l2_flush(device: torch.device) -> Call:
    """Return a function that evicts all from the L2 cache, by writing a buffer of twice its size."""
    buffer = torch.empty(2 * torch.cuda.get_device_properties(device).L2_cache_size, dtype=torch.int8, device=device)
    return buffer.zero_


@functools.cache
def _cycles_per_s(device: torch.device) -> float:
    """Measure the rate of the clock that torch.cuda._sleep counts, in Hz."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    cycles = 10_000_000
    for _ in range(2):  # the first sleep loads its kernel
        start.record()
        torch.cuda._sleep(cycles)
        end.record()
        end.synchronize()
    return float(cycles / (start.elapsed_time(end) / 1e3))


def spin(device: torch.device, seconds: float) -> None:
    """Issue a kernel that does nothing and keeps the GPU busy for about `seconds`."""
    torch.cuda._sleep(int(seconds * _cycles_per_s(device)))


class NotQueuedError(Exception):
    """Report that the GPU began a batch before the host had issued all of it."""


class QueuedBatches:
    """Time batches of calls that the GPU runs without waiting for the host.

    A spinning kernel blocks the GPU until the host has issued a whole batch. The size of a batch follows from the time
    that one call takes to issue and to run. Each time it is checked that the last call was issued before the GPU began.
    It was not where the launch queue is full (some thousand kernels), or where a call waits for the GPU. `host`
    collects the host's time of each queued call, in ms.
    """

    def __init__(self, call: Call, device: torch.device, per_call_s: float, flush: Call | None) -> None:
        """Find the size of a batch; raise NotQueuedError where not even one call can be queued."""
        self._call, self._flush, self._device = call, flush, device
        self._size, self._host_s = 1, 2 * per_call_s
        self.host: list[np.ndarray] = []
        self._attempt()  # the first time may load kernels
        first = self._retry(3)
        if first is None:
            raise NotQueuedError("a call waits for the GPU, or issues more kernels than the launch queue takes")
        fitting = min(BLOCK_CALLS_S / (first / 1e3), BLOCK_HOST_S / self._host_s)
        self._size = int(min(max(fitting, 1), 200))
        self._host_s *= self._size
        while self._retry(2) is None and self._size > 1:
            self._size //= 2
        self.host = []

    def batch(self) -> np.ndarray:
        """Time one more batch; return the mean time of its calls in ms, as an array of one."""
        mean_ms = self._retry(5)
        if mean_ms is None:
            raise NotQueuedError(f"the GPU began before {self._size} calls were issued, five times on end")
        return np.array([mean_ms])

    def _retry(self, number: int) -> float | None:
        for _ in range(number):
            mean_ms = self._attempt()
            if mean_ms is not None:
                return mean_ms
        return None

    def _attempt(self) -> float | None:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * self._size if self._flush else 2)]
        host = np.empty(self._size)
        block_s = min(1.5 * self._host_s + 1e-3, 1.0)
        spin(self._device, block_s)
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
        # The estimate rises at once and falls slowly, since the host is slow now and then.
        self._host_s = max(float(host.sum()), 0.9 * self._host_s) if queued else 2 * max(host.sum(), self._host_s)
        if not queued:
            self._host_s = min(self._host_s, 1.0)
            return None
        self.host.append(host * 1e3)
        pairs = zip(events[::2], events[1::2], strict=True)
        return float(sum(start.elapsed_time(end) for start, end in pairs) / self._size)
