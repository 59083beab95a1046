"""Make the compilation arguments of a point for the installed Torch-TensorRT, and say which of them it ignores."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from typing import Any

import torch

from trt_sweep.backends.tensorrt import timing_cache
from trt_sweep.backends.torchtrt.argument_values import converted
from trt_sweep.backends.torchtrt.installed import InstalledTorchTensorRT
from trt_sweep.config.groups import AUTOCAST
from trt_sweep.config.point import SPECIALIZATION, PointConfig
from trt_sweep.errors import SweepError, Unsupported

# The axes that the frontends dynamo and torch_compile use.
AXES = frozenset(
    {
        *("min_block_size", "optimization_level", "runtime", "runtime_cache", SPECIALIZATION),
        *("cache", "cache_snapshot", "profiling_verbosity", "compile"),
    }
)

# Compilation arguments that belong to trt_sweep, and what to set instead; null for a setting of the same name.
# Those that are axes by their own names are `AXES`.
OURS = {
    **dict.fromkeys(("module", "exported_program", "input", "inputs", "arg_inputs", "kwarg_inputs"), "model.inputs"),
    **dict.fromkeys(("min_block_size", "min_acc_module_size"), "min_block_size"),
    **dict.fromkeys(("disable_tf32", "enabled_precisions", "lower_precision"), "precision"),
    **dict.fromkeys(("enable_autocast", "autocast_low_precision_type"), "precision=autocast_fp16"),
    **dict.fromkeys(("device", "dryrun")),
    "use_python_runtime": "runtime",
    "runtime_cache_path": "runtime_cache",
    "dynamic_batch": "batch_size=[1,8,32]",
}


# Arguments whose value trt_sweep decides, and why.
FIXED = {
    **dict.fromkeys(
        ("cache_built_engines", "reuse_cached_engines", "engine_cache_dir", "engine_cache_size", "custom_engine_cache"),
        "an engine cache answers with engines of other settings, since its key leaves some out: use cache_dir",
    ),
    **dict.fromkeys(
        ("timing_cache_path", "timing_cache_prefix", "save_timing_cache"),
        "each point has a timing cache of its own, or the points' order would show in their build times: use cache",
    ),
    "pass_through_build_failures": "a graph whose build fails would run in PyTorch, and the row would not say so",
    "explicit_batch_dimension": "TensorRT has no other",
}


def with_defaults(library: InstalledTorchTensorRT, config: PointConfig, frontend: str) -> PointConfig:
    """Fill in the defaults; raise SweepError for a `compile.NAME` that this version does not take."""
    for name, value in config.compile.items():
        _further(library, frontend, name, value)
    size = config.min_block_size
    if size is None:
        own = "min_acc_module_size" if frontend == "fx" else "min_block_size"
        size = int(library.parameters(frontend)[own].default)
    if frontend not in ("dynamo", "torch_compile"):
        return dataclasses.replace(config, min_block_size=size)
    runtime, cache = config.runtime or library.runtimes[0], config.runtime_cache
    if runtime == "python" and library.rtx and "runtime_cache_path" in library.parameters(frontend):
        cache = cache or "cold"  # it has one always, and trt_sweep gives it an empty file
    return dataclasses.replace(config, min_block_size=size, runtime=runtime, runtime_cache=cache)


def compile_arguments(library: InstalledTorchTensorRT, config: PointConfig, frontend: str) -> dict[str, Any]:
    """Return the keyword arguments for a point; raise Unsupported where this version cannot do what it asks for."""
    further = {name: _further(library, frontend, name, value) for name, value in config.compile.items()}
    if frontend == "torchscript":
        return {"min_block_size": config.min_block_size, "disable_tf32": config.precision != "tf32", **further}
    if frontend == "fx":
        return {"min_acc_module_size": config.min_block_size, "explicit_batch_dimension": True, **further}
    timing_cache.require(config)
    passed: dict[str, Any] = {
        "disable_tf32": config.precision != "tf32",
        "min_block_size": config.min_block_size,
        "optimization_level": config.optimization_level,
        "cache_built_engines": False,
        "reuse_cached_engines": False,
        **_runtime(library, config),
        **_rtx_runtime(library, config, frontend),
        **_autocast(library, config, frontend),
        **further,
    }
    return {name: value for name, value in passed.items() if value is not None}


def _runtime(library: InstalledTorchTensorRT, config: PointConfig) -> dict[str, Any]:
    if config.runtime is None or config.runtime in library.runtimes:
        return {"use_python_runtime": config.runtime == "python"} if len(library.runtimes) > 1 else {}
    raise Unsupported(
        f"runtime={config.runtime}: {library.name} runs engines in its {library.runtimes[0]} runtime only; leave "
        "runtime out"
    )


def _autocast(library: InstalledTorchTensorRT, config: PointConfig, frontend: str) -> dict[str, Any]:
    """Return the arguments for precision=autocast_…; raise Unsupported where this version has none."""
    if config.precision not in AUTOCAST:
        return {}
    if "enable_autocast" not in library.parameters(frontend):
        raise Unsupported(f"precision={config.precision}: {library.name} has no autocast")
    low = {"autocast_fp16": torch.float16, "autocast_bf16": torch.bfloat16}[config.precision]
    return {"enable_autocast": True, "autocast_low_precision_type": low}


def _rtx_runtime(library: InstalledTorchTensorRT, config: PointConfig, frontend: str) -> dict[str, Any]:
    """Return the arguments for RTX's runtime that 2.12 takes; later versions have `runtime_settings` instead.

    Only the Python runtime of 2.12 obeys them. Raise Unsupported for settings that would have no effect.
    """
    for name in ("runtime_cache", SPECIALIZATION):
        value = getattr(config, name)
        if value is None or library.runtime_settings:
            continue
        if not library.rtx:
            raise Unsupported(f"{name}={value}: only TensorRT-RTX has it, and this is {library.name}")
        if "runtime_cache_path" not in library.parameters(frontend):
            raise Unsupported(
                f"{name}={value}: {library.name} has no such setting; 2.12 and later have it, and backend=onnx"
            )
        if config.runtime != "python":
            raise Unsupported(f"{name}={value}: {library.name} has it in its Python runtime only: add runtime=python")
        if value == "warm":
            raise Unsupported(
                f"{name}={value}: {library.name} saves its cache only when a module goes away; 2.13 and later can do "
                "it, and backend=onnx"
            )
    strategy = getattr(config, SPECIALIZATION)
    return {} if strategy is None or library.runtime_settings else {SPECIALIZATION: strategy}


def ignored_axes(library: InstalledTorchTensorRT, config: PointConfig, frontend: str) -> list[str]:
    """Return the axes and arguments that this version accepts without effect, as far as that was measured or read.

    TensorRT-RTX builds byte-identical engines at every optimization level. Its releases 1.4 and 1.6 compute FP32 in
    TF32 whether `disable_tf32` is set or not. With 1.4 on an H200 the outputs of resnet18, of one convolution and
    of one linear layer were equal to the last bit, 3e-4 away from eager without TF32; through ONNX, resnet18
    likewise. With 1.6 resnet18 is 4e-4 away and googlenet 6e-4, where FP32 would be 3e-7 away. Autocast compares
    operators with their names: 2.14 makes the same graph with `autocast_excluded_ops` and without. The rest was
    read: arguments that a frontend takes and reads nowhere, or resets.
    """
    found = []
    if library.rtx and config.optimization_level is not None:
        found.append("optimization_level")
    always_tf32 = library.rtx and (library.tensorrt or "").startswith(("1.4.", "1.6."))
    if always_tf32 and config.precision in ("fp32", *AUTOCAST) and frontend != "torchscript":
        found.append("disable_tf32")
    refitted = {"strip_engine_weights", "refit_identical_engine_weights"}
    nowhere = {
        "dynamo": {"torch_executed_modules", "autocast_excluded_ops"},
        "torch_compile": {"require_full_compilation", "offload_module_to_cpu", "strip_engine_weights"},
    }.get(frontend, set())
    if config.compile.get("immutable_weights", True):
        nowhere = nowhere | refitted
    if config.precision not in AUTOCAST or frontend != "dynamo":
        nowhere = nowhere | {name for name in config.compile if name.startswith("autocast_")}
    return found + [f"compile.{name}" for name in config.compile if name in nowhere]


def _further(library: InstalledTorchTensorRT, frontend: str, name: str, value: Any) -> Any:
    known = library.parameters(frontend)
    if name in FIXED:
        raise SweepError(f"compile.{name} is not a setting here: {FIXED[name]}; leave it out")
    ours = dict.fromkeys(AXES) | OURS
    if name in ours:
        raise SweepError(f"compile.{name} is set by trt_sweep: use {ours[name] or name} instead")
    if name not in known:
        free = sorted(set(known) - set(ours) - set(FIXED))
        near = get_close_matches(name, free, 3, 0.5)
        raise SweepError(
            f"compile.{name} is not known to {library.name} ({frontend}): "
            + (f"did you mean {' or '.join(near)}?" if near else "use one of " + ", ".join(free))
        )
    return converted(f"compile.{name}", value, known[name].annotation)
