"""Quantize weights and activations to FP8 (E4M3), both by tensor."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "fp8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
RECIPE = "FP8_DEFAULT_CFG"
quantize = functools.partial(_modelopt.quantize, RECIPE)
