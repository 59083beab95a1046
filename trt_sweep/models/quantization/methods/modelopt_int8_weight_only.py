"""Quantize weights to INT8 by channel; activations stay as they are."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = False
RECIPE = "INT8_WEIGHT_ONLY_CFG"
quantize = functools.partial(_modelopt.quantize, RECIPE)
