"""Make the first calls of a build: how long one takes, whether its outputs are right, what memory it needs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from trt_sweep import backends
from trt_sweep.backends.base import Compiled, Running
from trt_sweep.config.point import PointConfig
from trt_sweep.machine import locks
from trt_sweep.measure import accuracy, memory
from trt_sweep.measure.outputs import WHOLE, Leaf
from trt_sweep.measure.timer import Timer
from trt_sweep.models import inputs, probe
from trt_sweep.points import evaluation
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.results import measured
from trt_sweep.results.store import finite, write_json

PHASE = "accuracy"
PROBE = "probe.json"  # how inner modules compare


@dataclass(frozen=True)
class FirstCalls:
    """Hold what the first calls of a build have shown; `timer` has the call that is to be timed.

    `took_ms` is for the very first one; `outputs` are the leaves, one by one; `peak_bytes` are of the GPU's memory,
    null where they are not told.
    """

    timer: Timer
    took_ms: float
    accuracy: measured.Accuracy
    outputs: list[Leaf]
    peak_bytes: int | None


def make(
    compiled: Compiled,
    config: PointConfig,
    device: torch.device,
    reference: accuracy.Reference,
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
    limit = config.accuracy.rel_l2[config.precision]
    leaves = accuracy.judge(outputs, reference, limit)
    with calls.measure():
        del outputs
    with calling():
        taken = calls.peak(timer)
    for number in range(1, 1 + len(reference.further)):
        given = inputs.example_inputs(config.timed, device, first=number * config.timed.batch_size)
        with calling():
            leaves = accuracy.worse(leaves, accuracy.judge(bind(given)(), reference, limit, number))
    found = accuracy.verdict(leaves, reference)
    keeps = build_memory.bytes(compiled.module)
    if config.accuracy.evaluate:
        with calling():
            value = evaluation.run(evaluation.Batched(bind, config), config, device)
        found = dataclasses.replace(found, evaluation=value, evaluation_name=evaluation.name(config))
    return FirstCalls(timer, took_ms, found, leaves, None if taken is None or keeps is None else keeps + taken)


def worst(found: list[FirstCalls], spread: float | None) -> tuple[measured.Accuracy, measured.Memory, list[Leaf]]:
    """Return the accuracy of the worst build with its leaves, and the memory of the largest.

    `spread` is how far other inputs move the reference. The memory is null where that of one build is not told.
    """
    worst = max(found, key=lambda each: (each.accuracy.accurate is False, excess(each.outputs)))
    known = [each.peak_bytes for each in found if each.peak_bytes is not None]
    peak = max(known) if len(known) == len(found) else None
    accuracy = dataclasses.replace(worst.accuracy, reference_spread=spread)
    return accuracy, measured.Memory(peak_gpu_bytes=peak), worst.outputs


def excess(leaves: list[Leaf]) -> float:
    """Return the largest error of these over what is accurate; 0 where none is judged."""
    return max((leaf.excess for leaf in leaves if leaf.excess is not None), default=0.0)


def probed(found: measured.Accuracy, source: PreparedModel, folder: Path, phase: str) -> measured.Accuracy:
    """Compare the inner modules that the point asks for, and write what they give into `folder`.

    Return the accuracy with the first of them that goes wrong.
    """
    config = source.config
    if not config.accuracy.probe:
        return found
    every = source.probed(phase)
    write_json(folder / PROBE, [finite(vars(item)) for item in every])
    first = probe.first_wrong(every, config.accuracy.rel_l2[config.precision])
    return dataclasses.replace(found, first_wrong=None if first is None else first.why(config.precision))


def why_inaccurate(
    leaves: list[Leaf], eager: Mapping[str, float], config: PointConfig, first_wrong: str | None = None
) -> str:
    """Return the reason of a row that is inaccurate: what its worst output is, what it may be, where it began."""
    why = _why_inaccurate(leaves, eager, config)
    return why if first_wrong is None else f"{why}; first wrong in eager: {first_wrong}"


def _why_inaccurate(leaves: list[Leaf], eager: Mapping[str, float], config: PointConfig) -> str:
    worst = max((leaf for leaf in leaves if leaf.excess is not None), key=lambda leaf: leaf.excess or 0.0)
    which = f"output {worst.name}" if len(leaves) > 1 else "the output"
    if not worst.finite:
        return f"{which} is not finite although the FP32 reference is"
    what = f"{worst.error:.2g} of the entries differ" if worst.kind == WHOLE else f"relative L2 error {worst.error:.2g}"
    limit = f"accuracy.rel_l2.{config.precision}={config.accuracy.rel_l2[config.precision]}"
    if (key := accuracy.own_tolerance(worst.name, config.accuracy)) is not None:
        limit = f"accuracy.output_rel_l2.{key}={config.accuracy.output_rel_l2[key]}"
    own = eager.get(worst.name)
    beside = f" and {accuracy.WORSE:g} times eager's in {config.precision} ({own:.2g})" if own is not None else ""
    if (worst.sample_error or 0.0) > accuracy.WORSE * (worst.error or 0.0):
        what = f"sample {worst.sample} is off by {worst.sample_error:.2g} of a typical sample's size"
    return f"{which}: {what}, above {limit}{beside}; compared with the FP32 reference"
