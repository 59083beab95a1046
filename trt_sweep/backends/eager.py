"""Plain PyTorch, set up as a person who wants it to be fast would: channels-last, cuDNN choosing by timing."""

from __future__ import annotations

from trt_sweep.backends import Compiled, Settings
from trt_sweep.config import SweepConfig
from trt_sweep.models import DTYPE, Model
from trt_sweep.records import Build

AXES: frozenset[str] = frozenset()
TENSORRT = False


def effective(config: SweepConfig) -> SweepConfig:
    return config


def compile(model: Model, settings: Settings) -> Compiled:
    """Cast the module and lay it out; there is nothing to build."""
    fast = model.to(DTYPE[settings.config.precision], channels_last=True)
    return Compiled(fast, Build(channels_last=True, cudnn_benchmark=settings.device.type == "cuda"))
