"""Compile just in time: torch.compile(model, backend="torch_tensorrt").

torch.compile returns a callable and hides what is behind it. So what Torch-TensorRT returns for each graph is caught on
its way there. It holds the same modules with the same engines as the ahead-of-time path's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch._dynamo.backends.registry import lookup_backend
from torch._dynamo.exc import BackendCompilerFailed

from trt_sweep.backends import base
from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.backends.torchtrt import build_errors, building, conversion, installed, loading, partitioner
from trt_sweep.backends.torchtrt.arguments import AXES as TORCHTRT_AXES
from trt_sweep.backends.torchtrt.arguments import compile_arguments, ignored_axes
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import Unsupported
from trt_sweep.models import torch_compile
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build, Partition
from trt_sweep.results.store import write_json

AXES = TORCHTRT_AXES
TENSORRT = True
DYNAMIC = True
STORED = True
REPRODUCTION = """
import torch_tensorrt
options = {$options}
compiled = torch.compile(model, backend='torch_tensorrt', options=options$dynamic)
$call
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with Torch-TensorRT's defaults filled in."""
    return building.effective(config, "torch_compile")


def plan(model: Model, context: BuildContext) -> Compiled:
    """Trace and partition; in a dry run find out what a build would refuse, where that needs no GPU."""
    arguments = _arguments(context.config)
    return _plan(model.to(context.dtype), context, arguments)


def dry_runs(model: Model, context: BuildContext) -> base.DryRun:
    """Return a function that traces and partitions by `min_block_size` and builds nothing."""
    return functools.partial(_dry_run, model.to(context.dtype), _arguments(context.config), [])


def compile(model: Model, context: BuildContext) -> Compiled:
    """Partition, then compile by the first call, which is the build."""
    base.require_one_thread(
        context,
        "torch.compile hands out one function, with one execution context for each engine; use backend=dynamo, which "
        "makes a context for each thread",
    )
    arguments = _arguments(context.config)
    cast = model.to(context.dtype)
    planned = _plan(cast, context, arguments)
    reused = context.reuse(planned)
    if reused is not None:
        return reused

    context.phase("build")
    arguments |= building.further_arguments(context, "torch_compile")

    def build() -> tuple[torch_compile.CompiledGraphs, list[torch.fx.GraphModule]]:
        with build_errors.explained(build_errors.what(context.config)):
            return _compiled(cast, context.stack, arguments)

    (made, graphs), built = building.built(build, context)
    compiled = building.finish(graphs, made.call, planned, context, arguments=arguments, built=built)
    inner = compiled.bind
    assert inner is not None

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        with torch_compile.without_recompiling(), compiled.running():
            yield

    # It passes the weights of the module to the engines at each call.
    return dataclasses.replace(
        compiled, bind=lambda inputs: torch_compile.check_first_call(inner(inputs)), running=running, module=cast.module
    )


def _arguments(config: PointConfig) -> dict[str, Any]:
    # By default a graph whose build fails runs in PyTorch, and nobody is told.
    arguments = compile_arguments(installed.torch_tensorrt(), config, "torch_compile")
    return arguments | {"pass_through_build_failures": True}


def _compiled(
    model: Model, stack: contextlib.ExitStack, options: dict[str, Any]
) -> tuple[torch_compile.CompiledGraphs, list[torch.fx.GraphModule]]:
    loading.load()
    backend = lookup_backend("torch_tensorrt")
    found: list[torch.fx.GraphModule] = []

    def caught(graph: torch.fx.GraphModule, inputs: list[Any], **how: Any) -> Any:
        module = backend(graph, inputs, **how)
        if not isinstance(module, torch.fx.GraphModule):
            raise Unsupported(
                "backend=torch_compile: Torch-TensorRT takes this graph through AOT autograd (vmap, distributed) and "
                "hands out no module, so what runs could not be told"
            )
        found.append(module)
        return module

    try:
        return torch_compile.compile_model(model, stack, backend=caught, options=options), found
    except BackendCompilerFailed as error:
        raise error.inner_exception from error  # the outer one names our function


def _plan(model: Model, context: BuildContext, arguments: dict[str, Any]) -> Compiled:
    context.phase("partition")
    size, seen = arguments["min_block_size"], list[torch_compile.CompiledGraphs]()
    dry_run = functools.cache(functools.partial(_dry_run, model, arguments, seen))

    def plan() -> tuple[Partition, dict[str, Any], Build]:
        planned, details = partitioner.plan(dry_run, size, context.once, "torch_compile")
        return planned, details, Build(**torch_compile.described(seen[0], model))

    # No other axis reaches the partitioner.
    planned, details, build = context.once(f"partition {size}", plan)
    write_json(context.folder / partitioner.FILE, details)
    ignored = ignored_axes(installed.torch_tensorrt(), context.config, "torch_compile")
    compiled = Compiled(None, build, planned, ignored_axes=ignored)
    context.keep(compiled)
    return conversion.checked(compiled, lambda: dry_run(size), model, context)


def _dry_run(
    model: Model, arguments: dict[str, Any], seen: list[torch_compile.CompiledGraphs], size: int
) -> list[base.GraphDryRun]:
    with contextlib.ExitStack() as stack, partitioner.trackers() as found:
        options = arguments | {"min_block_size": size, "dryrun": True}
        made, graphs = _compiled(model, stack, options)
    if not graphs:
        raise Unsupported(f"backend=torch_compile: {made.why_none}; backend=dynamo exports the model whole")
    seen.append(made)
    # A graph without a single operator to convert has no tracker, and comes back unpartitioned.
    trackers = iter(found)
    return [(next(trackers) if partitioner.partitioned(graph) else None, graph) for graph in graphs]
