"""Save a built point as a file to deploy, with a loader that needs no trt_sweep."""

from __future__ import annotations

import contextlib
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trt_sweep import backends
from trt_sweep.backends import reproduction
from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.backends.torchtrt import building
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.measure.accuracy import Reference
from trt_sweep.models import tracing
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model, float32_mode
from trt_sweep.models.reproduction import precision
from trt_sweep.points.prepared import PreparedModel

INPUTS, OUTPUTS, LOADER = "inputs.pt", "outputs.pt", "load.py"
FILES = {"exported_program": "model.pt2", "aot_inductor": "model.package.pt2", "engine": "model.engine"}
# Which backends have something to save in a form.
TAKEN = {
    "exported_program": ("dynamo", "eager"),
    "aot_inductor": ("dynamo", "aot_inductor", "eager"),
    "engine": ("dynamo",),
}
LOADS = {
    "exported_program": "model = torch.export.load('model.pt2').module()",
    "aot_inductor": "model = torch._inductor.aoti_load_package('model.package.pt2')",
}
LOADER_TEXT = """\
'''Load the model and call it: python {loader}. {about}'''
import json, time
import {imports}

{precision}start = time.perf_counter()
{load}
loaded = time.perf_counter()
args, kwargs = torch.load('{inputs}', map_location='{device}')
with torch.inference_mode(){context}:
    output = {called}(*args, **kwargs)
{synchronize}print(json.dumps({{'load_s': loaded - start, 'first_call_ms': (time.perf_counter() - loaded) * 1e3}}))
torch.save(torch.utils._pytree.tree_leaves(output), '{outputs}')
"""
# An engine of one input tensor after another, as TensorRT's own API takes it.
ENGINE = """\
runtime = trt.Runtime(trt.Logger())
engine = runtime.deserialize_cuda_engine(open('model.engine', 'rb').read())
execution = engine.create_execution_context()
names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
into = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]

def model(*args):
    results = []
    for name, tensor in zip(into, args, strict=True):
        execution.set_input_shape(name, tuple(tensor.shape))
        execution.set_tensor_address(name, tensor.data_ptr())
    for name in (name for name in names if name not in into):
        dtype = getattr(torch, {'FLOAT': 'float32', 'HALF': 'float16', 'BF16': 'bfloat16', 'INT64': 'int64',
                                'INT32': 'int32', 'BOOL': 'bool'}[engine.get_tensor_dtype(name).name])
        results.append(torch.empty(tuple(execution.get_tensor_shape(name)), dtype=dtype, device='cuda'))
        execution.set_tensor_address(name, results[-1].data_ptr())
    if not execution.execute_async_v3(torch.cuda.current_stream().cuda_stream):
        raise RuntimeError('TensorRT could not run the engine: what it logged says why')
    torch.cuda.current_stream().synchronize()
    return results"""


@dataclass(frozen=True)
class Saved:
    """Hold what was saved: its path, the seconds that took, the outputs of the build and those of the FP32 model."""

    path: Path
    save_s: float
    outputs: Any
    reference: Reference


def require_possible(config: PointConfig, form: str) -> None:
    """Raise SweepError where a point has nothing to save in this form."""
    if config.dryrun:
        raise SweepError(f"--format={form} is not allowed: the point was planned only; run it where there is a GPU")
    if config.backend not in TAKEN[form]:
        forms = [name for name, taken in TAKEN.items() if config.backend in taken]
        instead = f"use --format {' or '.join(forms)}" if forms else f"give a point of {' or '.join(TAKEN[form])}"
        raise SweepError(f"--format={form} is not allowed: backend={config.backend} has nothing of the kind; {instead}")


