"""Python source that quantizes a point's model as trt_sweep/quantization did, where that is short."""

from __future__ import annotations

import math
from typing import Any

from trt_sweep.analysis.report import model_code, text
from trt_sweep.analysis.report.model_code import DTYPES, Row, comment
from trt_sweep.results.record import RANDOM

# The libraries' own recipes, by the methods of trt_sweep/quantization.
MODELOPT = {
    "modelopt_fp8_default": "FP8_DEFAULT_CFG",
    "modelopt_int8_default": "INT8_DEFAULT_CFG",
    "modelopt_int8_smoothquant": "INT8_SMOOTHQUANT_CFG",
    "modelopt_int8_weight_only": "INT8_WEIGHT_ONLY_CFG",
    "modelopt_int4_weight_only": "INT4_BLOCKWISE_WEIGHT_ONLY_CFG",
    "modelopt_int4_awq": "INT4_AWQ_CFG",
}
TORCHAO = {
    "torchao_fp8_weight_only": "Float8WeightOnlyConfig",
    "torchao_int8_dynamic": "Int8DynamicActivationInt8WeightConfig",
    "torchao_int8_weight_only": "Int8WeightOnlyConfig",
}
LOWERING = "with mtq.utils.export_torch_mode():"  # what modelopt's quantizers are exported and built in


def base(row: Row) -> str:
    """The precision beside what is quantized; for other points the precision itself."""
    return str(row["precision"] if text.missing(row["base_precision"]) else row["base_precision"])


def quantized(row: Row) -> bool:
    """Whether the model has to be quantized; a precision that no module can be cast to needs a method."""
    return not text.missing(row["quantization_method"]) or str(row["precision"]) not in DTYPES


def imports(row: Row) -> set[str]:
    """What `lines` needs, as it stands behind `import`."""
    method = row["quantization_method"]
    if method in MODELOPT:
        return {"copy", "modelopt.torch.quantization as mtq"}
    return {"fnmatch", "torchao.quantization"} if method in TORCHAO else set()


def source_dtype(row: Row) -> str:
    """The type that the model is made in: modelopt quantizes in FP32, and what it left is cast after that."""
    return "float32" if row["quantization_method"] in MODELOPT else DTYPES.get(base(row), "float32")


def lines(row: Row, config: dict[str, Any], device: str) -> list[str]:
    """Lines that quantize `model`; for a method whose call is long, one that raises NotImplementedError."""
    if not quantized(row):
        return []
    method = row["quantization_method"]
    own = config.get("quantization")
    skip = [str(pattern) for pattern in (own.get("skip") or [])] if isinstance(own, dict) else []
    if method in MODELOPT:
        return _modelopt(MODELOPT[str(method)], row, config, device, skip)
    if method in TORCHAO:
        return _torchao(TORCHAO[str(method)], skip)
    said = f"quantize first: quantization_method={comment(method)}, see trt_sweep/quantization"
    return ["", f"raise NotImplementedError({said!r})"]


def _modelopt(recipe: str, row: Row, config: dict[str, Any], device: str, skip: list[str]) -> list[str]:
    calibrated = not text.missing(row["calibration"])
    disabled = [{"quantizer_name": f"{pattern}.*", "enable": False} for pattern in skip]
    dtype = DTYPES.get(base(row), "float32")
    return [
        "",
        *(_calibration(row, config, device) if calibrated else []),
        f"recipe = copy.deepcopy(mtq.{recipe})",
        *([f"recipe['quant_cfg'] += {disabled!r}"] if disabled else []),
        "with torch.no_grad():",
        f"    mtq.quantize(model, recipe{', forward_loop' if calibrated else ''})",
        "# ranges stay in FP32: scales made of them would leave FP16's normal numbers",
        "ranges = {name: buffer for name, buffer in model.named_buffers() if name.endswith('._amax')}",
        f"model = model.to(torch.{dtype})",
        "for name, buffer in ranges.items():",
        "    owner, _, own = name.rpartition('.')",
        "    setattr(model.get_submodule(owner), own, buffer.float())",
    ]


def _calibration(row: Row, config: dict[str, Any], device: str) -> list[str]:
    """`forward_loop`, over random data where the sweep had such; the user's own data are not known here."""
    if row["calibration"] == RANDOM:
        samples = 1 if text.missing(row["calibration_samples"]) else int(row["calibration_samples"])
        count = math.ceil(samples / (1 if text.missing(row["batch_size"]) else int(row["batch_size"])))
        given = [
            "def batch():  # random data here, and in the sweep: give your own, in FP32",
            *(f"    {line}" for line in model_code.inputs(config, row, device, "float32")),
            "    return args, kwargs",
            "",
            f"calibration = [batch() for _ in range({count})]",
        ]
    else:
        said = f"give (args, kwargs) in FP32 for each batch of {comment(row['calibration'])}"
        given = ["calibration = []", f"raise NotImplementedError({said!r})"]
    return [
        *given,
        "",
        "def forward_loop(model):",
        "    for args, kwargs in calibration:",
        "        model(*args, **kwargs)",
        "",
    ]


def _torchao(recipe: str, skip: list[str]) -> list[str]:
    patterns = [each for pattern in skip for each in (pattern, f"{pattern}.*")]
    taken = "type(module) is torch.nn.Linear"
    if patterns:
        taken += f" and not any(fnmatch.fnmatchcase(name, pattern) for pattern in {patterns!r})"
    return [
        "",
        "def chosen(module, name):",
        f"    return {taken}",
        "",
        f"torchao.quantization.quantize_(model, torchao.quantization.{recipe}(), filter_fn=chosen)",
    ]
