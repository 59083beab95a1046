"""Write the Python lines that make a point's model and inputs again, without trt_sweep.

They are made from the configuration beside the point's record. Nothing here imports torch: a report writes such lines
for each thing that it recommends. For that reason a compile path or a quantization method keeps its lines as a template
(a string), which `constant` reads from its file without importing it.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from trt_sweep import models
from trt_sweep.config.groups import AUTOCAST
from trt_sweep.config.model import IN_MEMORY
from trt_sweep.models import reproduction_inputs
from trt_sweep.results.record import RANDOM

Point = Mapping[str, Any]
DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}
DTYPES |= dict.fromkeys(AUTOCAST, "float32")
TORCHVISION = ("torchvision.models.get_model", "trt_sweep.models.sources.torchvision.without_nms")
KEPT = """
import fnmatch
names = [name for name, _ in model.named_modules() if any(fnmatch.fnmatchcase(name, each) for each in $patterns)]
tops = [model.get_submodule(name) for name in names if not any(name.startswith(f'{other}.') for other in names)]
for part in set(model.modules()) - {part for top in tops for part in top.modules()}:
    for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
        tensor.data = tensor.data.to(torch.$dtype) if tensor.is_floating_point() else tensor.data
def cast(value, dtype):
    convert = lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor
    return torch.utils._pytree.tree_map_only(torch.Tensor, convert, value)
for top in tops:
    top.register_forward_pre_hook(lambda _, args, kwargs: cast((args, kwargs), torch.float32), with_kwargs=True)
    top.register_forward_hook(lambda _, args, output: cast(output, torch.$dtype))
"""
METHODS = Path(models.__path__[0]) / "quantization/methods"


@functools.cache
def constant(folder: Path, module: str, name: str) -> Any:
    """Return a literal that a module in a folder assigns to `name`, without importing it; None where there is none."""
    for file in folder.glob("*.py"):
        if file.stem != module:  # a record may name anything, so a name is never made into a path
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return ast.literal_eval(node.value)
    return None


def fill(template: str, values: Mapping[str, str | list[str] | None]) -> list[str]:
    """Return the lines of a template with each `$name` replaced.

    A name alone on its line may stand for several lines. A line that names None is left out.
    """
    found: list[str] = []
    for line in template.removeprefix("\n").removesuffix("\n").split("\n"):
        alone = re.fullmatch(r"( *)\$(\w+)", line)
        value = values[alone[2]] if alone else None
        if alone and isinstance(value, list):
            found += [alone[1] + each for each in value]
        elif all(values[name] is not None for name in re.findall(r"\$(\w+)", line)):
            found.append(Template(line).substitute(values))
    return found


def comment(value: object) -> str:
    """Return text that cannot leave the comment it stands in."""
    return re.sub(r"[^\x20-\x7e]", "?", str(value))


def name(text: str) -> str:
    """Return a text that may stand as a name in Python; raise ValueError for others."""
    if not text.isidentifier():
        raise ValueError(text)
    return text


def base_precision(point: Point) -> str:
    """Return the precision of what is not quantized."""
    return str(point["precision"] if point["base_precision"] is None else point["base_precision"])


def dtype(point: Point) -> str:
    """Return the name of the torch type that the precision stands for."""
    return DTYPES.get(base_precision(point), "float32")


def quantized(point: Point) -> bool:
    """Return whether the model has to be quantized: it has a method, or a precision that no module can be cast to."""
    return point["quantization_method"] is not None or str(point["precision"]) not in DTYPES


def lines(config: dict[str, Any], point: Point, device: str) -> list[str]:
    """Return lines that make `model`, `args` and `kwargs`, quantized and in the precision of the point."""
    return [
        *_model(config, point, device),
        *precision(point),
        *_quantization(config, point, device),
        *_kept(config, point),
        *_inputs(config, point, device, dtype(point), bare=not has_keywords(config, point)),
    ]


def has_keywords(config: dict[str, Any], point: Point) -> bool:
    """Return whether the code has `kwargs`; a model of positional arguments does without, unless it is quantized."""
    chosen = config.get("model")
    specs = chosen.get("inputs") if isinstance(chosen, dict) else None
    return not specs or quantized(point) or any(spec.get("name") is not None for spec in specs)


def lowering(point: Point) -> str | None:
    """Return the `with` line in which the quantized model must be exported and built; None where it needs none."""
    found = constant(METHODS, _library(point), "LOWERING")
    return None if found is None else str(found)


def _model(config: dict[str, Any], point: Point, device: str) -> list[str]:
    """Make the module; write a comment where no configuration tells how."""
    chosen = config.get("model")
    chosen = chosen if isinstance(chosen, dict) else {}
    made_in = "float32" if kept(config) else constant(METHODS, _library(point), "QUANTIZES_IN") or dtype(point)
    end = f".eval().to(device={device!r}, dtype=torch.{made_in})"
    weights, imports = chosen.get("weights"), set[str]()
    try:
        made = _call(dict(chosen.get("factory") or {}), imports, weights)
    except (ValueError, TypeError):
        return [f"# model: put your own {comment(point['model'])} here, a torch.nn.Module", f"model = model{end}"]
    note = ""
    if weights is None and "pretrained" not in made:
        note = "  # random weights, as in the sweep: put in your own"
    elif weights is not None and "weights" not in made:
        partly = ", strict=False" * (chosen.get("strict") is False)
        note = f"  # and load_state_dict of {comment(weights)}{partly}"
    seed = int(chosen.get("seed") or 0)
    seeded = [f"torch.manual_seed({seed})"] * bool(seed)
    return [*(f"import {module}" for module in imports), *seeded, f"model = {made}{end}{note}"]


def kept(config: dict[str, Any]) -> list[str]:
    """Return the patterns of the modules that stay in FP32."""
    found = config.get("keep_fp32")
    return [str(pattern) for pattern in found] if isinstance(found, list) else []


def _kept(config: dict[str, Any], point: Point) -> list[str]:
    """Cast `model`, all but the modules that stay in FP32, and put casts around those."""
    patterns = kept(config)
    if not patterns or (base_precision(point) in AUTOCAST and point["backend"] == "dynamo"):
        return []  # there the modules are named to the compiler
    if base_precision(point) in AUTOCAST:
        return [f"raise NotImplementedError('switch autocast off in the modules {comment(' '.join(patterns))}')"]
    return fill(KEPT, {"patterns": repr(patterns), "dtype": dtype(point)})


def _call(factory: dict[str, Any], imports: set[str], weights: str | None = None) -> str:
    """Return a call in Hydra's form as Python, and add the modules that it needs to `imports`.

    Raise ValueError where its target is no dotted name, or where Hydra is to do more than call it.
    """
    target = factory.pop("_target_", "")
    if target == IN_MEMORY or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", str(target)):
        raise ValueError(target)
    parts = str(target).split(".")[:-1]
    while len(parts) > 1 and parts[-1][:1].isupper():  # a class is reached through its module
        parts.pop()
    imports.add(".".join(parts))
    factory.pop("_convert_", None)  # of OmegaConf's containers, which there are none of here
    positional = [_value(value, imports) for value in factory.pop("_args_", None) or []]
    if weights is not None and target in TORCHVISION and not Path(weights).suffix:
        factory["weights"] = weights
    if {"_partial_", "_recursive_"} & factory.keys():
        raise ValueError(target)
    named = [f"{name(key)}={_value(value, imports)}" for key, value in factory.items()]
    return f"{target}({', '.join([*positional, *named])})"


def _value(value: Any, imports: set[str]) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return _call(dict(value), imports)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_value(item, imports)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item, imports) for item in value) + "]"
    return repr(value)


def precision(point: Point) -> list[str]:
    """Switch TF32 in PyTorch's own kernels as the precision asks for it, where PyTorch runs any."""
    wanted = base_precision(point)
    operators = point.get("engine_ops")
    whole = isinstance(operators, list) and len(operators) > 0 and sum(operators) == point["ops_total"]
    if DTYPES.get(wanted) != "float32" or whole:
        return []
    return [f"torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = {wanted == 'tf32'}"]