def save(config: PointConfig, device: torch.device, out: Path, form: str, row: dict[str, Any]) -> Saved:
    """Build the point anew and save it into `out`, with its inputs and a loader; `row` is its record.

    Raise Unsupported for an engine that is not the whole model, and what a build raises.
    """
    cache = ProcessCache()
    with contextlib.ExitStack() as stack:
        source = PreparedModel(config, device, cache)
        model, reference = source.model(), source.beside_eager("reference")
        if config.quantized:
            model, _ = source.quantized("quantization")
        context = BuildContext(config, device, out, lambda _: None, lambda _: None, stack, cache)
        with float32_mode(config.precision):
            compiled = backends.get(config.backend).compile(model, context)
            cast = model.to(context.dtype)
            assert compiled.bind is not None
            with compiled.running(), torch.no_grad():
                outputs = compiled.bind(model.inputs)()
            start = time.perf_counter()
            path = out / FILES[form]
            _write(compiled, cast, path, form, tensorrt=backends.get(config.backend).TENSORRT)
            save_s = time.perf_counter() - start
        torch.save((cast.inputs.args, cast.inputs.kwargs), out / INPUTS)
        (out / LOADER).write_text(loader(config, device, form, row), encoding="utf-8")
        return Saved(path, save_s, outputs, reference)


def _write(compiled: Compiled, model: Model, path: Path, form: str, *, tensorrt: bool) -> None:
    if form == "engine":
        path.write_bytes(_engine(compiled))
    elif tensorrt:
        torch_tensorrt = importlib.import_module("torch_tensorrt")
        inputs = {"arg_inputs": [*model.inputs.args], "kwarg_inputs": dict(model.inputs.kwargs)}
        torch_tensorrt.save(compiled.module, str(path), output_format=form, **inputs)
    elif form == "exported_program":
        torch.export.save(tracing.export(model), path)
    else:
        torch._inductor.aoti_compile_and_package(tracing.export(model), package_path=str(path))


def _engine(compiled: Compiled) -> bytes:
    """Return the engine of a model that is one engine and nothing else; raise Unsupported for others."""
    assert compiled.module is not None
    engines, left = building.serialized([compiled.module]), compiled.partition.fallback_ops or 0
    if len(engines) != 1 or left:
        raise Unsupported(
            f"--format=engine needs a model that is one engine; this one is {len(engines)}, with {left} operators "
            "in PyTorch: use --format exported_program"
        )
    return engines[0]


def loader(config: PointConfig, device: torch.device, form: str, row: dict[str, Any]) -> str:
    """Return a program that loads what was saved, calls it with its inputs and tells how long that took."""
    cuda = device.type == "cuda"
    tensorrt = backends.get(config.backend).TENSORRT
    imports = ["torch"]
    if form == "engine":
        imports.append(f"tensorrt{'_rtx' if row['tensorrt_flavor'] == 'rtx' else ''} as trt")
    elif tensorrt:
        imports.append("torch_tensorrt")
    called = row if tensorrt and form != "engine" else row | {"cuda_graphs": False}
    context = reproduction.context(called, device.type, "model")
    versions = [
        f"{name} {row[name]}" for name in ("torch", "torch_tensorrt", "tensorrt") if tensorrt or name == "torch"
    ]
    where = [f"on {row['gpu_name']}"] if cuda else ["on a CPU"]
    return LOADER_TEXT.format(
        loader=LOADER,
        about=" ".join([f"It needs {', '.join(versions)}", *where]) + ".",
        imports=", ".join(imports),
        load=ENGINE if form == "engine" else LOADS[form],
        precision="".join(f"{line}\n" for line in precision(row)) if cuda else "",
        inputs=INPUTS,
        outputs=OUTPUTS,
        device="cuda" if cuda else "cpu",
        context="".join(f", {one}" for one in context),
        called="replayed" if any("replayed" in one for one in context) else "model",
        synchronize="torch.cuda.synchronize()\n" if cuda else "",
    )


def restored(leaves: list[Any], like: Any) -> Any:
    """Return the leaves that a loader has left in the structure of `like`, without gradients."""
    return pytree.tree_unflatten(leaves, pytree.tree_structure(like))
