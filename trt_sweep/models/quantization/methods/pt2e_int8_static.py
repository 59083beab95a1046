"""Quantize an exported graph by PyTorch's PT2E and its x86 quantizer: INT8 weights by channel, and activations."""

from __future__ import annotations

import importlib

import torch

from trt_sweep.errors import Unsupported, one_line
from trt_sweep.models import tracing
from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.quantization import Quantized

PRECISION = "int8"
PACKAGES = ("torchao",)
CALIBRATES = True
ONE_SIZE = True  # the exported graph has a fixed size
DEQUANTIZED_WEIGHT = "dequantize_per_channel"


def quantize(model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
    """Export the model in `dtype`, calibrate it and convert it; the result is a graph.

    Raises Unsupported where the quantizer does not fit the graph.
    """
    flow = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    x86 = importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    cast = model.to(dtype)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    for name in sorted(skipped):
        quantizer.set_module_name_qconfig(name, None)
    exported = tracing.export(cast).module()
    try:
        graph = flow.prepare_pt2e(exported, quantizer)
    except ValueError as error:  # some graphs do not fit its patterns, such as convolution, sum and activation
        raise Unsupported(f"quantization.method=pt2e_int8_static: torchao's quantizer: {one_line(error)}") from error
    for inputs in data:
        own = inputs.to(dtype)
        graph(*own.args, **own.kwargs)
    graph = flow.convert_pt2e(graph)
    layers = sum(DEQUANTIZED_WEIGHT in str(node.target) for node in graph.graph.nodes)
    return Quantized(graph, layers)
