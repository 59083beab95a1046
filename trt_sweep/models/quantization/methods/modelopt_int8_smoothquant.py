"""Quantize to INT8 as modelopt_int8_default does, after SmoothQuant (Xiao et al., 2022).

It moves the outliers of activations into the weights of linear layers.
"""

from __future__ import annotations

import functools

from trt_sweep.models.quantization.methods import _modelopt

PRECISION = "int8"
PACKAGES = _modelopt.PACKAGES
CALIBRATES = True
quantize = functools.partial(_modelopt.quantize, "INT8_SMOOTHQUANT_CFG")
