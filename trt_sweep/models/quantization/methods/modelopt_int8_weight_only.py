"""Quantize weights to INT8 by channel, and no activations."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = False
quantize = functools.partial(_modelopt.quantize, "INT8_WEIGHT_ONLY_CFG")
