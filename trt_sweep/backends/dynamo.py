"""Torch-TensorRT ahead of time: torch.export, then torch_tensorrt.dynamo.compile, which gives access to the engines."""

from __future__ import annotations

import functools
import time
from typing import Any

import torch

from trt_sweep import api, loading, partition, torchtrt, tracing
from trt_sweep.backends import Compiled, Settings
from trt_sweep.config import SweepConfig
from trt_sweep.models import Model
from trt_sweep.records import Build, write_json

AXES = torchtrt.AXES
TENSORRT = True
DYNAMIC = True
STORED = True


def effective(config: SweepConfig) -> SweepConfig:
    return torchtrt.effective(config, "dynamo")


def plan(model: Model, settings: Settings) -> Compiled:
    """Export and partition; build nothing."""
    arguments = api.installed().arguments(settings.config, "dynamo")
    return _plan(model.to(settings.dtype), settings, arguments)[1]


def dry_runs(model: Model, settings: Settings) -> partition.DryRun:
    """Export; what is given back partitions, as often as it is called, and builds nothing."""
    arguments = api.installed().arguments(settings.config, "dynamo")
    cast = model.to(settings.dtype)
    program, _ = _exported(cast, settings)
    return functools.partial(_dry_run, program, cast, arguments)


def compile(model: Model, settings: Settings) -> Compiled:
    """Export, partition and build the engines, each timed for itself."""
    arguments = api.installed().arguments(settings.config, "dynamo")
    cast = model.to(settings.dtype)
    program, planned = _plan(cast, settings, arguments)
    reused = settings.reuse(planned)
    if reused is not None:
        return reused

    settings.phase("build")
    arguments |= torchtrt.further_arguments(settings, "dynamo")
    dynamo = loading.load().dynamo

    def build() -> torch.nn.Module:
        made: torch.nn.Module = dynamo.compile(
            program, arg_inputs=cast.inputs.args, kwarg_inputs=cast.inputs.kwargs, **arguments
        )
        return made

    module, built = torchtrt.built(build, settings)
    return torchtrt.finish([module], module, planned, settings, arguments=arguments, built=built)


def _plan(model: Model, settings: Settings, arguments: dict[str, Any]) -> tuple[torch.export.ExportedProgram, Compiled]:
    program, export_s = _exported(model, settings)
    settings.phase("partition")
    dry_run = functools.partial(_dry_run, program, model, arguments)
    size = arguments["min_block_size"]
    # No other axis reaches the partitioner.
    planned, details = settings.once(
        f"partition {size} {settings.config.runtime}", lambda: partition.plan(dry_run, size, settings.once)
    )
    write_json(settings.folder / partition.FILE, details)
    ignored = api.installed().ignored(settings.config, "dynamo")
    compiled = Compiled(None, Build(export_s=export_s), planned, ignored_axes=ignored)
    settings.keep(compiled)
    return program, compiled


def _exported(model: Model, settings: Settings) -> tuple[torch.export.ExportedProgram, float]:
    settings.phase("export")
    return settings.once("program", lambda: _export(model))


def _export(model: Model) -> tuple[torch.export.ExportedProgram, float]:
    start = time.perf_counter()
    program = tracing.export(model)
    return program, time.perf_counter() - start


def _dry_run(
    program: torch.export.ExportedProgram, model: Model, arguments: dict[str, Any], size: int
) -> list[partition.Dry]:
    with partition.trackers() as found:
        graph = loading.load().dynamo.compile(
            program,
            arg_inputs=model.inputs.args,
            kwarg_inputs=model.inputs.kwargs,
            **(arguments | {"min_block_size": size, "dryrun": True}),
        )
    return [(found[0] if found else None, graph)]
