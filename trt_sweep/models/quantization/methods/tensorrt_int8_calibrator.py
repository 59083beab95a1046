"""Refuse TensorRT's own INT8 calibrator, which Torch-TensorRT has not offered since 2.11 at least.

It chose the scales during a build.
"""

from __future__ import annotations

import torch

from trt_sweep.errors import Unsupported
from trt_sweep.machine import versions
from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized

PRECISION = "int8"
PACKAGES = ("torch_tensorrt",)
CALIBRATES = False


def quantize(model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    """Raise Unsupported with what is missing and what to use instead."""
    rtx = versions.flavor() == "rtx"
    library = f"torch-tensorrt{'-rtx' * rtx} {versions.version('torch-tensorrt-rtx' if rtx else 'torch-tensorrt')}"
    raise Unsupported(
        f"quantization.method=tensorrt_int8_calibrator: {library} has no torch_tensorrt.ts.ptq "
        f"(DataLoaderCalibrator), and TensorRT {versions.tensorrt_version()} builds strongly typed "
        "networks, in which a calibrator has no part; use quantize nodes, quantization.method=modelopt_int8_default"
    )
