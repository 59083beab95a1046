"""Quantize the weights of linear layers to INT8 by channel; activations stay as they are."""

from __future__ import annotations

import torch

from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized
from trt_sweep.models.quantization.methods import _torchao

PRECISION = "int8"
PACKAGES = _torchao.PACKAGES
CALIBRATES = False
RECIPE = "Int8WeightOnlyConfig"


def quantize(model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    return _torchao.quantize(RECIPE, model, dtype, skipped)
