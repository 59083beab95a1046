"""Quantize weights to INT8 by channel and activations by tensor; the largest value gives the scale."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
quantize = functools.partial(_modelopt.quantize, "INT8_DEFAULT_CFG")
