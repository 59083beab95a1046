"""The configuration of a point: what may be set, and what is refused before anything is built. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from trt_sweep.config.checks import Range, require_choice, require_size
from trt_sweep.config.groups import (
    PRECISIONS,
    QUANTIZED,
    AccuracyConfig,
    InductorConfig,
    MeasureConfig,
    QuantizationConfig,
    TorchScriptConfig,
)
from trt_sweep.config.model import ModelConfig
from trt_sweep.errors import SweepError, require

AUTO = "auto"
RUNTIMES = ("cpp", "python")
RUNTIME_CACHES = ("cold", "warm")
CACHES = ("cold", "warm", "frozen")
PROFILING_VERBOSITIES = NONE, LAYER_NAMES, DETAILED = ("none", "layer_names_only", "detailed")
SPECIALIZATIONS = ("lazy", "eager", "none")


@dataclass
class PointConfig:
    """Hold what makes a point: the axes at the root, under Torch-TensorRT's names, and its groups of settings.

    null means the library's default; the record holds the value that took effect. `precision` auto is the one that
    `quantization.method` goes with, fp16 without a method. `batch_size` may be [min, opt, max]: the point is then built
    once for that range and timed at each size of `time_at` (default: these three). `compile` holds further compilation
    arguments of the installed Torch-TensorRT. `cache` says what TensorRT's timing cache holds when a build begins:
    nothing, what a first build of the same point left, or a copy of the file `cache_snapshot`. What engines tell of
    their layers depends on `profiling_verbosity`.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    backend: str = MISSING
    precision: str = "fp32"
    batch_size: Any = 1
    time_at: list[int] | None = None
    min_block_size: int | None = None
    optimization_level: int | None = None
    runtime: str | None = None
    cuda_graphs: bool | None = None
    runtime_cache: str | None = None
    dynamic_shapes_kernel_specialization_strategy: str | None = None
    cache: str | None = None
    cache_snapshot: str | None = None
    profiling_verbosity: str | None = None
    compile: dict[str, Any] = field(default_factory=dict)
    torchscript: TorchScriptConfig = field(default_factory=TorchScriptConfig)
    inductor: InductorConfig = field(default_factory=InductorConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    device: str = "auto"
    dryrun: bool = False
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)

    def __post_init__(self) -> None:
        require_choice("precision", self.precision, (*PRECISIONS, AUTO))
        require_size("batch_size", self.batch_size, self.batch_size)
        size, level = self.min_block_size, self.optimization_level
        require(
            size is None or size >= 1,
            "min_block_size",
            size,
            "an integer of at least 1, or null for the library's default",
        )
        require(
            level is None or 0 <= level <= 5,
            "optimization_level",
            level,
            "an integer from 0 to 5, or null for the library's default",
        )
        require_choice("runtime", self.runtime, RUNTIMES, optional=True)
        require_choice("runtime_cache", self.runtime_cache, RUNTIME_CACHES, optional=True)
        require_choice("cache", self.cache, CACHES, optional=True)
        require_choice("profiling_verbosity", self.profiling_verbosity, PROFILING_VERBOSITIES, optional=True)
        if self.cache != "frozen":
            require(self.cache_snapshot is None, "cache_snapshot", self.cache_snapshot, "it with cache=frozen")
        elif self.cache_snapshot is None:
            raise SweepError("cache=frozen is not allowed: name the timing cache to start from, cache_snapshot=FILE")
        name = "dynamic_shapes_kernel_specialization_strategy"
        require_choice(name, getattr(self, name), SPECIALIZATIONS, optional=True)
        index = self.device.removeprefix("cuda:")
        require(
            self.device in ("auto", "cuda", "cpu") or (index != self.device and index.isascii() and index.isdecimal()),
            "device",
            self.device,
            "auto, cpu, cuda or cuda:N",
        )
        if isinstance(self.model, ModelConfig) and isinstance(self.model.inputs, list):  # not while the schema is made
            self._check_sizes()

    def _check_sizes(self) -> None:
        least, _, most = self.dynamic or (self.batch_size,) * 3
        if self.time_at is None:
            return
        ok = bool(self.time_at) and all(least <= size <= most for size in self.time_at)
        allowed = f"sizes from {least} to {most}" if self.dynamic else "it with a range, as in batch_size=[1,8,32]"
        require(ok, "time_at", self.time_at, allowed)

    @property
    def quantized(self) -> bool:
        """Return whether `quantization` is used."""
        return self.precision in QUANTIZED

    @property
    def base_precision(self) -> str:
        """Return the precision beside the quantized parts: FP16, and FP32 where a CPU computes, which is slow in FP16.

        For other precisions, the precision itself.
        """
        if not self.quantized:
            return self.precision
        return "fp32" if self.device == "cpu" and not self.dryrun else "fp16"

    @property
    def dynamic(self) -> Range | None:
        """Return the range of the dynamic dimension, None where every size is fixed.

        A point has one such dimension; it may occur more than once (in two inputs, say), with the same range. Raises
        SweepError for two different ones.
        """
        batched = [self.batch_size] if any(item.batched for item in self.model.inputs) else []
        sizes = [*batched, *(size for item in self.model.inputs for size in item.shape)]
        ranges = sorted({tuple(size) for size in sizes if isinstance(size, list)})
        if len(ranges) > 1:
            shown = " and ".join(str(list(found)) for found in ranges)
            raise SweepError(f"{shown}: a point has one dynamic dimension; give the others one size, or the same range")
        return (ranges[0][0], ranges[0][1], ranges[0][2]) if ranges else None

    @property
    def sizes(self) -> list[int]:
        """Return the sizes at which the dynamic dimension is timed; empty without one."""
        return list(dict.fromkeys(self.time_at or self.dynamic)) if self.dynamic else []

    def at(self, size: int) -> PointConfig:
        """Return this point with its dynamic dimension fixed at `size`, as a backend without dynamic shapes sees it."""

        def fixed(value: Any) -> Any:
            return size if isinstance(value, list) else value

        inputs = [dataclasses.replace(item, shape=[fixed(value) for value in item.shape]) for item in self.model.inputs]
        model = dataclasses.replace(self.model, inputs=inputs)
        return dataclasses.replace(self, model=model, batch_size=fixed(self.batch_size), time_at=None)

    @property
    def timed(self) -> PointConfig:
        """Return the point with the sizes that it is timed at; for a plan, the ones that are optimized for."""
        return self.at(self.sizes[0] if self.time_at else self.dynamic[1]) if self.dynamic else self

    @property
    def unsized(self) -> PointConfig:
        """Return this point at batch size 1: what its keys name is then the same at every batch size."""
        return dataclasses.replace(self, batch_size=1, time_at=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the point in plain containers, as JSON and YAML hold them."""
        content = dataclasses.asdict(self)
        return {item.name: content[item.name] for item in dataclasses.fields(PointConfig)}

    @property
    def point_id(self) -> str:
        """Return 16 hexadecimal digits that name this configuration; equal configurations share them."""
        return digest(self.to_dict())

    @property
    def build_id(self) -> str:
        """Return the digits of the build: without the sizes of `time_at`, so that points with one build share them."""
        return digest(self.to_dict() | {"time_at": None})

    def engine_key(self, partition_id: str, without: list[str]) -> str:
        """Return the digits of an engine and how it runs: one partition, without the arguments that have no effect.

        `min_block_size` acts through the partition alone.
        """
        same = dict.fromkeys(["min_block_size", "accuracy", *without])
        return digest(self.to_dict() | same | {"partition_id": partition_id})

    @property
    def source_key(self) -> str:
        """Return the digits of the module with its example inputs on the device, as the backends see it."""
        return digest({"model": dataclasses.asdict(self.model), "batch_size": self.batch_size, "device": self.device})

    @property
    def quantized_key(self) -> str:
        """Return the digits of the module as `quantization` leaves it, in its base precision."""
        how = dataclasses.asdict(self.quantization) if self.quantized else None
        return digest({"source": self.source_key, "precision": [self.precision, self.base_precision], "how": how})

    @property
    def model_id(self) -> str:
        """Return the digits of the model with its weights and inputs, as timed."""
        return digest(dataclasses.asdict(self.timed.model))


SPECIALIZATION = "dynamic_shapes_kernel_specialization_strategy"


def digest(content: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits that name this content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
