"""TensorRT's own calibrator, which chose INT8 scales while it built: gone from Torch-TensorRT since 2.11 at least."""

from __future__ import annotations

import importlib
import importlib.util

import torch

from trt_sweep.backends.torchtrt import installed, loading
from trt_sweep.errors import Unsupported
from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized

PRECISION = "int8"
PACKAGES = ("torch_tensorrt",)
CALIBRATES = False


def quantize(model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    """Raise Unsupported with what is missing."""
    loading.load()
    tensorrt = importlib.import_module("tensorrt")
    missing = []
    if importlib.util.find_spec("torch_tensorrt.ts.ptq") is None:
        missing.append(f"{installed.torch_tensorrt().name} has no torch_tensorrt.ts.ptq (DataLoaderCalibrator)")
    if not hasattr(tensorrt, "IInt8EntropyCalibrator2"):
        missing.append(f"TensorRT {tensorrt.__version__} has no IInt8EntropyCalibrator2 and no BuilderFlag.INT8")
    raise Unsupported(
        "quantization.method=tensorrt_int8_calibrator: "
        + ("; ".join(missing) or "networks are strongly typed here, which a calibrator has no part in")
        + "; use quantize nodes, quantization.method=modelopt_int8_default"
    )