def _inputs(config: dict[str, Any], point: Point, device: str, dtype: str, *, bare: bool = False) -> list[str]:
    """Make `args` and `kwargs`, drawn as in the sweep; `bare` leaves out `kwargs`, which are empty."""
    specs = config["model"].get("inputs") if isinstance(config.get("model"), dict) else None
    if not specs:
        return reproduction_inputs.UNKNOWN
    batch, imports = batch_size(config, point), set[str]()
    where = f"device={device!r}, dtype=torch.{dtype}"
    made = reproduction_inputs.lines(specs, batch, where, imports, _call)
    made = [line for line in made if not (bare and line == "kwargs = {}")]
    return [*(f"import {module}" for module in sorted(imports)), *made]


def batch_size(config: dict[str, Any], point: Point) -> Any:
    """Return the batch size of a point, or its range."""
    size = config.get("batch_size")
    return size if isinstance(size, list | dict) else int(point["batch_size"])


def _library(point: Point) -> str:
    """Return the module that the methods of one library share: `_torchao` for `torchao_int8_dynamic`."""
    return "_" + str(point["quantization_method"]).partition("_")[0]


def _quantization(config: dict[str, Any], point: Point, device: str) -> list[str]:
    """Quantize `model` by the template of the method's library and the method's recipe.

    For a method without them, whose call is long, write a line that raises NotImplementedError.
    """
    if not quantized(point):
        return []
    method, library = str(point["quantization_method"]), _library(point)
    template = constant(METHODS, library, "REPRODUCTION")
    recipe = constant(METHODS, method, "RECIPE")
    if template is None or recipe is None:
        said = f"quantize first: quantization_method={comment(method)}, see trt_sweep/models/quantization"
        return ["", f"raise NotImplementedError({said!r})"]
    own = config.get("quantization")
    skip = [str(pattern) for pattern in (own.get("skip") or [])] if isinstance(own, dict) else []
    calibrated = point["calibration"] is not None
    values: dict[str, str | list[str] | None] = {"recipe": recipe, "dtype": dtype(point)}
    values |= {"skip": repr(skip) if skip else None, "data": _calibration_data(config, point, device)}
    loop = constant(METHODS, library, "FORWARD_LOOP")
    values |= {
        "forward_loop": fill(loop, values) if loop and calibrated else [],
        "forward_loop_argument": ", forward_loop" if calibrated else "",
    }
    return ["", *fill(template, values)]


def _calibration_data(config: dict[str, Any], point: Point, device: str) -> list[str]:
    """Make the list `calibration`: random where the sweep's data was; the user's own data are not known here."""
    if point["calibration"] != RANDOM:
        said = f"give (args, kwargs) in FP32 for each batch of {comment(point['calibration'])}"
        return ["calibration = []", f"raise NotImplementedError({said!r})"]
    count = math.ceil(int(point["calibration_samples"] or 1) / int(point["batch_size"] or 1))
    return [
        "def batch():  # random data here, and in the sweep: give your own, in FP32",
        *(f"    {line}" for line in _inputs(config, point, device, "float32")),
        "    return args, kwargs",
        "",
        f"calibration = [batch() for _ in range({count})]",
    ]
