"""Run plain PyTorch as fast as its user would set it up: channels-last, cuDNN choosing algorithms by timing."""

from __future__ import annotations

from typing import Any

from trt_sweep.backends.base import BuildContext, Compiled, binding, captured
from trt_sweep.config.groups import AUTOCAST as AUTOCASTS
from trt_sweep.config.point import PointConfig
from trt_sweep.models.model import Model, autocast
from trt_sweep.results.columns import Build

AXES = frozenset({"quantization"})
TENSORRT = False
DYNAMIC = False
AUTOCAST = True
STORED = False
REPRODUCTION = """
torch.backends.cudnn.benchmark = True
$channels_last
$capture
with torch.inference_mode()$autocast$stream:
    output = model(*args$kwargs)
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration as it is."""
    return config


def compile(model: Model, context: BuildContext) -> Compiled:
    """Cast the module and lay it out; there is nothing to build."""
    precision, channels_last = (
        context.config.precision,
        not model.typed,
    )  # a quantized module stays as its method left it
    module = model.to(context.dtype, channels_last=channels_last).module

    def under_autocast(*args: Any, **kwargs: Any) -> Any:
        with autocast(precision, context.device):
            return module(*args, **kwargs)

    build = Build(
        channels_last=channels_last,
        cudnn_benchmark=context.device.type == "cuda" and model.may_convolve,
        cuda_graphs_method=captured(context),
    )
    call = under_autocast if precision in AUTOCASTS else module
    return Compiled(binding(call, context, channels_last=channels_last), build, module=module)
