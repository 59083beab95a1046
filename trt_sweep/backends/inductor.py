"""torch.compile with its default backend."""

from __future__ import annotations

import time
from typing import Any

import torch

from trt_sweep.backends import Compiled, Settings
from trt_sweep.config import SweepConfig
from trt_sweep.models import DTYPE, Model
from trt_sweep.records import Build
from trt_sweep.timing import synchronize

AXES: frozenset[str] = frozenset()
TENSORRT = False


def effective(config: SweepConfig) -> SweepConfig:
    return config


def compile(model: Model, settings: Settings) -> Compiled:
    """Compile by the first call, which is the build."""
    settings.phase("build")
    torch.compiler.reset()
    cast = model.to(DTYPE[settings.config.precision])
    module = torch.compile(cast.module)

    def call() -> Any:
        return module(*cast.args, **cast.kwargs)

    start = time.perf_counter()
    call()
    synchronize(settings.device)
    return Compiled(call, Build(build_s=time.perf_counter() - start))
