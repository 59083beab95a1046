"""Quantize weights to INT4 in blocks of 128; activations stay as they are."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int4"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = False
RECIPE = "INT4_BLOCKWISE_WEIGHT_ONLY_CFG"
quantize = functools.partial(_modelopt.quantize, RECIPE)
