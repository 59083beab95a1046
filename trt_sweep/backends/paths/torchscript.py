"""Compile by Torch-TensorRT's legacy TorchScript frontend: trace or script, then torch_tensorrt.ts.compile."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import io
import time
from typing import Any

import torch

from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.backends.torchtrt import building, installed, loading, runtime
from trt_sweep.backends.torchtrt.arguments import compile_arguments, ignored_axes
from trt_sweep.backends.torchtrt.partitioner import FILE
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import Unsupported
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models import tracing
from trt_sweep.models.model import Model, shapes_over_range
from trt_sweep.results.columns import Build, Partition
from trt_sweep.results.store import write_json

AXES = frozenset({"min_block_size", "compile", "torchscript"})
TENSORRT = True
DYNAMIC = True
STORED = False
REPRODUCTION = """
import torch_tensorrt
$by_position
compiled = torch_tensorrt.ts.compile($torchscript,
    inputs=[torch_tensorrt.Input(tuple(a.shape), dtype=a.dtype) for a in args],
    enabled_precisions={torch.$dtype}$legacy_arguments)
$call
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with Torch-TensorRT's defaults filled in."""
    return building.effective(config, "torchscript")


def plan(model: Model, context: BuildContext) -> Compiled:
    """Make the TorchScript module and ask which of its operators have a converter.

    The partition is decided in C++ on the way to the engines, and cannot be asked for without building them.
    """
    _, module, planned = _plan(model, context)
    context.phase("partition")
    ts = importlib.import_module("torch_tensorrt.ts")
    with loading.assumed_gpu():
        supported = bool(ts.check_method_op_support(module, "forward"))
    write_json(context.folder / FILE, {"every_operator_has_a_converter": supported})
    return planned


def compile(model: Model, context: BuildContext) -> Compiled:
    """Trace or script, then build."""
    cast, module, planned = _plan(model, context)
    reused = context.reuse(planned)
    if reused is not None:
        return reused

    context.phase("build")
    torch_tensorrt = loading.load()
    config, device = context.config, context.device
    arguments = compile_arguments(installed.torch_tensorrt(), config, "torchscript")
    with context.building():
        start = time.perf_counter()
        built = torch_tensorrt.ts.compile(
            module,
            inputs=[_input(torch_tensorrt.Input, cast, index) for index in range(len(cast.inputs.args))],
            enabled_precisions={context.dtype},
            device=torch_tensorrt.Device(gpu_id=device.index),
            **arguments,
        )
        synchronize(device)
        build_s = time.perf_counter() - start
    engines = _engines(built)
    build = dataclasses.replace(planned.build, build_s=build_s, **building.describe(engines))
    _, _, method = runtime.binding_of([built], built, len(engines), context)
    compiled = dataclasses.replace(
        planned,
        module=built,
        build=dataclasses.replace(build, cuda_graphs_method=method),
        partition=dataclasses.replace(planned.partition, engines=len(engines)),
    )

    def bound(module: torch.jit.ScriptModule) -> Compiled:
        bind, running, _ = runtime.binding_of([module], module, len(engines), context)
        return dataclasses.replace(compiled, bind=lambda inputs: bind(inputs.by_position()), running=running)

    return dataclasses.replace(bound(built), another=lambda: bound(_loaded_again(built)))


def _loaded_again(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Return a copy of a module, whose engines have execution contexts of their own."""
    file = io.BytesIO()
    torch.jit.save(module, file)
    file.seek(0)
    loaded: torch.jit.ScriptModule = torch.jit.load(file)
    return loaded


def _plan(model: Model, context: BuildContext) -> tuple[Model, torch.jit.ScriptModule, Compiled]:
    library = installed.torch_tensorrt()
    if not library.has("torchscript"):
        raise Unsupported(f"backend=torchscript: {library.name} was built without the TorchScript frontend")
    mode = context.config.torchscript.mode
    if model.inputs.kwargs and mode == "script":
        raise Unsupported("torchscript.mode=script takes inputs by position only here: use torchscript.mode=trace")
    loading.load()
    context.phase("export")
    start = time.perf_counter()
    cast = tracing.by_position(model.to(context.dtype)) if mode == "trace" else model.to(context.dtype)
    module = tracing.torchscript(cast, mode)
    partition = Partition(default_min_block_size=library.parameters("torchscript")["min_block_size"].default)
    export_s = time.perf_counter() - start
    ignored = ignored_axes(library, context.config, "torchscript")
    planned = Compiled(None, Build(export_s=export_s), partition, runtime="cpp", ignored_axes=ignored)
    context.keep(planned)
    return cast, module, planned


def _input(kind: Any, model: Model, index: int) -> Any:
    tensor, ranges = model.inputs.args[index], model.dynamic.get(index)
    if ranges is None:
        return kind(tuple(tensor.shape), dtype=tensor.dtype)
    least, opt, most = shapes_over_range(tensor.shape, ranges)
    return kind(min_shape=least, opt_shape=opt, max_shape=most, dtype=tensor.dtype)


def _engines(module: torch.jit.ScriptModule) -> list[bytes]:
    """Return the engines that a compiled TorchScript module holds as attributes, as they would be saved."""
    index = torch.ops.tensorrt.ENGINE_IDX()
    found = []
    graph: Any = module.graph
    for node in graph.findAllNodes("prim::GetAttr"):
        if "tensorrt.Engine" in str(node.output().type()):
            state = module._c.getattr(node.s("name")).__getstate__()
            found.append(base64.b64decode(state[0][index]))
    return found
