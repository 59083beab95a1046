"""Read from TensorRT's names what a layer is: its nodes and PyTorch modules, what it does, in which precision.

Torch-TensorRT calls a layer of its network `[KIND]-[op]-[module.path/node]`; what becomes of that in an engine:

- A layer's own name is that of one of the nodes fused into it, or tells kinds of operations only
  (`__myl_CorrMulAddRelu_myl0_3`). `Metadata` holds names of nodes likewise, or `[ONNX Layer: node]`, one for each.
- A tensor `…_output.1_myl0` holds what its node gives: the layer that writes it ends with that node. So does one that
  writes its part of a concatenation.
- A tensor with a running number, `…_output.1_2_myl0`, is an argument that Myelin named after the result of the first
  layer that *reads* it. In resnet18's engine what conv1 writes is called after the max pooling behind it.
- A copy that standard TensorRT puts before a layer is named after that layer, whose work it does not do.

The rule for tensors was found in engines of TensorRT-RTX 1.4 and holds for all of the ONNX engine in tests/data/layers,
whose Metadata says independently what each layer is. What has no such evidence is not guessed: most fused layers of a
Torch-TensorRT engine name no module, and those that do may do more than they name. Standard TensorRT's forms are
written from reading (its documentation, and NVIDIA's engine explorer in github.com/NVIDIA/TensorRT), not from running.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trt_sweep.errors import printable

_NODE = r"\[\w+\]-\[[^\[\]]*\]-\[((?:[^\[\]]|\[[^\[\]]*\])*)\]"  # torch.compile's paths hold brackets: L['self'].conv1
NODE = re.compile(_NODE)
TENSOR = re.compile(_NODE + r"_\w+?(?:\.\d+(?P<number>_\d+)?_myl\d+)?")
ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
KIND = re.compile(r"\[(\w+)\]-\[[^\[\]]*\]-\[")
MYELIN = re.compile(r"_myl\d+_\d+$")

SYNC = ("signal", "wait")  # types of layers that hold no work: one stream waits for another
COPY = "Reformatting CopyNode"
# What only moves or converts data: operations in RTX's names, LayerTypes of standard TensorRT, kinds of network layers.
MOVING_OPERATIONS = {"Move", "Tran", "Resh", "Slic", "Conc", "Cast", "Pad"}
MOVING_TYPES = {"Reformat", "Shuffle", "NoOp", "Slice", "Concatenation", "Cast", "Identity", "Padding", "Constant"}
MOVING_KINDS = {"SHUFFLE", "SLICE", "CONCATENATION", "CAST", "IDENTITY", "PADDING"}

# The first that matches; RTX writes one word ("Half"), standard TensorRT a sentence ("Row major linear FP32").
PRECISIONS = {
    "bf16": re.compile(r"bfloat16|bf16", re.IGNORECASE),
    "fp16": re.compile(r"half|fp16|float16", re.IGNORECASE),
    "fp8": re.compile(r"fp8|float8|e4m3|e5m2", re.IGNORECASE),
    "fp4": re.compile(r"fp4|float4|e2m1", re.IGNORECASE),
    "fp64": re.compile(r"double|fp64", re.IGNORECASE),
    "fp32": re.compile(r"float|fp32", re.IGNORECASE),
    "int8": re.compile(r"\bint8", re.IGNORECASE),
    "int4": re.compile(r"\bint4", re.IGNORECASE),
}


def module(node: str) -> str | None:
    """Return the module path of a node `module.path/node`; null for one of the model's own forward, or without a path.

    Older versions of Torch-TensorRT wrote `/module/path/node`; torch.compile begins paths with `L['self']`.
    """
    path = node.strip("/").rpartition("/")[0].replace("/", ".")
    return path.removeprefix("L['self']").lstrip(".") or None


def nodes(layers: Sequence[Mapping[str, Any]], onnx_modules: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Return the nodes known to be behind each layer of one engine, with their modules; layers in execution order."""
    found: list[dict[str, str | None]] = [{} for _ in layers]
    read = set()
    for layer, behind in zip(layers, found, strict=True):
        texts = [str(layer.get("Metadata") or "")]
        if not layer["Name"].startswith(COPY):
            texts.insert(0, layer["Name"])
        for text in texts:
            behind.update((node, module(node)) for node in NODE.findall(text))
            behind.update((node, onnx_modules.get(node)) for node in ONNX_NODE.findall(text))
        tensors = [TENSOR.fullmatch(tensor["Name"]) for tensor in layer.get("Outputs", [])]
        evident = [tensor for tensor in tensors if tensor and not tensor["number"]]
        for tensor in layer.get("Inputs", []):
            named = TENSOR.fullmatch(tensor["Name"])
            if named and named["number"] and tensor["Name"] not in read:
                evident.append(named)
            read.add(tensor["Name"])
        behind.update((tensor[1], module(tensor[1])) for tensor in evident)
    return found


def operations(name: str) -> list[str]:
    """Return the operations that Myelin writes into the name of a layer: `__myl_MoveConc_myl0_0` does Move and Conc."""
    found = re.match(r"__myl_([A-Za-z0-9]+)_myl\d+", name)
    return re.findall(r"[A-Z][a-z0-9]*", found[1]) if found else []


def moves(name: str, layer_type: str) -> bool:
    """Tell whether a layer only moves or converts data; an operation that is not known counts as arithmetic."""
    if done := operations(name):
        return MOVING_OPERATIONS.issuperset(done)
    kinds = KIND.findall(name)
    return layer_type in MOVING_TYPES or (bool(kinds) and MOVING_KINDS.issuperset(kinds))


def precision(inputs: Sequence[str], outputs: Sequence[str]) -> str | None:
    """Return the type that a layer computes in, as its tensors' formats tell: `fp16`, or `fp16→fp32` where they differ.

    Integers that are indices or masks do not count; null where nothing else is known. A fused layer may compute parts
    of its work more precisely than what it reads and writes, and RTX says Float for TF32 as well.
    """
    sides = []
    for formats in (inputs, outputs):
        known = {next((name for name, form in PRECISIONS.items() if form.search(text)), None) for text in formats}
        sides.append("+".join(sorted(name for name in known if name)))
    return "→".join(dict.fromkeys(side for side in sides if side)) or None


def shown(name: str, width: int) -> str:
    """Return a name for people: nodes without their kind, no control characters, shortened in the middle to `width`."""
    text = MYELIN.sub("", NODE.sub(lambda found: found[1], name)).removeprefix("__myl_")
    text = printable(text) or "–"
    if len(text) <= width:
        return text
    tail = (width - 1) * 3 // 5  # the end tells more: the last module and the node
    return text[: width - 1 - tail] + "…" + text[len(text) - tail :]
