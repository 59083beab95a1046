"""Quantize weights of linear layers to FP8 by channel, and no activations."""

from __future__ import annotations

import torch

from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized
from trt_sweep.models.quantization.methods import _torchao

PRECISION = "fp8"
PACKAGES = _torchao.PACKAGES
CALIBRATES = False


def quantize(model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    """Quantize a copy of the model by torchao's recipe."""
    return _torchao.quantize("Float8WeightOnlyConfig", model, dtype, skipped)
