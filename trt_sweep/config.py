"""The schema of a point: what may be set, and what is refused before anything is built. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from trt_sweep.errors import SweepError

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
RUNTIMES = ("cpp", "python")
WHOLE = {
    "int64": (-(2**63), 2**63),
    "int32": (-(2**31), 2**31),
    "int16": (-(2**15), 2**15),
    "int8": (-128, 128),
    "uint8": (0, 256),
}
DTYPES = ("float", "float64", "float16", "bfloat16", *WHOLE, "bool")
SCHEMA = "trt_sweep_schema"


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        shown = "null" if value is None else value
        raise SweepError(f"{name}={shown} is not allowed: use {allowed}")


@dataclass
class InputConfig:
    """One tensor that the model is called with.

    `shape` leaves out the batch dimension, which is put in front unless `batched` is false. `dtype` "float" follows
    the precision of the point. Values are standard normal, or uniform in [`low`, `high`) where both are given
    (integers need them). With a `name` the tensor is passed as that keyword argument.
    """

    shape: list[int] = field(default_factory=list)
    dtype: str = "float"
    low: float | None = None
    high: float | None = None
    name: str | None = None
    batched: bool = True

    def __post_init__(self) -> None:
        _require(all(size > 0 for size in self.shape), "model.inputs.shape", self.shape, "sizes of at least 1")
        _require(self.dtype in DTYPES, "model.inputs.dtype", self.dtype, "one of " + ", ".join(DTYPES))
        name, given = "model.inputs.low/high", (self.low, self.high)
        if self.low is None or self.high is None:
            _require(given == (None, None), name, given, "both or neither")
            _require(self.dtype not in WHOLE, name, None, f"both bounds for an input of dtype {self.dtype}")
            return
        _require(math.isfinite(self.low) and math.isfinite(self.high), name, given, "finite bounds")
        _require(self.low < self.high, name, given, "low < high")
        if self.dtype in WHOLE:
            least, most = WHOLE[self.dtype]
            fits = least <= self.low and self.high <= most and int(self.low) < int(self.high)
            _require(fits, name, given, f"whole numbers with low < high that {self.dtype} holds, high itself excluded")


@dataclass
class ModelConfig:
    """A module and the inputs it is called with.

    `factory` is built by Hydra (`_target_` and its arguments). `weights` is a name of torchvision's
    (IMAGENET1K_V1, DEFAULT) or the path of a state dict; null leaves the weights random, drawn from `seed`.
    """

    name: str = MISSING
    factory: dict[str, Any] = MISSING
    weights: str | None = None
    seed: int = 0
    inputs: list[InputConfig] = MISSING

    def __post_init__(self) -> None:
        inputs = self.inputs if isinstance(self.inputs, list) else []  # not set yet while the schema is made
        names = [item.name for item in inputs if item.name is not None]
        _require(len(set(names)) == len(names), "model.inputs.name", names, "each name once")


@dataclass
class MeasureConfig:
    """When the timing of a point ends.

    It ends when the half-width of the median's 95 % confidence interval is at most `target` times the median and
    `min_samples` calls were timed, or after `max_s` seconds. The warm-up runs for at least `warmup_s` seconds and
    `warmup_calls` calls.
    """

    target: float = 0.005
    min_samples: int = 100
    max_s: float = 10.0
    warmup_s: float = 0.5
    warmup_calls: int = 10

    def __post_init__(self) -> None:
        _require(
            0 < self.target < 1,
            "measure.target",
            self.target,
            "a fraction between 0 and 1, for instance 0.005",
        )
        _require(self.min_samples >= 10, "measure.min_samples", self.min_samples, "an integer of at least 10")
        _require(0 < self.max_s < math.inf, "measure.max_s", self.max_s, "seconds above 0")
        _require(0 <= self.warmup_s < math.inf, "measure.warmup_s", self.warmup_s, "seconds of at least 0")
        _require(self.warmup_calls >= 1, "measure.warmup_calls", self.warmup_calls, "an integer of at least 1")


@dataclass
class AccuracyConfig:
    """The largest relative L2 error against the FP32 eager reference that still counts as accurate, by precision."""

    rel_l2: dict[str, float] = field(default_factory=lambda: {"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1})

    def __post_init__(self) -> None:
        _require(
            set(self.rel_l2) >= set(PRECISIONS),
            "accuracy.rel_l2",
            self.rel_l2,
            "a tolerance for each of " + ", ".join(PRECISIONS),
        )
        for precision, value in self.rel_l2.items():
            _require(value > 0, f"accuracy.rel_l2.{precision}", value, "a number above 0")


@dataclass
class SweepConfig:
    """One point: the axes at the root, under Torch-TensorRT's names, and what is not swept as a rule in groups.

    null means the library's default; the record holds the value that took effect.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    backend: str = MISSING
    precision: str = "fp32"
    batch_size: int = 1
    min_block_size: int | None = None
    optimization_level: int | None = None
    runtime: str | None = None
    device: str = "auto"
    dryrun: bool = False
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)

    def __post_init__(self) -> None:
        _require(self.precision in PRECISIONS, "precision", self.precision, "one of " + ", ".join(PRECISIONS))
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "an integer of at least 1")
        size, level = self.min_block_size, self.optimization_level
        _require(
            size is None or size >= 1,
            "min_block_size",
            size,
            "an integer of at least 1, or null for the library's default",
        )
        _require(
            level is None or 0 <= level <= 5,
            "optimization_level",
            level,
            "an integer from 0 to 5, or null for the library's default",
        )
        _require(
            self.runtime is None or self.runtime in RUNTIMES,
            "runtime",
            self.runtime,
            "cpp or python, or null for the library's default",
        )
        index = self.device.removeprefix("cuda:")
        _require(
            self.device in ("auto", "cuda", "cpu") or (index != self.device and index.isascii() and index.isdecimal()),
            "device",
            self.device,
            "auto, cpu, cuda or cuda:N",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as JSON and YAML hold them."""
        return dataclasses.asdict(self)

    @property
    def point_id(self) -> str:
        """16 hexadecimal digits that name this configuration; equal configurations share one."""
        return _digest(self.to_dict())

    @property
    def model_id(self) -> str:
        """Likewise for the model with its weights and inputs."""
        return _digest(dataclasses.asdict(self.model))


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def register() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml asks for."""
    ConfigStore.instance().store(name=SCHEMA, node=SweepConfig)


def from_hydra(composed: Any) -> SweepConfig:
    """The composed configuration as checked dataclasses; raises SweepError for a value that is not allowed."""
    # A configuration replayed from a job's .hydra folder comes without the schema; elsewhere this changes nothing.
    composed = OmegaConf.merge(OmegaConf.structured(SweepConfig), composed)
    missing = [key for key in ("name", "factory", "inputs") if OmegaConf.is_missing(composed.model, key)]
    if missing:
        raise SweepError(
            f"model.{missing[0]} is not set: choose a model (model=resnet18), name one of torchvision's "
            "(model.name=convnext_tiny) or set it in your own model/<name>.yaml"
        )
    config = OmegaConf.to_object(composed)
    assert isinstance(config, SweepConfig)
    return config
