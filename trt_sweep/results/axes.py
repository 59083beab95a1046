"""TODO."""

from __future__ import annotations

import pandas as pd

from trt_sweep.results import record

# The axes that not every backend uses; each is a field of SweepConfig.
OPTIONAL_AXES = frozenset(
    {
        "min_block_size",
        "optimization_level",
        "runtime",
        "runtime_cache",
        "dynamic_shapes_kernel_specialization_strategy",
        "cache",
        "cache_snapshot",
        "profiling_verbosity",
        "compile",
        "torchscript",
        "inductor",
        "quantization",
    }
)


AXES = (
    "model",
    "backend",
    "mode",
    "precision",
    "quantization_method",
    "quantization_skip",
    "calibration",
    "batch_size",
    "dynamic_range",
    "time_at",
    "input_shapes",
    "min_block_size",
    "optimization_level",
    "runtime",
    "cuda_graphs",
    "runtime_cache",
    "dynamic_shapes_kernel_specialization_strategy",
    "cache",
    "profiling_verbosity",
    "compile",
    "cold_cache",
    "device",
)


# They leave the engine as it is and change how it runs.
RUNTIME_AXES = {
    "backend",
    "batch_size",
    "time_at",
    "input_shapes",
    "runtime",
    "cuda_graphs",
    "runtime_cache",
    "dynamic_shapes_kernel_specialization_strategy",
    "cold_cache",
}


# Rows are comparable where these agree: the same work on the same device, timed the same way.
COMPARABLE = ("sweep_id", "model_id", "batch_size", "input_shapes", "device", "gpu_uuid", "cold_cache")


# An engine is run in the same way where these agree.
RUNNING = (
    "backend",
    "precision",
    "runtime",
    "cuda_graphs",
    "runtime_cache",
    "dynamic_shapes_kernel_specialization_strategy",
    "mode",
    "compile",
)


# With these it was built; a row's engine follows from them.
BUILDING = ("min_block_size", "optimization_level", "cache", "dynamic_range", "time_at")


# Columns that follow from an axis and move along with it.
FOLLOW = {
    "precision": ("base_precision",),
    "quantization_method": ("precision",),
    "batch_size": ("input_shapes", "time_at"),
    "time_at": ("batch_size", "input_shapes"),
    "input_shapes": ("batch_size", "time_at"),
    "dynamic_range": ("time_at",),
}


# Axes that one side of a pair may not use, which then may differ.
UNUSED = {"backend": AXES, "quantization_method": ("calibration", "quantization_skip")}


# Axes whose value may be that of a method and no choice of its own.
OF_METHOD = ("precision", *UNUSED["quantization_method"])


# What a person who sets nothing gets; for other axes null, where a row has it.
FIRST = {"backend": record.BASELINE, "precision": "fp32", "cuda_graphs": "false", "runtime": "cpp", "cache": "cold"}


OFF = ("cuda_graphs", "cold_cache")  # null is false


DEFAULT_LEVEL = 3  # TensorRT's builder optimization level where none is set


# What other axes are where nothing is set: this value or null, or null alone.
SET = {"backend": "dynamo", "precision": "fp32", "runtime": "cpp", "runtime_cache": "cold", "cache": "cold"}


UNSET = (
    *("mode", "quantization_method", "quantization_skip", "calibration", "dynamic_range", "compile"),
    *("dynamic_shapes_kernel_specialization_strategy", "profiling_verbosity"),
)


def varied(table: pd.DataFrame) -> list[str]:
    """The axes that differ between rows of one model and backend, baselines apart; backend and precision at least."""
    swept = table[table["jobs"].map(bool).astype(bool)]
    most = swept.groupby(["model", "backend"])[list(AXES)].nunique(dropna=False).max()
    if table["model"].nunique() > 1:
        most["model"] = 2
    if table["dynamic_range"].notna().any():
        most["dynamic_range"] = most["time_at"] = 2
    if table["cuda_graphs"].fillna(False).astype(bool).any():
        most["cuda_graphs"] = 2  # baselines are without
    found = [axis for axis in AXES if axis in ("backend", "precision") or most[axis] > 1]
    # A size is said once: by time_at where every row has it, by batch_size, or by the shapes.
    if "time_at" in found and bool(table["time_at"].notna().all()):
        return [axis for axis in found if axis not in ("batch_size", "input_shapes")]
    return [axis for axis in found if axis != "input_shapes" or "batch_size" not in found]
