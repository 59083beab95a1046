"""Quantize by a recipe of NVIDIA Model Optimizer, whose quantizers compute in PyTorch what an engine would."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch

from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized

# modelopt 0.47 imports the other two without asking for them.
PACKAGES = ("modelopt", "requests", "huggingface_hub")
# `models.reproduction` reads these four without importing this file: they repeat `quantize` and `_lowering` below.
QUANTIZES_IN = "float32"
LOWERING = "with mtq.utils.export_torch_mode():"
FORWARD_LOOP = """
$data

def forward_loop(model):
    for args, kwargs in calibration:
        model(*args, **kwargs)

"""
REPRODUCTION = """
import copy
import modelopt.torch.quantization as mtq
$forward_loop
recipe = copy.deepcopy(mtq.$recipe)
recipe['quant_cfg'] += [{'quantizer_name': f'{pattern}.*', 'enable': False} for pattern in $skip]
with torch.no_grad():
    mtq.quantize(model, recipe$forward_loop_argument)
# ranges stay in FP32: scales made of them would leave FP16's normal numbers
ranges = {name: buffer for name, buffer in model.named_buffers() if name.endswith('._amax')}
model = model.to(torch.$dtype)
for name, buffer in ranges.items():
    owner, _, own = name.rpartition('.')
    setattr(model.get_submodule(owner), own, buffer.float())
"""


def quantize(recipe: str, model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    """Quantize by one of the library's recipes in FP32, then cast what is not quantized."""
    mtq = importlib.import_module("modelopt.torch.quantization")
    _compile_nothing()
    module = copy.deepcopy(model.module)
    config = copy.deepcopy(getattr(mtq, recipe))
    config["quant_cfg"] += [{"quantizer_name": f"{name}.*", "enable": False} for name in sorted(skipped)]

    def feed(fed: torch.nn.Module) -> None:
        for inputs in data:
            fed(*inputs.args, **inputs.kwargs)

    try:
        mtq.quantize(module, config, feed if data else None)
    except RuntimeError as error:
        if "nothing would be quantized" not in str(error):
            raise
        return Quantized(module, 0)
    layers = _used(module, model.inputs)
    return Quantized(_cast(module, dtype), layers, _lowering)


def _compile_nothing() -> None:
    """Keep the library from compiling its CUDA extensions, which takes minutes; PyTorch computes the same."""
    extensions: Any = importlib.import_module("modelopt.torch.quantization.extensions")
    for load in (extensions.get_cuda_ext, extensions.get_cuda_ext_fp8):
        load.extension = getattr(load, "extension", None)  # set once tried: it is not tried again


def _used(module: torch.nn.Module, inputs: Inputs) -> int:
    """Count layers whose weights are quantized in a call; attention may take weights past their quantizers."""
    used: set[str] = set()
    with contextlib.ExitStack() as stack:
        for name, child in module.named_modules():
            if name.endswith("weight_quantizer") and getattr(child, "is_enabled", False):
                hook = child.register_forward_hook(lambda *_, name=name: used.add(name))
                stack.callback(hook.remove)
        module(*inputs.args, **inputs.kwargs)
    return len(used)


def _cast(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Cast to `dtype` all but the ranges that scales are made of: over 448 they would leave FP16's normal numbers."""
    ranges = {name: buffer for name, buffer in module.named_buffers() if name.endswith("._amax")}
    module = module.to(dtype)
    for name, buffer in ranges.items():
        owner, _, own = name.rpartition(".")
        setattr(module.get_submodule(owner), own, buffer.float())
    return module


@contextlib.contextmanager
def _lowering() -> Iterator[None]:
    """Export quantizers as the operator that Torch-TensorRT has a converter for.

    On a CPU the library would export INT8 as several PyTorch operators. And when Torch-TensorRT folds constants, it
    would run the operator by a CUDA extension. Here both work everywhere, without the extension.
    """
    functions: Any = importlib.import_module("modelopt.torch.quantization.tensor_quant")
    utils = importlib.import_module("modelopt.torch.quantization.utils")
    spelled_out = functions._tensor_quant

    def operator(inputs: Any, amax: Any, num_bits: int = 8, unsigned: bool = False, narrow_range: bool = True) -> Any:
        return torch.ops.tensorrt.quantize_op(inputs, amax, num_bits, 0, unsigned, narrow_range)

    def kernel(inputs: Any, amax: Any, num_bits: int = 8, unsigned: bool = False, narrow_range: bool = True) -> Any:
        return spelled_out(inputs, amax, num_bits, unsigned, narrow_range)

    with contextlib.ExitStack() as stack:
        stack.enter_context(utils.export_torch_mode())
        stack.enter_context(mock.patch.object(functions, "fake_quant_impl", kernel))
        if not torch.cuda.is_available():
            stack.enter_context(mock.patch.object(functions, "_tensor_quant", operator))
        yield
