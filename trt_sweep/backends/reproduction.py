"""Write the Python source that repeats a point without trt_sweep: imports, model, inputs and the exact call.

The call is the template REPRODUCTION in the file of the backend, beside what the sweep runs. `source` fills it in:
- `$export` makes `program`
- `$arguments` are the compiler's arguments after the first, `$options` the same as items of a dict, `$legacy_arguments`
  TorchScript's. What is the library's default, or has no effect, is left out
- `$call` calls `compiled` on a stream of its own, under Torch-TensorRT's CUDA graphs where the point has them
- `$stream` is the same stream as a further item of a `with`; `$kwargs` passes keyword arguments where there are some
- `$autocast` is torch's autocast, likewise
- `$capture` is a comment about CUDA graphs, and `$channels_last` lays out `model` and `args`
- `$torchscript` makes a TorchScript module. `$by_position` has the inputs by position where it is a trace, and
  `$traced_kwargs` is `$kwargs` where it is none
- `$mode` and `$dynamic` are arguments of torch.compile, `$autotune` is one of AOTInductor
- `$tool` and `$flags` are for a build without PyTorch
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.backends import paths
from trt_sweep.config.groups import AUTOCAST
from trt_sweep.config.point import SPECIALIZATION
from trt_sweep.machine import versions
from trt_sweep.models import reproduction, reproduction_inputs
from trt_sweep.models.reproduction import DTYPES, Point, comment, fill, name
from trt_sweep.results.files import read_json

NOT_LEGACY = ("optimization_level", "use_python_runtime")  # what the TorchScript frontend does not take
TWO_RUNTIMES = ("2.11", "2.12")  # later versions have one, and settings of it that are no compilation arguments
STREAM = "torch.cuda.stream(torch.cuda.Stream())"  # TensorRT synchronizes more on the default one
BY_POSITION = [
    "class ByPosition(torch.nn.Module):  # a trace takes no inputs by name",
    "    def __init__(self):",
    "        super().__init__()",
    "        self.model = model",
    "    def forward(self, *args):",
    "        first = len(args) - len(kwargs)",
    "        return self.model(*args[:first], **dict(zip(kwargs, args[first:])))",
    "model, args = ByPosition().eval(), (*args, *kwargs.values())",
]
CHANNELS_LAST = [
    "model = model.to(memory_format=torch.channels_last)",
    "args = tuple(a.contiguous(memory_format=torch.channels_last) if a.dim() == 4 else a for a in args)",
]


def source(row: Mapping[Any, Any], folder: Path | None, *, device: str | None = None, dryrun: bool = False) -> str:
    """Return Python source for a point of the table whose artifacts are in `folder`.

    `folder` may lack `config.json` and `compile_arguments.json`, or they may be damaged: then the record has to do, and
    the model is to be put in by hand. `device` replaces the point's own. With `dryrun` Torch-TensorRT partitions and
    builds nothing.
    """
    try:
        return _source(row, folder, _read(folder, "config.json"), device, dryrun)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration, RecursionError):
        return _source(row, None, {}, device, dryrun)


def _source(
    row: Mapping[Any, Any], folder: Path | None, config: dict[str, Any], device: str | None, dryrun: bool
) -> str:
    point = {key: None if _null(value) else value for key, value in row.items()}
    place = device or ("cpu" if str(point["device"] or "").startswith("cpu") else "cuda")
    arguments = _arguments(point, folder, config) | ({"dryrun": True} if dryrun else {})
    found = [*reproduction.lines(config, point, place), *_call(point, arguments, config, place)]
    imports = {line.strip().removeprefix("import ") for line in found if line.lstrip().startswith("import ")}
    body = [line for line in found if not line.lstrip().startswith("import ")]
    return "\n".join([*_versions(point), f"import {', '.join(sorted({'torch', *imports}))}", "", *body, ""])


def _null(value: object) -> bool:
    return not isinstance(value, list | dict) and bool(pd.isna(value))  # type: ignore[call-overload]


def _read(folder: Path | None, file: str) -> dict[str, Any]:
    try:
        content = read_json(folder / file) if folder else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _versions(point: Point) -> list[str]:
    columns = ("torch", "torch_tensorrt", "tensorrt")
    said = [f"{column} {comment(point[column])}" for column in columns if point[column] is not None]
    where = "" if point["gpu_name"] is None else f" on {comment(point['gpu_name'])}"
    own, library = str(point["torch_tensorrt"]), _library(point)
    other = [f"# and written for torch_tensorrt {comment(library)}, which is installed here"]
    if point["runtime"] == "python" and not library.startswith(TWO_RUNTIMES):
        other.append(
            "# it was timed in the Python runtime, which this version has not: another latency is to be expected"
        )
    found = [f"# timed{where} with {', '.join(said)}", *(other if point["torch_tensorrt"] and own != library else [])]
    return [*found, *_load(point)]


def _load(point: Point) -> list[str]:
    """Say what the point was timed with that the code does not show."""
    found = []
    if (point.get("streams") or 1) > 1:
        found.append(
            f"# and while {int(point['streams'])} threads called at the same time, each on a stream and with an "
            "execution context of its own: here one calls"
        )
    if point.get("transfers"):
        found.append("# and each call copied its inputs from pinned memory of the host, and its outputs back: not here")
    return found


def _library(point: Point) -> str:
    """Return the version of Torch-TensorRT that the code is for: the one installed here, or else the record's."""
    return versions.torch_tensorrt_version() or str(point["torch_tensorrt"])


