"""Call from several threads at the same time, each on a CUDA stream of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")


class CallThread:
    """Call functions in one thread, which ends with `close`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, function: Callable[[], T]) -> T:
        return self.submit(function).result()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have the thread call a function, and do not wait for it."""
        return self._pool.submit(function)

    def close(self) -> None:
        self._pool.shutdown()


class StreamThreads:
    """Hold some threads with a CUDA stream each; on a CPU they have none.

    They last, since PyTorch keeps by thread what cuDNN chose. Each one calls with gradients on or off as the caller
    has them, and waits for its stream in the end.
    """

    def __init__(self, number: int, device: torch.device) -> None:
        self._threads = [CallThread() for _ in range(number)]
        self.streams = [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in range(number)]

    def together(self, functions: Sequence[Callable[[], T]]) -> tuple[list[T], float]:
        """Call a function in each thread, all from one moment on; return the results and the seconds of all.

        Raises what the first one of them raises, once all have ended.
        """
        began: list[float] = []
        start = threading.Barrier(len(functions), lambda: began.append(time.perf_counter()))
        try:
            futures = [self._submit(index, function, start) for index, function in enumerate(functions)]
        except BaseException:
            start.abort()  # else those that have begun would wait for ever for one that does not come
            raise
        wait(futures)
        found = [future.result() for future in futures]
        return [result for result, _ in found], max(ended for _, ended in found) - began[0]

    def in_turn(self, functions: Sequence[Callable[[], T]]) -> list[T]:
        """Call a function in each thread, one after the other; return the results."""
        return [self._submit(index, function).result()[0] for index, function in enumerate(functions)]

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.close()

    def _submit(
        self, index: int, function: Callable[[], T], start: threading.Barrier | None = None
    ) -> Future[tuple[T, float]]:
        stream, gradients = self.streams[index], torch.is_grad_enabled()

        def run() -> tuple[T, float]:
            if start is not None:
                start.wait()  # first of all, so that none fails on its way there
            on_stream = contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)
            with torch.set_grad_enabled(gradients), on_stream:
                result = function()
                if stream is not None:
                    stream.synchronize()
                return result, time.perf_counter()

        return self._threads[index].submit(run)
