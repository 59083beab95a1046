"""Know the floating-point type that a module comes in, before anything casts it."""

from __future__ import annotations

from collections import Counter

import torch

from trt_sweep.config.model import ModelConfig
from trt_sweep.config.point import digest

HALF = (torch.float16, torch.bfloat16)
_known: dict[str, torch.dtype] = {}


def main_type(module: torch.nn.Module) -> torch.dtype:
    """Return the floating-point type of most elements of a module's parameters and buffers; FP32 without any."""
    elements: Counter[torch.dtype] = Counter()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and not torch.nn.parameter.is_lazy(tensor):
            elements[tensor.dtype] += tensor.numel()
    return max(elements, key=elements.__getitem__, default=torch.float32)


def in_half(module: torch.nn.Module) -> bool:
    """Return whether a parameter or buffer is in FP16 or BF16."""
    return any(tensor.dtype in HALF for tensor in (*module.parameters(), *module.buffers()))


def keep(model: ModelConfig, module: torch.nn.Module) -> None:
    """Keep the type that the module of a configuration came in, for `of`."""
    _known[_key(model)] = main_type(module)


def of(model: ModelConfig) -> torch.dtype:
    """Return the type that the module of a configuration comes in; FP32 as long as it was not built."""
    return _known.get(_key(model), torch.float32)


def _key(model: ModelConfig) -> str:
    return digest({"factory": model.factory, "weights": model.weights})
