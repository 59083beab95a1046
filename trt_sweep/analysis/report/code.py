"""The code that reproduces a point without trt_sweep: imports, model, inputs and the exact call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trt_sweep.analysis.report import model_code, quantize_code, text
from trt_sweep.analysis.report.model_code import DTYPES, Row, comment, name


def source(row: Row, folder: Path | None, *, device: str | None = None, dryrun: bool = False) -> str:
    """Python source for a point of the table whose artifacts are in `folder`.

    `folder` may lack `config.json` and `compile_arguments.json`: then the record has to do, and the model is to be put
    in by hand. `device` replaces the point's own. With `dryrun` Torch-TensorRT partitions and builds nothing.
    """
    config = _read(folder, "config.json")
    place = device or ("cpu" if str(row["device"] or "").startswith("cpu") else "cuda")
    base = quantize_code.base(row)
    dtype = DTYPES.get(base, "float32")
    write = _WRITERS.get(str(row["backend"]), _unknown)
    body = write(row, _arguments(row, folder, config) | ({"dryrun": True} if dryrun else {}), config)
    modules = {"torch"} | model_code.imports(config) | quantize_code.imports(row)
    modules |= {name for name in ("inspect", "torch_tensorrt") if any(f"{name}." in line for line in body)}
    modules |= {"torch_tensorrt"} if row["backend"] == "torch_compile" else set()  # which makes the backend known
    return "\n".join(
        [
            _versions(row),
            *(f"import {module}" for module in sorted(modules)),
            "",
            *model_code.model(config, row, place, quantize_code.source_dtype(row)),
            *model_code.precision(base),
            *quantize_code.lines(row, config, place),
            "",
            *model_code.inputs(config, row, place, dtype),
            "",
            *body,
            "",
        ]
    )


def _read(folder: Path | None, file: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / file).read_text(encoding="utf-8")) if folder else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _versions(row: Row) -> str:
    columns = ("torch", "torch_tensorrt", "tensorrt", "gpu_name")
    said = [f"{column} {comment(row[column])}" for column in columns if not text.missing(row[column])]
    return "# measured with " + ", ".join(said)


def _arguments(row: Row, folder: Path | None, config: dict[str, Any]) -> dict[str, Any]:
    """What Torch-TensorRT was given, from the file that the build left, or else from the record."""
    saved = _read(folder, "compile_arguments.json")
    known = {
        "min_block_size": None if text.missing(row["min_block_size"]) else int(row["min_block_size"]),
        "optimization_level": None if text.missing(row["optimization_level"]) else int(row["optimization_level"]),
        "disable_tf32": row["precision"] != "tf32",
    }
    if not text.missing(row["runtime"]) and str(row["torch_tensorrt"]).startswith(("2.11", "2.12")):
        known["use_python_runtime"] = row["runtime"] == "python"  # gone since
    further = config.get("compile") if isinstance(config.get("compile"), dict) else {}
    values = {key: saved.get(key, value) for key, value in known.items()} | dict(further or {})
    return {key: value for key, value in values.items() if value is not None}


def _written(arguments: dict[str, Any]) -> list[str]:
    return [f"    {name(key)}={_argument(key, value)}," for key, value in arguments.items()]


def _argument(key: str, value: Any) -> str:
    """A value of `+compile.NAME`: operators and types of torch stand there as text."""
    if key == "torch_executed_ops" and all(re.fullmatch(r"[\w.]+", str(item)) for item in value):
        return "{" + ", ".join(f"torch.ops.{str(item).removeprefix('torch.ops.')}" for item in value) + "}"
    if isinstance(value, str) and value in ("float32", "float16", "bfloat16"):
        return f"torch.{value}"
    return repr(value)


def _exported(row: Row, config: dict[str, Any]) -> list[str]:
    """torch.export, with one `Dim` where the point has a range of sizes."""
    if text.missing(row["dynamic_range"]):
        return ["program = torch.export.export(model, args, kwargs)"]
    least, _, most = (int(size) for size in str(row["dynamic_range"]).split(":"))
    model = config.get("model")
    shapes, position = [], 0
    for spec in model.get("inputs", []) if isinstance(model, dict) else []:
        sizes = [config.get("batch_size"), *spec["shape"]] if spec.get("batched", True) else spec["shape"]
        ranges = ", ".join(f"{axis}: size" for axis, length in enumerate(sizes) if isinstance(length, list))
        key = f"names[{position}]" if spec.get("name") is None else repr(str(spec["name"]))
        position += spec.get("name") is None
        shapes.append(f"{key}: {{{ranges}}}")
    return [
        "names = list(inspect.signature(model.forward).parameters)",
        f"size = torch.export.Dim('size', min={least}, max={most})",
        f"shapes = {{{', '.join(shapes)}}}",
        "program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes)",
    ]


def _graphs(row: Row) -> list[str]:
    """The call, within Torch-TensorRT's switch for CUDA graphs where the point has them."""
    if not text.missing(row["cuda_graphs"]) and bool(row["cuda_graphs"]):
        return [
            "with torch_tensorrt.runtime.enable_cudagraphs(compiled) as replayed:",
            "    output = replayed(*args, **kwargs)",
        ]
    return ["output = compiled(*args, **kwargs)"]


