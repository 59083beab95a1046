"""The configuration of a point: what may be set, and what is refused before anything is built. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from trt_sweep.config.checks import Range, later, named_range, require_choice, require_size
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
MOST_STREAMS = 32  # PyTorch has as many on a GPU, and then hands out the first again


@dataclass
class PointConfig:
    """Hold what makes a point: the axes at the root, under Torch-TensorRT's names, and its groups of settings.

    null means the library's default; the record holds the value that took effect. `precision` auto is the one that
    `quantization.method` goes with, fp16 without a method. `keep_fp32` holds patterns of modules that compute in FP32
    all the same, with all that is in them: `blocks.*.norm1`. `batch_size` may be [min, opt, max]: the point is then
    built once for that range and timed at each size of `time_at` (default: these three), or where several dimensions
    have a range at each combination of sizes, as {batch: 1, seq: 128}. `compile` holds further compilation
    arguments of the installed Torch-TensorRT. `cache` says what TensorRT's timing cache holds when a build begins:
    nothing, what a first build of the same point left, or a copy of the file `cache_snapshot`. What engines tell of
    their layers depends on `profiling_verbosity`. `streams` threads call at the same time, each on a CUDA stream and
    with an execution context of its own. With `transfers` a call copies its inputs from the host's memory, and its
    outputs back.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    backend: str = MISSING
    precision: str = "fp32"
    keep_fp32: list[str] = later([])
    batch_size: Any = 1
    time_at: list[Any] | None = None
    min_block_size: int | None = None
    optimization_level: int | None = None
    runtime: str | None = None
    cuda_graphs: bool | None = None
    streams: int = later(1)
    transfers: bool = later(False)
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
        whole = isinstance(self.streams, int) and not isinstance(self.streams, bool)
        require(
            whole and 1 <= self.streams <= MOST_STREAMS, "streams", self.streams, f"an integer from 1 to {MOST_STREAMS}"
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
        ranges = self.ranges
        if self.time_at is None:
            return
        one = next(iter(ranges.values())) if len(ranges) == 1 else None
        allowed = "it with a range, as in batch_size=[1,8,32]"
        if one is not None:
            allowed = f"sizes from {one.min} to {one.max}"
        elif ranges:
            allowed = "combinations of " + ", ".join(
                f"{item.name} from {item.min} to {item.max}" for item in ranges.values()
            )
            allowed += ", each as {" + ", ".join(f"{item.name}: {item.opt}" for item in ranges.values()) + "}"
        ok = bool(self.time_at) and bool(ranges) and all(self._within(item) for item in self.time_at)
        require(ok, "time_at", self.time_at, allowed)

    def _within(self, sizes: Any) -> bool:
        ranges = self.ranges
        if not isinstance(sizes, dict):
            sizes = {next(iter(ranges)): sizes} if len(ranges) == 1 else {"": sizes}
        return bool(sizes) and all(
            name in ranges
            and isinstance(size, int)
            and not isinstance(size, bool)
            and ranges[name].min <= size <= ranges[name].max
            for name, size in sizes.items()
        )

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
    def ranges(self) -> dict[str, Range]:
        """Return the dynamic dimensions by name, the batch first; empty where every size is fixed.

        A dimension may occur more than once (in two inputs, say): under its name, or with the same range where it has
        none. Raises SweepError for one name with two ranges.
        """
        found: dict[str, Range] = {}
        for size in self._sizes():
            if isinstance(size, str) or not isinstance(size, list | dict):
                continue
            known = {item[:3]: item.name for item in found.values()}
            unnamed = "batch" if size is self.batch_size else "size" if "size" not in found else f"size_{len(found)}"
            own = named_range(size, {}, known.get(tuple(size), unnamed) if isinstance(size, list) else "")
            assert own is not None
            first = found.setdefault(own.name, own)
            require(first == own, own.name, list(own[:3]), f"one range for one name: it is {list(first[:3])} elsewhere")
        for size in self._sizes():
            named_range(size, found, "")
        return found

    def _sizes(self) -> list[Any]:
        tensors = self.model.tensors
        batched = [self.batch_size] if any(item.batched for item in tensors) else []
        return [*batched, *(size for item in tensors for size in item.shape)]

    def range_of(self, size: Any) -> Range | None:
        """Return the range that a size of `batch_size` or of an input's shape stands for; None for a whole number."""
        ranges = self.ranges
        if isinstance(size, list):
            return next(item for item in ranges.values() if list(item[:3]) == size)
        return named_range(size, ranges, "")

    @property
    def combinations(self) -> list[dict[str, int]]:
        """Return the sizes at which the dynamic dimensions are timed, by name: by default all at min, opt and max.

        Empty without one. A dimension that `time_at` does not name has its usual size, opt.
        """
        ranges = self.ranges
        usual = {item.name: item.opt for item in ranges.values()}
        if self.time_at and ranges:
            given = [item if isinstance(item, dict) else dict.fromkeys(usual, item) for item in self.time_at]
        else:
            given = [{item.name: item[:3][end] for item in ranges.values()} for end in range(3)] if ranges else []
        found = [{**usual, **item} for item in given]
        return [item for number, item in enumerate(found) if item not in found[:number]]

    def at(self, sizes: Mapping[str, int]) -> PointConfig:
        """Return this point with its dynamic dimensions fixed, as a backend without dynamic shapes sees it."""

        def fixed(value: Any) -> Any:
            found = self.range_of(value)
            return value if found is None else sizes[found.name]

        model = self.model.changed(lambda item: dataclasses.replace(item, shape=[*map(fixed, item.shape)]))
        return dataclasses.replace(self, model=model, batch_size=fixed(self.batch_size), time_at=None)

    @property
    def usual(self) -> PointConfig:
        """Return the point with its dynamic dimensions at the sizes that are optimized for; itself without any."""
        ranges = self.ranges
        return self.at({item.name: item.opt for item in ranges.values()}) if ranges else self

    @property
    def timed(self) -> PointConfig:
        """Return the point with the sizes that it is timed at; for a plan, the ones that are optimized for."""
        return self.at(self.combinations[0]) if self.time_at else self.usual

    @property
    def unsized(self) -> PointConfig:
        """Return this point at batch size 1: what its keys name is then the same at every batch size.

        Where a shape names the batch's range, the range stays.
        """
        named = any(isinstance(size, str) for item in self.model.tensors for size in item.shape)
        size = self.batch_size if named and not isinstance(self.batch_size, int) else 1
        return dataclasses.replace(self, batch_size=size, time_at=None)

    @property
    def under_no_load(self) -> PointConfig:
        """Return this point with one thread and no transfers, which are about calls, and not about what is called."""
        return dataclasses.replace(self, streams=1, transfers=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the point in plain containers, as JSON and YAML hold them."""
        content = plain(self)
        return {item.name: content[item.name] for item in dataclasses.fields(PointConfig) if item.name in content}

    @property
    def point_id(self) -> str:
        """Return 16 hexadecimal digits that name this configuration; equal configurations share them."""
        return digest(self.to_dict())

    @property
    def build_id(self) -> str:
        """Return the digits of the build: without the sizes of `time_at`, so that points with one build share them."""
        return digest(self.to_dict() | {"time_at": None})

    def engine_key(self, partition_id: str | None, without: list[str]) -> str:
        """Return the digits of an engine and how it runs: one partition, without the arguments that have no effect.

        `min_block_size` acts through the partition alone. Where a backend does not tell that, all arguments say it.
        """
        same = dict.fromkeys(["accuracy", *([] if partition_id is None else ["min_block_size"]), *without])
        return digest(self.to_dict() | same | {"partition_id": partition_id})

    def parts_key(self, running: Collection[str]) -> str:
        """Return the digits of what engines are made from: points that share them can have engines in common.

        `min_block_size` says how many engines there are, the axes in `running` how one is run, and neither what it is.
        """
        same = dict.fromkeys(["min_block_size", "accuracy", "measure", "time_at", *running])
        return digest(self.under_no_load.to_dict() | same)

    @property
    def source_key(self) -> str:
        """Return the digits of the module with its example inputs on the device, as the backends see it."""
        return digest({"model": plain(self.model), "batch_size": self.batch_size, "device": self.device})

    @property
    def quantized_key(self) -> str:
        """Return the digits of the module as `quantization` or `keep_fp32` leaves it, in its base precision."""
        how = plain(self.quantization) if self.quantized else self.keep_fp32 or None
        return digest({"source": self.source_key, "precision": [self.precision, self.base_precision], "how": how})

    @property
    def model_id(self) -> str:
        """Return the digits of the model with its weights and inputs, as timed."""
        return digest(plain(self.timed.model))


def plain(config: Any) -> Any:
    """Return a configuration in plain containers, without the fields marked "later" that have their default.

    A setting that is new leaves the digests of those who do not use it as they were.
    """
    if not dataclasses.is_dataclass(config):
        if isinstance(config, dict):
            return {key: plain(value) for key, value in config.items()}
        return [plain(value) for value in config] if isinstance(config, list | tuple) else config
    found = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        made = item.default_factory
        default = item.default if made is dataclasses.MISSING else made()
        if not (item.metadata.get("later") and value == default):
            new = item.metadata.get("later_keys", {})
            kept = {key: one for key, one in value.items() if new.get(key) != one} if new else value
            found[item.name] = plain(kept)
    return found


SPECIALIZATION = "dynamic_shapes_kernel_specialization_strategy"


def digest(content: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits that name this content."""
    return hashlib.sha256(json.dumps(_placeless(content), sort_keys=True, default=str).encode()).hexdigest()[:16]


def _placeless(content: Any) -> Any:
    """Return content without the places of files whose own content is named by a digest."""
    if isinstance(content, list | tuple):
        return [_placeless(value) for value in content]
    if not isinstance(content, dict):
        return content
    left_out = ("file", "key") if content.get("digest") else ()
    return {key: _placeless(value) for key, value in content.items() if key not in left_out}
