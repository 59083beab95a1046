"""Compile by Torch-TensorRT's legacy FX frontend, which only the standard flavour has.

In every version from 2.11 to 2.14 it calls what TensorRT 10 took away (`Builder.build_engine`,
`ICudaEngine.get_binding_index`). Where that fails, the row says so.
"""

from __future__ import annotations

import importlib
import time

import torch

from trt_sweep.backends.base import BuildContext, Compiled, binding, captured, require_one_thread
from trt_sweep.backends.torchtrt import building, installed, loading
from trt_sweep.backends.torchtrt.arguments import compile_arguments
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import Unsupported
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build

AXES = frozenset({"min_block_size", "compile"})
TENSORRT = True
DYNAMIC = False
STORED = False


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with Torch-TensorRT's defaults filled in."""
    return building.effective(config, "fx")


def plan(model: Model, context: BuildContext) -> Compiled:
    """Raise Unsupported: the frontend splits a model only on its way to the engines."""
    _require_fx()
    raise Unsupported("backend=fx cannot be planned: it splits the model only while it builds; it needs a GPU")


def compile(model: Model, context: BuildContext) -> Compiled:
    """Trace, split and build in one call."""
    _require_fx()
    config = context.config
    require_one_thread(context, "the FX frontend makes one execution context for each engine; use backend=dynamo")
    if model.inputs.kwargs:
        raise Unsupported("backend=fx takes inputs by position only: drop name from model.inputs")
    if config.precision == "bf16":
        raise Unsupported("precision=bf16: the FX frontend has FP32 and FP16 only")
    context.phase("build")
    loading.load()
    fx = importlib.import_module("torch_tensorrt.fx")
    lower = importlib.import_module("torch_tensorrt.fx.utils").LowerPrecision
    cast = model.to(context.dtype)
    with context.building(), torch.cuda.device(context.device):
        start = time.perf_counter()
        module = fx.compile(
            cast.module,
            list(cast.inputs.args),
            lower_precision=lower.FP16 if config.precision == "fp16" else lower.FP32,
            dynamic_batch=False,
            **compile_arguments(installed.torch_tensorrt(), config, "fx"),
        )
        synchronize(context.device)
        build_s = time.perf_counter() - start
    build = Build(build_s=build_s, cuda_graphs_method=captured(context))
    return Compiled(binding(module, context), build, runtime="python", module=module)


def _require_fx() -> None:
    library = installed.torch_tensorrt()
    if not library.has("fx"):
        raise Unsupported(
            f"backend=fx: {library.name} has no FX frontend (ENABLED_FEATURES.fx_frontend is False); only the "
            "standard flavour ships it"
        )
