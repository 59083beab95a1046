"""Run TorchScript without TensorRT: traced or scripted, then frozen. The layout is that of eager."""

from __future__ import annotations

import time

import torch

from trt_sweep.backends.base import BuildContext, Compiled, binding, captured
from trt_sweep.config.point import PointConfig
from trt_sweep.models import tracing
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build

AXES = frozenset({"torchscript"})
TENSORRT = False
DYNAMIC = False
STORED = False
REPRODUCTION = """
$by_position
$channels_last
compiled = torch.jit.freeze($torchscript)
$capture
with torch.inference_mode()$stream:
    output = compiled(*args$traced_kwargs)
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration as it is."""
    return config


def compile(model: Model, context: BuildContext) -> Compiled:
    """Trace or script, then freeze, which folds the weights and batch norms into the graph."""
    mode = context.config.torchscript.mode
    context.phase("export")
    cast = model.to(context.dtype, channels_last=True)
    traced = mode == "trace"
    start = time.perf_counter()
    module = tracing.torchscript(tracing.by_position(cast) if traced else cast, mode)
    export_s = time.perf_counter() - start
    context.phase("build")
    start = time.perf_counter()
    frozen = torch.jit.freeze(module)
    build = Build(
        export_s=export_s,
        build_s=time.perf_counter() - start,
        channels_last=True,
        cudnn_benchmark=context.device.type == "cuda" and model.may_convolve,
        cuda_graphs_method=captured(context),
    )
    bind = binding(frozen, context, channels_last=True)
    return Compiled((lambda inputs: bind(inputs.by_position())) if traced else bind, build, module=frozen)
