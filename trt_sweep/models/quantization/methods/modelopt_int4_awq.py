"""Quantize weights to INT4 in blocks of 128, scaled by their activations before (Lin et al., AWQ, 2023)."""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int4"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
ONE_SIZE = True  # the search for scales averages over batches, so their size matters
quantize = functools.partial(_modelopt.quantize, "INT4_AWQ_CFG")
