"""Torch-TensorRT ahead of time: torch.export, then torch_tensorrt.dynamo.compile, which gives access to the engines."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import time
from typing import Any

import torch

from trt_sweep import partition, torchtrt
from trt_sweep.backends import Compiled, Settings
from trt_sweep.config import SweepConfig
from trt_sweep.models import DTYPE, Model
from trt_sweep.records import Build, write_json
from trt_sweep.timing import synchronize

AXES = frozenset({"min_block_size", "optimization_level", "runtime"})
TENSORRT = True


def effective(config: SweepConfig) -> SweepConfig:
    """Fill in the defaults of the installed Torch-TensorRT; raises SweepError where none is installed."""
    size = config.min_block_size
    return dataclasses.replace(
        config,
        min_block_size=int(torchtrt.default_of("min_block_size")) if size is None else size,
        optimization_level=torchtrt.default_optimization_level()
        if config.optimization_level is None
        else config.optimization_level,
        runtime=torchtrt.runtimes()[0] if config.runtime is None else config.runtime,
    )


def plan(model: Model, settings: Settings) -> Compiled:
    """Export and partition; build nothing."""
    arguments, ignored = torchtrt.arguments(settings.config)
    return _plan(_cast(model, settings), settings, arguments, ignored)[1]


def compile(model: Model, settings: Settings) -> Compiled:
    """Export, partition and build the engines, each timed for itself."""
    arguments, ignored = torchtrt.arguments(settings.config)
    cast = _cast(model, settings)
    program, planned = _plan(cast, settings, arguments, ignored)

    settings.phase("build")
    arguments["device"] = settings.device
    # By default all builds on a machine share these files, and the order of the points would show in their times.
    caches = {name: settings.folder / f"{name.removesuffix('_path')}.bin" for name in torchtrt.cache_paths()}
    for path in caches.values():
        path.unlink(missing_ok=True)
    private = {name: str(path) for name, path in caches.items()}
    dynamo = torchtrt.load().dynamo
    start = time.perf_counter()
    with torch.cuda.device(settings.device):
        module: torch.nn.Module = dynamo.compile(
            program, arg_inputs=cast.args, kwarg_inputs=cast.kwargs, **arguments, **private
        )
        synchronize(settings.device)
    build_s = time.perf_counter() - start
    _save_arguments(settings, arguments | {name: path.name for name, path in caches.items()})

    engines = torchtrt.engines(module)
    built = planned.partition.engines
    if len(engines) != built:
        raise RuntimeError(
            f"{built} engines were planned and {len(engines)} were built: the row would not say what ran"
        )
    digest = hashlib.sha256()
    for engine in engines:
        digest.update(hashlib.sha256(engine).digest())

    def call() -> Any:
        return module(*cast.args, **cast.kwargs)

    build = dataclasses.replace(
        planned.build,
        build_s=build_s,
        engine_bytes=sum(map(len, engines)),
        engine_id=digest.hexdigest()[:16] if engines else None,
        cache="cold" if any(path.exists() for path in caches.values()) else "none",
    )
    return dataclasses.replace(planned, call=call, build=build, runtime=torchtrt.runtime_of(module))


def _cast(model: Model, settings: Settings) -> Model:
    return model.to(DTYPE[settings.config.precision])


def _plan(
    model: Model, settings: Settings, arguments: dict[str, Any], ignored: list[str]
) -> tuple[torch.export.ExportedProgram, Compiled]:
    settings.phase("export")
    start = time.perf_counter()
    program = torch.export.export(model.module, model.args, model.kwargs)
    export_s = time.perf_counter() - start
    settings.phase("partition")
    planned, details = partition.plan(program, model, arguments)
    write_json(settings.folder / partition.FILE, details)
    compiled = Compiled(None, Build(export_s=export_s), planned, ignored_axes=ignored)
    settings.keep(compiled)
    return program, compiled


def _save_arguments(settings: Settings, arguments: dict[str, Any]) -> None:
    """Keep every argument that the compiler saw, its defaults included."""
    parameters = inspect.signature(torchtrt.load().dynamo.compile).parameters
    seen = {name: item.default for name, item in parameters.items() if item.default is not item.empty} | arguments
    plain = {
        name: value if isinstance(value, bool | int | float | str | None) else str(value)
        for name, value in seen.items()
    }
    write_json(settings.folder / "compile_arguments.json", plain)
