"""Turn a module into a graph by torch.export or TorchScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo.config
import torch._dynamo.utils
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.utils import _pytree as pytree

from trt_sweep.errors import one_line
from trt_sweep.models.model import Model


def export(model: Model) -> torch.export.ExportedProgram:
    """Export the model by `torch.export.export`, with one `Dim` for each dynamic dimension wherever it occurs.

    Errors of torch.export pass through, with its advice, for a module whose sizes cannot vary so.
    """
    args, kwargs = model.inputs.args, model.inputs.kwargs
    shapes = torch.export.ShapesCollection()
    dims: dict[str, Any] = {}
    for key, axes in model.dynamic.items():
        named = {
            axis: dims.setdefault(each.name, torch.export.Dim(each.name, min=each.min, max=each.max))
            for axis, each in axes.items()
        }
        shapes[args[key] if isinstance(key, int) else kwargs[key]] = named
    with model.lowering():
        return torch.export.export(model.module, args, kwargs, dynamic_shapes=shapes if dims else None)


def tensors_only(program: torch.export.ExportedProgram) -> Callable[[Any], Any] | None:
    """Take None, numbers and texts out of a program's outputs; return a function that puts them back, or None.

    What runs engines gives tensors only. What is taken out is put back as it was when the module was exported. None is
    returned where there is nothing of the kind.
    """
    specs, output = program.graph_signature.output_specs, program.graph.output_node()
    given = [spec for spec in specs if spec.kind == OutputKind.USER_OUTPUT]
    taken = {number: spec.arg.value for number, spec in enumerate(given) if isinstance(spec.arg, ConstantArgument)}
    signature = program.module_call_graph[0].signature
    if not taken or signature is None:
        return None
    structure = signature.out_spec
    kept = [pair for pair in zip(specs, output.args[0], strict=True) if not isinstance(pair[0].arg, ConstantArgument)]
    specs[:] = [spec for spec, _ in kept]
    output.args = (tuple(value for _, value in kept),)
    signature.out_spec = pytree.tree_structure([0] * (len(given) - len(taken)))
    program.graph_module.recompile()

    def whole(outputs: Any) -> Any:
        tensors = iter(pytree.tree_leaves(outputs))
        leaves = [taken[number] if number in taken else next(tensors) for number in range(len(given))]
        return pytree.tree_unflatten(leaves, structure)

    return whole


class _ByPosition(torch.nn.Module):
    """Call a module with its keyword inputs by position, behind the others: tracing takes no keywords."""

    def __init__(self, module: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *tensors: torch.Tensor) -> Any:
        split = len(tensors) - len(self.names)
        return self.module(*tensors[:split], **dict(zip(self.names, tensors[split:], strict=True)))


def by_position(model: Model) -> Model:
    """Return the model with all its inputs by position, those by keyword behind the others."""
    names, first = list(model.inputs.kwargs), len(model.inputs.args)
    dynamic: dict[int | str, Any] = {
        key if isinstance(key, int) else first + names.index(key): axes for key, axes in model.dynamic.items()
    }
    return Model(_ByPosition(model.module, names).eval(), model.inputs.by_position(), dynamic)


def torchscript(model: Model, mode: str) -> torch.jit.ScriptModule:
    """Return the module by `torch.jit.script` if `mode` is script, else by `torch.jit.trace`.

    A trace takes inputs by position only, see `by_position`. Raises RuntimeError where script fails.
    """
    if mode == "script":
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(model.module)
        except Exception as error:
            raise RuntimeError(
                f"torch.jit.script cannot take this module, torchscript.mode=trace may: {one_line(error, 300)}"
            ) from error
        return scripted
    traced: torch.jit.ScriptModule = torch.jit.trace(model.module, model.inputs.args, check_trace=False, strict=False)
    return traced
