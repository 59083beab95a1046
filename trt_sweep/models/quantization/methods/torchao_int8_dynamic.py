"""Quantize linear layers to INT8; each call computes the scales of its activations."""

from __future__ import annotations

import torch

from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized
from trt_sweep.models.quantization.methods import _torchao

PRECISION = "int8"
PACKAGES = _torchao.PACKAGES
CALIBRATES = False


def quantize(model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    """Quantize a copy of the model by torchao's recipe."""
    return _torchao.quantize("Int8DynamicActivationInt8WeightConfig", model, dtype, skipped)
