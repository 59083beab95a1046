"""Compile ahead of time: torch.export, then torch_tensorrt.dynamo.compile."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch

from trt_sweep.backends import base
from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.backends.torchtrt import autocasting, build_errors, building, conversion, installed, loading, partitioner
from trt_sweep.backends.torchtrt.arguments import AXES as TORCHTRT_AXES
from trt_sweep.backends.torchtrt.arguments import compile_arguments, ignored_axes
from trt_sweep.config.groups import AUTOCAST as AUTOCASTS
from trt_sweep.config.point import PointConfig
from trt_sweep.models import tracing
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build
from trt_sweep.results.store import write_json

AXES = TORCHTRT_AXES | {"quantization"}
TENSORRT = True
DYNAMIC = True
AUTOCAST = True
STORED = True
REPRODUCTION = """
import torch_tensorrt
$export
compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=args$kwarg_inputs$arguments)
$call
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with Torch-TensorRT's defaults filled in."""
    return building.effective(config, "dynamo")


def plan(model: Model, context: BuildContext) -> Compiled:
    """Export and partition; in a dry run find out what a build would refuse, where that needs no GPU."""
    cast = model.to(context.dtype)
    return _plan(cast, context, _arguments(cast, context.config))[2]


def dry_runs(model: Model, context: BuildContext) -> base.DryRun:
    """Export, and return a function that partitions by `min_block_size` and builds nothing."""
    cast = model.to(context.dtype)
    arguments = _arguments(cast, context.config)
    program, _, _ = _exported(cast, context)
    return _lowered(program, cast, arguments).dry_run


def compile(model: Model, context: BuildContext) -> Compiled:
    """Export, partition and build the engines, each timed for itself."""
    cast = model.to(context.dtype)
    arguments = _arguments(cast, context.config)
    program, whole, planned = _plan(cast, context, arguments)
    reused = context.reuse(planned)
    if reused is not None:
        return reused

    context.phase("build")
    arguments |= building.further_arguments(context, "dynamo")

    def build() -> torch.nn.Module:
        with build_errors.explained(build_errors.what(context.config)), cast.lowering():
            made: torch.nn.Module = _compile(program, cast, arguments)
        return made

    module, built = building.built(build, context)
    compiled = building.finish([module], module, planned, context, arguments=arguments, built=built)
    return base.putting_back(compiled, whole)


def _arguments(model: Model, config: PointConfig) -> dict[str, Any]:
    found = compile_arguments(installed.torch_tensorrt(), config, "dynamo")
    return found | autocasting.arguments(model, config) if config.precision in AUTOCASTS else found


# A program, what puts back the outputs that are no tensors (see `tracing.tensors_only`), and the seconds it took.
Exported = tuple[torch.export.ExportedProgram, Callable[[Any], Any] | None, float]


def _compile(program: torch.export.ExportedProgram, model: Model, arguments: dict[str, Any]) -> Any:
    with autocasting.explained(arguments):
        return loading.load().dynamo.compile(
            autocasting.own(program, arguments),
            arg_inputs=model.inputs.args,
            kwarg_inputs=model.inputs.kwargs,
            **arguments,
        )


def _plan(
    model: Model, context: BuildContext, arguments: dict[str, Any]
) -> tuple[torch.export.ExportedProgram, Callable[[Any], Any] | None, Compiled]:
    program, whole, export_s = _exported(model, context)
    context.phase("partition")
    size = arguments["min_block_size"]

    @functools.cache
    def dry_run(size: int) -> list[base.GraphDryRun]:
        return context.once("lowered", lambda: _lowered(program, model, arguments)).dry_run(size)

    # No other axis reaches the partitioner.
    planned, details = context.once(f"partition {size}", lambda: partitioner.plan(dry_run, size, context.once))
    write_json(context.folder / partitioner.FILE, details)
    ignored = ignored_axes(installed.torch_tensorrt(), context.config, "dynamo")
    compiled = Compiled(None, Build(export_s=export_s), planned, ignored_axes=ignored)
    context.keep(compiled)
    return program, whole, conversion.checked(compiled, lambda: dry_run(size), model, context)


def _exported(model: Model, context: BuildContext) -> Exported:
    context.phase("export")
    return context.once("program", lambda: _export(model))


def _export(model: Model) -> Exported:
    start = time.perf_counter()
    program = tracing.export(model)
    return program, tracing.tensors_only(program), time.perf_counter() - start


def _lowered(program: torch.export.ExportedProgram, model: Model, arguments: dict[str, Any]) -> partitioner.Lowered:
    with model.lowering():
        return partitioner.Lowered(lambda: _compile(program, model, arguments | {"dryrun": True}))
