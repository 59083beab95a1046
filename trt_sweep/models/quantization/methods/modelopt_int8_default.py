"""Quantize weights to INT8 by channel and activations by tensor, their largest value as the range."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
RECIPE = "INT8_DEFAULT_CFG"
quantize = functools.partial(_modelopt.quantize, RECIPE)
