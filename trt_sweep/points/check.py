"""Make the first calls of a build: how long one takes, whether its outputs are right, what memory it needs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from trt_sweep import backends
from trt_sweep.backends.base import Compiled, Running
from trt_sweep.config.point import PointConfig
from trt_sweep.machine import locks
from trt_sweep.measure import accuracy, memory
from trt_sweep.measure.timer import Timer
from trt_sweep.models import inputs
from trt_sweep.points import evaluation
from trt_sweep.results import columns

PHASE = "accuracy"


@dataclass(frozen=True)
class FirstCalls:
    """Hold what the first calls of a build have shown; `timer` has the call that is to be timed.

    `took_ms` is for the very first one; `peak_bytes` are of the GPU's memory, null where they are not told.
    """

    timer: Timer
    took_ms: float
    accuracy: columns.Accuracy
    peak_bytes: int | None


def make(
    compiled: Compiled,
    config: PointConfig,
    device: torch.device,
    reference: Any,
    *,
    running: Running,
    enter: Callable[[str], None],
) -> FirstCalls:
    """Bind a build to the point's inputs, call it inside `running()`, and compare with the FP32 `reference`.

    `enter` is told of the phase where the GPU had to be waited for. Raises what a call raises, and SweepError for
    outputs of another form than the reference's.
    """
    bind, build_memory = compiled.bind, compiled.build_memory
    assert bind is not None and build_memory is not None

    @contextlib.contextmanager
    def calling() -> Iterator[None]:
        with running(), locks.build_lock(device, enter, PHASE):
            yield

    # Without TensorRT what calls leave outside of torch's allocator is the libraries' own.
    charged = build_memory.measure() if backends.get(config.backend).TENSORRT else contextlib.nullcontext()
    calls = memory.CallMemory(device)
    with calling():
        with calls.measure():
            call = bind(inputs.example_inputs(config.timed, device))
        timer = Timer(call, device, config.measure, compiled.build.cuda_graphs_method is not None)
        calls.prepare(timer)
        with charged, calls.measure():
            outputs, took_ms = timer.first()
    found = accuracy.check(outputs, reference, config.accuracy.rel_l2[config.precision])
    with calls.measure():
        del outputs
    with calling():
        taken = calls.peak(timer)
    keeps = build_memory.bytes(compiled.module)
    if config.accuracy.evaluate:
        with calling():
            value = evaluation.run(evaluation.Batched(bind, config), config, device)
        found = dataclasses.replace(found, evaluation=value, evaluation_name=evaluation.name(config))
    return FirstCalls(timer, took_ms, found, None if taken is None or keeps is None else keeps + taken)


def worst(found: list[FirstCalls], spread: float) -> tuple[columns.Accuracy, columns.Memory]:
    """Return the accuracy of the worst build, and the memory of the largest.

    `spread` is how far other inputs move the reference. The memory is null where that of one build is not told.
    """
    # NaN is worse than any number.
    least = max((each.accuracy for each in found), key=lambda item: (not item.finite, item.rel_l2_error))
    known = [each.peak_bytes for each in found if each.peak_bytes is not None]
    peak = max(known) if len(known) == len(found) else None
    return dataclasses.replace(least, reference_spread=spread), columns.Memory(peak_gpu_bytes=peak)


def why_inaccurate(accuracy: columns.Accuracy, config: PointConfig) -> str:
    """Return the reason of a row that is inaccurate."""
    if not accuracy.finite:
        return "the output is not finite although the FP32 reference is"
    return (
        f"relative L2 error {accuracy.rel_l2_error:.2g} against the FP32 reference is above "
        f"accuracy.rel_l2.{config.precision}={config.accuracy.rel_l2[config.precision]}"
    )
