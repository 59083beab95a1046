"""Have cuDNN choose algorithms several times, and keep the fastest choice.

cuDNN chooses by timing, and not always the same. PyTorch keeps what it chose for each thread by itself, so that a
thread of its own makes a choice of its own, as another process would.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import TypeVar

from trt_sweep.measure.threads import CallThread
from trt_sweep.measure.timer import Timer
from trt_sweep.points.check import FirstCalls

log = logging.getLogger(__name__)
T = TypeVar("T")
Run = Callable[[Callable[[], T]], T]


def here(function: Callable[[], T]) -> T:
    """Call a function where this is called."""
    return function()


@dataclasses.dataclass
class _Choice:
    """Hold the first calls with one choice, their thread, and the GPU's work in a call by each method, in ms."""

    calls: FirstCalls
    thread: CallThread
    gpu_ms: dict[str, float]


def fastest(
    number: int, make: Callable[[int], FirstCalls], gpu_ms: Callable[[Timer], dict[str, float]]
) -> tuple[CallThread, FirstCalls, list[float]]:
    """Make the first calls `number` times, each in a thread of its own, and keep the one with the least `gpu_ms`.

    Return it with its thread, and the `gpu_ms` of each, by the first method that the first choice has; without one
    there is no further choice. A later choice that fails is left out. At most two are in memory at a time. The time of
    the very first call is that of the first choice, and so is what the user's function says.
    """
    best = _choose(0, make, gpu_ms)
    try:
        first, method = best.calls, next(iter(best.gpu_ms), None)
        work = [] if method is None else [best.gpu_ms[method]]
        for index in range(1, number) if method is not None else ():
            try:
                other = _choose(index, make, gpu_ms)
            except Exception:
                log.exception("a further choice of algorithms failed, and is left out")
                continue
            if method in other.gpu_ms:
                work.append(other.gpu_ms[method])
                if work[-1] < best.gpu_ms[method]:
                    best, other = other, best
            other.thread.close()
            del other
    except BaseException:
        best.thread.close()
        raise
    told = {name: getattr(first.accuracy, name) for name in ("evaluation", "evaluation_name")}
    accuracy = dataclasses.replace(best.calls.accuracy, **told)
    return best.thread, dataclasses.replace(best.calls, took_ms=first.took_ms, accuracy=accuracy), work


def _choose(index: int, make: Callable[[int], FirstCalls], gpu_ms: Callable[[Timer], dict[str, float]]) -> _Choice:
    thread = CallThread()
    try:
        calls = thread(functools.partial(make, index))
        return _Choice(calls, thread, thread(functools.partial(gpu_ms, calls.timer)))
    except BaseException:
        thread.close()
        raise
