"""Run plain PyTorch as fast as its user would set it up: channels-last, cuDNN choosing algorithms by timing."""

from __future__ import annotations

from trt_sweep.backends.base import BuildContext, Compiled, binding, captured
from trt_sweep.config.point import PointConfig
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build

AXES = frozenset({"quantization"})
TENSORRT = False
DYNAMIC = False
STORED = False
REPRODUCTION = """
torch.backends.cudnn.benchmark = True
$channels_last
$capture
with torch.inference_mode()$stream:
    output = model(*args$kwargs)
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration as it is."""
    return config


def compile(model: Model, context: BuildContext) -> Compiled:
    """Cast the module and lay it out; there is nothing to build."""
    channels_last = not model.typed  # a quantized module stays as its method left it
    module = model.to(context.dtype, channels_last=channels_last).module
    build = Build(
        channels_last=channels_last,
        cudnn_benchmark=context.device.type == "cuda" and model.may_convolve,
        cuda_graphs_method=captured(context),
    )
    return Compiled(binding(module, context, channels_last=channels_last), build, module=module)