def _arguments(point: Point, folder: Path | None, config: dict[str, Any]) -> dict[str, Any]:
    """Return what Torch-TensorRT was given, from the file that the build left, or else from the record.

    Its defaults are left out, and what it ignores.
    """
    known = {key: None if point[key] is None else int(point[key]) for key in ("min_block_size", "optimization_level")}
    precision = reproduction.base_precision(point)
    if precision == "fp32" or precision in AUTOCAST:
        known["disable_tf32"] = True
    saved = _read(folder, "compile_arguments.json")
    values = {key: saved.get(key, value) for key, value in known.items()}
    if _library(point).startswith(TWO_RUNTIMES):
        values |= {"use_python_runtime": True if point["runtime"] == "python" else None}
        values |= {SPECIALIZATION: point[SPECIALIZATION]}
    if precision in AUTOCAST:
        values |= {"enable_autocast": True, "autocast_low_precision_type": DTYPES[AUTOCAST[precision]]}
    further = config.get("compile") if isinstance(config.get("compile"), dict) else {}
    values |= dict(further or {})
    excluded, by_value = saved.get("autocast_excluded_nodes"), "autocast_calibration_dataloader"
    if precision in AUTOCAST and isinstance(excluded, list):
        values["autocast_excluded_nodes"] = excluded
    if precision in AUTOCAST and saved.get(by_value):
        values[by_value] = "[(*args, *kwargs.values())]" if reproduction.has_keywords(config, point) else "[args]"
    ignored = {str(one).removeprefix("compile.") for one in point["ignored_axes"] or []}
    defaults = {"min_block_size": point["default_min_block_size"], "optimization_level": 3}
    return {
        key: value
        for key, value in values.items()
        if value is not None and key not in ignored and not (key in defaults and value == defaults[key])
    }


def _argument(key: str, value: Any) -> str:
    """Return a value of `+compile.NAME` as Python: operators and types of torch stand in the configuration as text."""
    if key == "torch_executed_ops" and all(re.fullmatch(r"[\w.]+", str(item)) for item in value):
        return "{" + ", ".join(f"torch.ops.{str(item).removeprefix('torch.ops.')}" for item in value) + "}"
    if key == "autocast_calibration_dataloader":
        return str(value)
    if isinstance(value, str) and value in ("float32", "float16", "bfloat16"):
        return f"torch.{value}"
    return repr(value)


def _written(arguments: dict[str, Any]) -> str:
    return "".join(f", {name(key)}={_argument(key, value)}" for key, value in arguments.items())


def _autocast(point: Point, device: str) -> str:
    """Return torch's autocast as a further item of a `with`, where the point has it."""
    low = AUTOCAST.get(reproduction.base_precision(point))
    return "" if low is None else f", torch.autocast({device!r}, torch.{DTYPES[low]})"


def _export(point: Point, config: dict[str, Any]) -> list[str]:
    """Make `program` by torch.export, with a `Dim` for each range of sizes that the point has."""
    if point["dynamic_range"] is None:
        return [f"program = torch.export.export(model, args{', kwargs' * reproduction.has_keywords(config, point)})"]
    model = config.get("model")
    specs = model.get("inputs") or [] if isinstance(model, dict) else []
    found = reproduction_inputs.shapes(specs, reproduction.batch_size(config, point))
    keywords = ", kwargs" * reproduction.has_keywords(config, point)
    return [*found, f"program = torch.export.export(model, args{keywords}, dynamic_shapes=shapes)"]


