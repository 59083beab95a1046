"""Compile by torch.compile with its default backend, Inductor."""

from __future__ import annotations

import time
from typing import Any

from trt_sweep.backends import base
from trt_sweep.backends.base import BuildContext, Call, Compiled
from trt_sweep.backends.paths import _inductor
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import Unsupported
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models import torch_compile
from trt_sweep.models.model import Inputs, Model
from trt_sweep.results.columns import Build

AXES = frozenset({"inductor"})
TENSORRT = False
DYNAMIC = True
STORED = False
REPRODUCTION = """
compiled = torch.compile(model$mode$dynamic)
with torch.inference_mode()$stream:
    output = compiled(*args$kwargs)
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with mode and CUDA graphs that agree.

    On a CPU it needs a C++ compiler: raise SweepError without one.
    """
    if config.device == "cpu":  # on a GPU it generates Triton
        _inductor.require_cpp_compiler("backend=inductor")
    return _inductor.effective_inductor(config)


def compile(model: Model, context: BuildContext) -> Compiled:
    """Compile by the first call; with CUDA graphs the second one records them, and is part of the build."""
    config = context.config
    if config.cuda_graphs:
        base.require_one_thread(context, "torch.compile replays its CUDA graphs only in the thread that captured them")
    context.phase("build")
    start = time.perf_counter()
    calls = 2 if config.cuda_graphs else 1
    cast = model.to(context.dtype)
    made = torch_compile.compile_model(cast, context.stack, calls, mode=config.inductor.mode)
    synchronize(context.device)
    build_s = time.perf_counter() - start
    found = torch_compile.described(made, cast)
    if config.cuda_graphs and not found["graphs"]:
        raise Unsupported(f"cuda_graphs=true: {made.why_none}")
    if config.cuda_graphs and made.skipped:
        raise Unsupported("cuda_graphs=true: torch.compile cannot capture this model; log.txt says why")

    def bind(inputs: Inputs) -> Call:
        own = inputs.to(context.dtype)
        return torch_compile.check_first_call(lambda: made.call(*own.args, **own.kwargs))

    method: Any = "inductor" if config.cuda_graphs else None
    build = Build(build_s=build_s, cuda_graphs_method=method, **found)
    return Compiled(bind, build, running=torch_compile.without_recompiling, module=cast.module)