def _dynamo(row: Row, arguments: dict[str, Any], config: dict[str, Any]) -> list[str]:
    passed = _written(arguments)
    call = [
        "compiled = torch_tensorrt.dynamo.compile(",
        "    program,",
        "    arg_inputs=args,",
        "    kwarg_inputs=kwargs,",
    ]
    built = [*_exported(row, config), *call, *passed, ")"]
    if row["quantization_method"] in quantize_code.MODELOPT:
        built = [quantize_code.LOWERING, *(f"    {line}" for line in built)]
    return [*built, *_graphs(row)]


def _torch_compile(row: Row, arguments: dict[str, Any], _: dict[str, Any]) -> list[str]:
    options = ", ".join(f"{key!r}: {_argument(key, value)}" for key, value in arguments.items())
    dynamic = "" if text.missing(row["dynamic_range"]) else ", dynamic=True"
    compiled = f"compiled = torch.compile(model, backend='torch_tensorrt', options=options{dynamic})"
    return [f"options = {{{options}}}", compiled, *_graphs(row)]


def _eager(row: Row, _: dict[str, Any], __: dict[str, Any]) -> list[str]:
    lines = ["torch.backends.cudnn.benchmark = True", *_channels_last()]
    return [*lines, *_captured(row), "with torch.inference_mode():", "    output = model(*args, **kwargs)"]


def _channels_last() -> list[str]:
    return [
        "model = model.to(memory_format=torch.channels_last)",
        "args = tuple(a.contiguous(memory_format=torch.channels_last) if a.dim() == 4 else a for a in args)",
    ]


def _captured(row: Row) -> list[str]:
    said = "# cuda_graphs=true: capture the call by torch.cuda.graph, and copy inputs into the captured ones"
    return [said] if not text.missing(row["cuda_graphs"]) and bool(row["cuda_graphs"]) else []


def _jit(row: Row, _: dict[str, Any], __: dict[str, Any]) -> list[str]:
    made = "torch.jit.script(model)" if row["mode"] == "script" else "torch.jit.trace(model, args, check_trace=False)"
    call = ["with torch.inference_mode():", "    output = compiled(*args, **kwargs)"]
    return [*_channels_last(), f"compiled = torch.jit.freeze({made})", *_captured(row), *call]


def _inductor(row: Row, _: dict[str, Any], __: dict[str, Any]) -> list[str]:
    mode = "" if row["mode"] in (None, "default") else f", mode={str(row['mode'])!r}"
    dynamic = "" if text.missing(row["dynamic_range"]) else ", dynamic=True"
    call = ["with torch.inference_mode():", "    output = compiled(*args, **kwargs)"]
    return [f"compiled = torch.compile(model{mode}{dynamic})", *call]


def _aot_inductor(row: Row, _: dict[str, Any], config: dict[str, Any]) -> list[str]:
    call = [
        "package = torch._inductor.aoti_compile_and_package(program)",
        "compiled = torch._inductor.aoti_load_package(package)",
    ]
    return [*_exported(row, config), *call, "output = compiled(*args, **kwargs)"]


def _torchscript(row: Row, arguments: dict[str, Any], _: dict[str, Any]) -> list[str]:
    made = "torch.jit.script(model)" if row["mode"] == "script" else "torch.jit.trace(model, args, check_trace=False)"
    unknown = ("optimization_level", "use_python_runtime")
    passed = _written({key: value for key, value in arguments.items() if key not in unknown})
    dtype = DTYPES.get(quantize_code.base(row), "float32")
    inputs = "    inputs=[torch_tensorrt.Input(tuple(a.shape), dtype=a.dtype) for a in args],"
    call = [
        f"compiled = torch_tensorrt.ts.compile({made},",
        inputs,
        f"    enabled_precisions={{torch.{dtype}}},",
        *passed,
        ")",
    ]
    return [*call, *_graphs(row)]


def _onnx(row: Row, _: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Export, and in words the build by the tool that ships with TensorRT; RTX ignores what the flags say."""
    tool = "tensorrt_rtx" if row["tensorrt_flavor"] == "rtx" else "trtexec"
    level = tf32 = ""
    if tool == "trtexec":
        level = "" if text.missing(row["optimization_level"]) else str(int(row["optimization_level"]))
        level = f" --builderOptimizationLevel={level}" if level else ""
        tf32 = "" if row["precision"] == "tf32" else " --noTF32"
    return [
        *_exported(row, config),
        "torch.onnx.export(program, dynamo=True).save('model.onnx', external_data=True)",
        f"# then, without PyTorch: {tool} --onnx=model.onnx --saveEngine=model.engine{level}{tf32}",
        "# or tensorrt.OnnxParser and Builder.build_serialized_network, as trt_sweep/tensorrt_engine.py does",
    ]


def _unknown(row: Row, _: dict[str, Any], __: dict[str, Any]) -> list[str]:
    return [f"# backend={comment(row['backend'])}: no code is known for it; trt_sweep/backends has what was run"]


_WRITERS: dict[str, Callable[[Row, dict[str, Any], dict[str, Any]], list[str]]] = {
    "dynamo": _dynamo,
    "torch_compile": _torch_compile,
    "torchscript": _torchscript,
    "eager": _eager,
    "jit": _jit,
    "inductor": _inductor,
    "aot_inductor": _aot_inductor,
    "onnx": _onnx,
}
