"""Quantize by a recipe of torchao's `quantize_`: linear layers only, by subclasses of their weights."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch

from trt_sweep.models.model import Model
from trt_sweep.models.quantization import Quantized

PACKAGES = ("torchao",)
# `models.reproduction` reads this without importing this file: it repeats `quantize` below.
REPRODUCTION = """
import fnmatch
import torchao.quantization
def chosen(module, name):
    if any(fnmatch.fnmatchcase(f'{name}.', f'{pattern}.*') for pattern in $skip): return False
    return type(module) is torch.nn.Linear

torchao.quantization.quantize_(model, torchao.quantization.$recipe(), filter_fn=chosen)
"""


def quantize(recipe: str, model: Model, dtype: torch.dtype, skipped: set[str]) -> Quantized:
    """Quantize by one of the library's recipes; the model is cast before, as scales get the type of the weights."""
    library = importlib.import_module("torchao.quantization")
    module = copy.deepcopy(model.module).to(dtype)
    layers: list[str] = []

    def chosen(child: torch.nn.Module, name: Any) -> bool:
        # Attention reads the weights of NonDynamicallyQuantizableLinear without calling it.
        take = type(child) is torch.nn.Linear and name not in skipped
        layers.extend([name] * take)
        return take

    library.quantize_(module, getattr(library, recipe)(), filter_fn=chosen)
    return Quantized(module, len(layers))
