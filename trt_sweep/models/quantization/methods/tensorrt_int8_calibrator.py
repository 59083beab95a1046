"""Refuse TensorRT's own calibrator, which chose INT8 scales during the build: gone in Torch-TensorRT 2.11 and later."""

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
    """Raise Unsupported with what is missing."""
    rtx = versions.flavor() == "rtx"
    library = f"torch-tensorrt{'-rtx' * rtx} {versions.version('torch-tensorrt-rtx' if rtx else 'torch-tensorrt')}"
    raise Unsupported(
        f"quantization.method=tensorrt_int8_calibrator: {library} has no DataLoaderCalibrator (torch_tensorrt.ts.ptq), "
        f"and TensorRT {versions.tensorrt_version()} builds strongly typed networks, in which a calibrator has no "
        "part; use quantize nodes, quantization.method=modelopt_int8_default"
    )
