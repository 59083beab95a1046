"""Make the first calls of a build: how long one takes, whether its outputs are right, what memory it needs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from trt_sweep import backends
from trt_sweep.backends.base import Bind, Compiled, Running
from trt_sweep.config.point import PointConfig
from trt_sweep.machine import locks
from trt_sweep.measure import accuracy, clocks, memory
from trt_sweep.measure.outputs import WHOLE, Leaf
from trt_sweep.measure.timer import Timer
from trt_sweep.measure.transfers import with_transfers
from trt_sweep.models import inputs, probe
from trt_sweep.models.model import DTYPE, Inputs
from trt_sweep.points import evaluation, together
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.results import measured
from trt_sweep.results.store import finite, write_json

PHASE = "accuracy"
PROBE = "probe.json"  # how inner modules compare


@dataclass(frozen=True)
class FirstCalls:
    """Hold what the first calls of a build have shown; `timer` has the call that is to be timed.

    `took_ms` is for the very first one; `outputs` are the leaves, one by one; `peak_bytes` are of the GPU's memory,
    null where they are not told. Calls are made in the context `running()`. `together` says what is wrong with the
    outputs only while several threads call.
    """

    timer: Timer
    took_ms: float
    accuracy: measured.Accuracy
    outputs: list[Leaf]
    peak_bytes: int | None
    running: Running = contextlib.nullcontext
    together: str | None = None


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

    Where several threads are to call, each has inputs of its own, and an execution context where it must. `enter` is
    told of the phase where the GPU had to be waited for. Raises what a call raises, Unsupported where there can be no
    further context, and SweepError for outputs of another form than the reference's.
    """
    bind, build_memory = compiled.bind, compiled.build_memory
    assert bind is not None and build_memory is not None
    beside, others = memory.BuildMemory(device), list[Compiled]()
    everyone = _all_running(running, others)

    @contextlib.contextmanager
    def calling() -> Iterator[None]:
        with everyone(), locks.build_lock(device, enter, PHASE):
            yield

    # Without TensorRT what calls leave outside of torch's allocator is the libraries' own.
    charged = build_memory.measure() if backends.get(config.backend).TENSORRT else contextlib.nullcontext()
    calls = memory.CallMemory(device)
    if compiled.another is not None and config.streams > 1:
        with calls.measure(), beside.measure():
            others += [compiled.another() for _ in range(config.streams - 1)]
    with calling():
        with calls.measure():
            own = [_inputs(config, device, compiled, number) for number in range(config.streams)]
            first, *more = _calls([bind, *(other.bind or bind for other in others)], own, config)
        timer = Timer(first, device, config.measure, compiled.build.cuda_graphs_method is not None, more)
        calls.prepare(timer)
        with charged, calls.measure():
            outputs, took_ms = timer.first()
    limit = config.accuracy.rel_l2[config.precision]
    leaves = accuracy.judge(outputs, reference, limit)
    with calls.measure():
        del outputs
    with calling():
        if more:
            with calls.measure(), beside.measure() if others else contextlib.nullcontext():
                timer.capture_in_turn()
        taken = calls.peak(timer)
    for number in range(1, 1 + len(reference.further)):
        given = inputs.example_inputs(config.timed, device, first=number * config.timed.batch_size)
        with calling():
            leaves = accuracy.worse(leaves, accuracy.judge(bind(given)(), reference, limit, number))
    found, why = accuracy.verdict(leaves, reference), None
    if more and found.accurate is not False:
        with calling():
            wrong = together.judged(timer, [together.alone(bind(each)) for each in own], reference, limit)
        if excess(wrong) > 1:
            found, why = dataclasses.replace(found, accurate=False), why_wrong_together(wrong, config)
    held = (taken, build_memory.bytes(compiled.module), beside.bytes(None))
    if config.accuracy.evaluate:
        with calling():
            value = evaluation.run(evaluation.Batched(bind, config), config, device)
        found = dataclasses.replace(found, evaluation=value, evaluation_name=evaluation.name(config))
    known = [each for each in held if each is not None]
    peak = sum(known) if len(known) == len(held) else None
    return FirstCalls(timer, took_ms, found, leaves, peak, everyone, why)


def _all_running(running: Running, others: list[Compiled]) -> Running:
    """Return the context of the calls of a build, and of what was made for further threads."""

    @contextlib.contextmanager
    def everyone() -> Iterator[None]:
        with running(), contextlib.ExitStack() as stack:
            for other in others:
                stack.enter_context(other.running())
            yield

    return everyone


def _inputs(config: PointConfig, device: torch.device, compiled: Compiled, number: int) -> Inputs:
    """Return the inputs of a thread, which no backend casts or lays out anew: it calls with these very tensors."""
    given = inputs.example_inputs(config.timed, device, number)
    cast = given.to(DTYPE[config.base_precision], bool(compiled.build.channels_last))
    return dataclasses.replace(cast, own=given.own)


def _calls(bound: list[Bind], given: list[Inputs], config: PointConfig) -> list[clocks.Call]:
    """Return a call for each thread; all have the only `bind` in common where there is one."""
    binds = bound if len(bound) == len(given) else bound * len(given)
    found = [bind(each) for bind, each in zip(binds, given, strict=True)]
    pairs = zip(found, given, strict=True)
    return [with_transfers(call, each.tensors) for call, each in pairs] if config.transfers else found


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
    why = _why_inaccurate(leaves, eager, config, "the FP32 reference")
    return why if first_wrong is None else f"{why}; first wrong in eager: {first_wrong}"


def why_wrong_together(leaves: list[Leaf], config: PointConfig) -> str:
    """Return the reason of a row that is inaccurate only with several streams."""
    why = _why_inaccurate(leaves, {}, config, "the same call alone")
    return f"{why}: only so while {config.streams} threads call at the same time (streams={config.streams})"


def _why_inaccurate(leaves: list[Leaf], eager: Mapping[str, float], config: PointConfig, other: str) -> str:
    worst = max((leaf for leaf in leaves if leaf.excess is not None), key=lambda leaf: leaf.excess or 0.0)
    which = f"output {worst.name}" if len(leaves) > 1 else "the output"
    if not worst.finite:
        return f"{which} is not finite although {other} is"
    what = f"{worst.error:.2g} of the entries differ" if worst.kind == WHOLE else f"relative L2 error {worst.error:.2g}"
    limit = f"accuracy.rel_l2.{config.precision}={config.accuracy.rel_l2[config.precision]}"
    if (key := accuracy.own_tolerance(worst.name, config.accuracy)) is not None:
        limit = f"accuracy.output_rel_l2.{key}={config.accuracy.output_rel_l2[key]}"
    own = eager.get(worst.name)
    beside = ""
    if own is not None:
        beside = f" and {accuracy.WORSE:g} times eager's in {config.precision} ({own:.2g})"
        if accuracy.WORSE * own >= accuracy.ABSURD / accuracy.WORSE:  # more excuses nothing
            beside = f" and a quarter of the output (eager's own in {config.precision} is {own:.2g})"
    if (worst.sample_error or 0.0) > accuracy.WORSE * (worst.error or 0.0):
        what = f"sample {worst.sample} is off by {worst.sample_error:.2g} of a typical sample's size"
    return f"{which}: {what}, above {limit}{beside}; compared with {other}"