def _flags(point: Point) -> str:
    """Return the flags of trtexec for the point; TensorRT-RTX ignores what they say, so there are none for it."""
    if point["tensorrt_flavor"] == "rtx":
        return ""
    level = point["optimization_level"]
    said = [] if level is None else [f" --builderOptimizationLevel={int(level)}"]
    return "".join([*said, *([] if point["precision"] == "tf32" else [" --noTF32"])])


def context(point: Point, device: str, compiled: str = "compiled") -> list[str]:
    """Return the items of the `with` in which the point was called; `compiled` names what is called."""
    library = _library(point)
    found = [STREAM] if device == "cuda" else []
    old = library.startswith(TWO_RUNTIMES)
    if point[SPECIALIZATION] is not None and not old and point["backend"] != "torch_compile":  # it has no engine yet
        found.append(f"torch_tensorrt.runtime.runtime_config({compiled}, {SPECIALIZATION}={point[SPECIALIZATION]!r})")
    if point["cuda_graphs"]:
        rtx = (versions.flavor() or point["tensorrt_flavor"]) == "rtx" and not old
        # What torch.compile hands out has no engine before its first call, and takes RTX's own then.
        native = rtx and point["cuda_graphs_method"] != "torch_tensorrt_module" and point["backend"] != "torch_compile"
        how = ", cuda_graph_strategy='whole_graph_capture'" if native else ""
        found.append(f"torch_tensorrt.runtime.enable_cudagraphs({compiled}{how}) as replayed")
    return found


def _call(point: Point, arguments: dict[str, Any], config: dict[str, Any], device: str) -> list[str]:
    """Return the template of the point's backend, filled in; a comment where the backend has none."""
    backend = str(point["backend"])
    template = reproduction.constant(Path(paths.__path__[0]), backend, "REPRODUCTION")
    if template is None:
        return [f"# backend={comment(backend)}: no code is known for it; trt_sweep/backends has what was run"]
    keywords = reproduction.has_keywords(config, point)
    kwargs = ", **kwargs" if keywords else ""
    traced = point["mode"] != "script"
    trace = "torch.jit.trace(model, args, check_trace=False, strict=False)"
    by_position = traced and keywords and backend in ("jit", "torchscript")
    captured = "# cuda_graphs=true: capture the call by torch.cuda.graph, and copy inputs into the captured ones"
    within = context(point, device)
    called = f"output = {'replayed' if point['cuda_graphs'] else 'compiled'}(*args{kwargs})"
    values: dict[str, str | list[str] | None] = {
        "export": _export(point, config),
        "arguments": _written(arguments),
        "legacy_arguments": _written({key: value for key, value in arguments.items() if key not in NOT_LEGACY}),
        "options": ", ".join(f"{key!r}: {_argument(key, value)}" for key, value in arguments.items()),
        "dtype": reproduction.dtype(point),
        "torchscript": trace if traced else "torch.jit.script(model)",
        "by_position": BY_POSITION if by_position else [],
        "traced_kwargs": "" if by_position else kwargs,
        "autotune": ", inductor_configs={'max_autotune': True}" * str(point["mode"]).startswith("max-autotune"),
        "mode": "" if point["mode"] in (None, "default") else f", mode={str(point['mode'])!r}",
        "dynamic": "" if point["dynamic_range"] is None else ", dynamic=True",
        "channels_last": [] if reproduction.quantized(point) else CHANNELS_LAST,
        "capture": captured if point["cuda_graphs"] else None,
        "tool": "tensorrt_rtx" if point["tensorrt_flavor"] == "rtx" else "trtexec",
        "flags": _flags(point),
        "kwargs": kwargs,
        "autocast": _autocast(point, device),
        "kwarg_inputs": ", kwarg_inputs=kwargs" if keywords else "",
        "stream": f", {STREAM}" if device == "cuda" else "",
        "call": [f"with {', '.join(within)}:", f"    {called}"] if within else [called],
    }
    build, call, _ = template.partition("$call")
    lowering = reproduction.lowering(point)
    if lowering is not None and "$export" in build and call:
        return [lowering, *(f"    {line}" for line in fill(build, values)), *fill(call, values)]
    return fill(template, values)
