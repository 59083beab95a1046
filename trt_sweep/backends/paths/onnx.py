"""Build one engine without Torch-TensorRT: torch.onnx.export, then TensorRT's own parser, builder and runtime.

A user of trtexec gets the same: one engine or none, no operator left in PyTorch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trt_sweep.backends.base import BuildContext, Compiled, binding
from trt_sweep.backends.engine_store import surroundings
from trt_sweep.backends.tensorrt import timing_cache
from trt_sweep.backends.tensorrt.engine import Engine
from trt_sweep.backends.tensorrt.layer_timers import EngineLayerTimer
from trt_sweep.backends.tensorrt.network import Network
from trt_sweep.backends.torchtrt import installed, loading
from trt_sweep.backends.torchtrt.arguments import ignored_axes
from trt_sweep.backends.torchtrt.building import describe
from trt_sweep.config.point import LAYER_NAMES, PointConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.machine import versions
from trt_sweep.models import tracing
from trt_sweep.models.inputs import inputs_over_range
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build, Partition

AXES = frozenset(
    {
        *("optimization_level", "runtime_cache", "dynamic_shapes_kernel_specialization_strategy"),
        *("cache", "cache_snapshot", "profiling_verbosity"),
    }
)
TENSORRT = True
DYNAMIC = True
STORED = True
FOLDED = ("Conv", "ConvTranspose", "Gemm")  # operators of ONNX that torch.onnx folds batch normalizations into
REPRODUCTION = """
$export
torch.onnx.export(program, dynamo=True).save('model.onnx', external_data=True)
# then, without PyTorch: $tool --onnx=model.onnx --saveEngine=model.engine$flags
# or tensorrt.OnnxParser and Builder.build_serialized_network, as trt_sweep/backends/tensorrt/network.py does
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with its defaults filled in; raise SweepError where a package is missing."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise SweepError(
            f"backend=onnx needs {' and '.join(missing)}, which this Python has not: pip install 'trt-sweep[onnx]'"
        )
    loading.require_installed(config.backend)
    return timing_cache.effective(
        dataclasses.replace(config, profiling_verbosity=config.profiling_verbosity or LAYER_NAMES)
    )


def plan(model: Model, context: BuildContext) -> Compiled:
    """Export and parse; what the parser takes becomes one engine."""
    return _parsed(model, context)[1]


def compile(model: Model, context: BuildContext) -> Compiled:
    """Export, parse, build, and load the engine."""
    timing_cache.require(context.config)
    network, planned, unflattened, modules = _parsed(model, context)
    reused = context.reuse(planned)
    if reused is not None:
        return reused

    config = context.config
    context.phase("build")
    engine, built = _built(network, context)
    build = dataclasses.replace(planned.build, **built, **describe([engine]))
    context.keep(dataclasses.replace(planned, build=build))

    load = functools.partial(Engine, engine, config, context.device)
    runner = load()
    if config.runtime_cache == "warm":
        for inputs in inputs_over_range(config, context.device):
            cast = inputs.to(context.dtype)
            runner(*cast.args, **cast.kwargs)
        torch.cuda.synchronize(context.device)
        runner = load(cache=runner.cache_content())
    native = config.cuda_graphs and runner.native_cuda_graphs
    method = None if not config.cuda_graphs else "rtx" if native else "capture"
    build = dataclasses.replace(build, load_s=runner.load_s, cuda_graphs_method=method)

    # RTX replays by itself; elsewhere the call is captured as any other.
    plain = dataclasses.replace(config, cuda_graphs=bool(config.cuda_graphs) and not native)
    compiled = dataclasses.replace(planned, build=build, layer_timers=[EngineLayerTimer(runner, modules)])

    def bound(engine: Engine) -> Compiled:
        def run(*args: Any, **kwargs: Any) -> Any:
            return unflattened(engine(*args, **kwargs))

        return dataclasses.replace(compiled, bind=binding(run, dataclasses.replace(context, config=plain)))

    return dataclasses.replace(bound(runner), another=lambda: bound(runner.another()))


def _built(network: Network, context: BuildContext) -> tuple[bytes, dict[str, Any]]:
    """Return the engine and the columns that its build decides."""
    config, cache = context.config, None
    if config.cache is not None:
        cache = timing_cache.prepare(config, context.folder)

    def make() -> tuple[bytes, dict[str, Any]]:
        engine = network.build(
            config.optimization_level, config.precision == "tf32", cache, config.profiling_verbosity or LAYER_NAMES
        )
        return engine, {}

    with context.building():
        if config.cache == "warm":
            make()
        cache_id = timing_cache.content_id(cache) if cache else None
        ignored = ignored_axes(installed.torch_tensorrt(), config, "onnx")

        def depends_on() -> dict[str, Any]:
            return {
                **network.describe(),
                "optimization_level": None if "optimization_level" in ignored else config.optimization_level,
                "tf32": config.precision == "tf32",
                "timing_cache": [config.cache, cache_id],
                "profiling_verbosity": config.profiling_verbosity,
                **surroundings(versions.environment(context.device)),
            }

        found = context.store.build(depends_on, make)
    stored = int(found.stored) if context.store.folder is not None else None
    return found.engine, {"build_s": found.build_s, "engines_stored": stored, "cache_id": cache_id}


def _parsed(model: Model, context: BuildContext) -> tuple[Network, Compiled, Callable[[Any], Any], dict[str, str]]:
    """Return the network, what is known of the point by now, what gives its outputs their structure, and `_modules`."""
    context.phase("export")
    cast = model.to(context.dtype)
    start = time.perf_counter()
    program = tracing.export(cast)
    whole = tracing.tensors_only(program)
    try:
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise RuntimeError(one_line(error.__cause__ or error)) from error  # the outer one is about reporting it
    assert exported is not None
    build = Build(export_s=time.perf_counter() - start)
    context.keep(Compiled(None, build))
    context.phase("partition")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        exported.save(str(file), external_data=True)  # one file alone may not exceed 2 GB
        network = Network(file, cast.dynamic)
    operators = len(exported.model.graph)
    partition = Partition(
        ops_total=operators, ops_supported=operators, engines=1, engine_ops=[operators], fallback_ops=0
    )
    ignored = ignored_axes(installed.torch_tensorrt(), context.config, "onnx")
    planned = Compiled(None, build, partition, ignored_axes=ignored)
    context.keep(planned)
    spec = program.call_spec.out_spec
    assert spec is not None
    unflattened = whole or functools.partial(pytree.tree_unflatten, treespec=spec)
    return network, planned, unflattened, _modules(exported.model.graph)


def _modules(graph: Any) -> dict[str, str]:
    """Return the path of the PyTorch module behind each ONNX node, by the node's name."""
    found = {}
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        if node.name and len(scopes) > 1:
            found[node.name] = _owner(graph, node) or str(scopes[-2])  # the last one is the operator's
    return found


def _owner(graph: Any, node: Any) -> str | None:
    """Return the module whose weight a node has, where the exporter may have folded a batch normalization into it.

    The exporter gives such a node the scopes of the normalization. The scopes of other nodes are right. Their weights
    tell nothing: equal ones are made one, as those of untrained layer normalizations are.
    """
    weight = node.inputs[1] if node.op_type in FOLDED else None
    if weight is None or weight.name not in graph.initializers or len(weight.uses()) > 1:
        return None
    return str(weight.name).rpartition(".")[0] or None
