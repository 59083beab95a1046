"""Quantize weights to INT4 in blocks, scaled first by what activations make of them (Lin et al., AWQ, 2023)."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int4"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
ONE_SIZE = True  # its search averages over batches
RECIPE = "INT4_AWQ_CFG"
quantize = functools.partial(_modelopt.quantize, RECIPE)
