"""Quantize to INT8 after moving activations' outliers into the weights of linear layers (Xiao et al., 2022)."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
RECIPE = "INT8_SMOOTHQUANT_CFG"
quantize = functools.partial(_modelopt.quantize, RECIPE)
