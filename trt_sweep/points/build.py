"""Build a point: its model, the reference, the quantized model, and what the backend makes of it."""

from __future__ import annotations

import dataclasses

from trt_sweep import backends
from trt_sweep.backends.base import Backend, BuildContext, Compiled
from trt_sweep.backends.tensorrt import engine
from trt_sweep.config.groups import AUTOCAST
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import Refused, Unsupported
from trt_sweep.machine import locks
from trt_sweep.measure import memory
from trt_sweep.models.model import Model, float32_mode
from trt_sweep.points.failure import without_traceback
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.points.state import BuildResult, PointState
from trt_sweep.results.measured import Accuracy


def engine_key(config: PointConfig, compiled: Compiled, reuse: bool, *, alone: bool = False) -> str | None:
    """Return a name for the engine that a point leads to and how it runs; None where it is to be built in any case.

    The name of the engine `alone` does not say how many threads call it, and what they copy.
    """
    if not reuse or config.measure.rebuilds > 1 or config.runtime_cache is not None:
        return None
    key = (config.under_no_load if alone else config).engine_key(compiled.partition.partition_id, compiled.ignored_axes)
    return f"engine {key}" if alone else key


def from_other(compiled: Compiled, planned: Compiled, point_id: str) -> Compiled:
    """Return what another point has built, as the build of a point that has planned the same.

    Where a plan has no partition, only the build tells what is in it.
    """
    made = dataclasses.replace(
        compiled.build, export_s=planned.build.export_s, build_s=None, engine_reused_from=point_id
    )
    known = planned if planned.partition.partition_id is not None else compiled
    return dataclasses.replace(compiled, build=made, partition=known.partition, ignored_axes=planned.ignored_axes)


def require_possible(config: PointConfig, device_type: str) -> None:
    """Raise Unsupported for what a point asks of a device that cannot do it."""
    backend = backends.get(config.backend)
    if config.dryrun and not backend.TENSORRT:
        raise Unsupported(
            f"dryrun=true plans TensorRT engines, and backend={config.backend} has none: drop one of the two"
        )
    if config.precision in AUTOCAST and not getattr(backend, "AUTOCAST", False):
        raise Unsupported(
            f"precision={config.precision}: backend={config.backend} has no autocast; use backend=dynamo, or "
            "backend=eager for PyTorch's own"
        )
    if config.streams > 1 and config.measure.cold_cache:
        raise Unsupported(
            f"streams={config.streams}: with measure.cold_cache=true a thread would empty the cache under the calls of "
            "the others; drop one of the two"
        )
    if config.keep_fp32 and config.torchscript.mode == "script":
        raise Unsupported(
            "keep_fp32 casts where modules meet, which torch.jit.script cannot take: use torchscript.mode=trace"
        )
    if device_type != "cpu" or config.dryrun:
        return
    if config.precision == "tf32":
        raise Unsupported("precision=tf32: a CPU has no TF32; use fp32")
    if config.cuda_graphs:
        raise Unsupported("cuda_graphs=true: CUDA graphs need a GPU")
    if config.transfers:
        raise Unsupported("transfers=true: they are copies to a GPU and back; there is none here")
    if config.measure.cold_cache:
        raise Unsupported("measure.cold_cache=true flushes the L2 cache of a GPU; there is none here")


def build(state: PointState, context: BuildContext, source: PreparedModel, builds: list[BuildResult]) -> None:
    """Build a point once, or plan it in a dry run, and note in `state` how far that came.

    What the backend made, or why it failed, goes into `builds`. Raises what goes wrong.
    """
    config, device = context.config, context.device
    backend = backends.get(config.backend)
    at_any_size = ("refused", config.unsized.build_id)
    if (refused := context.cache.get(at_any_size)) is not None and not config.ranges:
        state.phase = "build"
        raise Unsupported(f"{refused} (at another batch size; not tried again at this one)")
    context.phase("model")
    model = source.model()
    context.phase("reference")
    reference = source.reference(state.phase)  # one that nothing can be compared with is worth no build
    if config.dryrun:
        state.accuracy = Accuracy(reference_spread=reference.spread, model_notes=[*reference.notes] or None)
    if config.quantized:
        context.phase("quantization")
        model, state.quantization = source.quantized(state.phase)
    state.phase = "partition" if config.dryrun else "build"  # until the backend says more
    if backend.TENSORRT and device.type == "cuda" and not config.dryrun:
        with locks.build_lock(device, context.phase, state.phase):
            engine.set_up(device)
    failure: Exception | None = None
    try:
        with float32_mode(config.precision):
            state.compiled = backend.plan(model, context) if config.dryrun else _compiled(backend, model, context)
    except Exception as error:
        failure = without_traceback(error)
        if isinstance(error, Refused) and not config.ranges:  # a range may be what it refuses
            context.cache.put(at_any_size, str(error))
        raise
    finally:
        builds.append(BuildResult(config.point_id, model, state.compiled, failure, state.phase))


def _compiled(backend: Backend, model: Model, context: BuildContext) -> Compiled:
    held = memory.BuildMemory(context.device)
    with held.measure():
        compiled = backend.compile(model, context)
    # One that was built for another point brings what it holds along.
    return compiled if compiled.build_memory is not None else dataclasses.replace(compiled, build_memory=held)


def reuse(state: PointState, builds: list[BuildResult]) -> None:
    """Take over what an earlier point of the same build has built; raise the error that its build ended with."""
    first = builds[0]
    state.first_call = first.compiled.build.engine_reused_from is None  # else the engine was called before
    made = dataclasses.replace(first.compiled.build, build_s=None, engine_reused_from=first.point_id)
    state.compiled = dataclasses.replace(first.compiled, build=made)
    for built in builds:
        if built.error is not None:
            state.phase = built.phase
            raise built.error
