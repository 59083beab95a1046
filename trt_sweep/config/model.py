"""The configuration of a model and of its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from trt_sweep.config.checks import require_size
from trt_sweep.errors import require

WHOLE = {
    "int64": (-(2**63), 2**63),
    "int32": (-(2**31), 2**31),
    "int16": (-(2**15), 2**15),
    "int8": (-128, 128),
    "uint8": (0, 256),
}


DTYPES = ("float", "float64", "float16", "bfloat16", *WHOLE, "bool")


@dataclass
class InputConfig:
    """One tensor that the model is called with.

    `shape` leaves out the batch dimension, which is put in front unless `batched` is false; one of its sizes may be
    [min, opt, max], see `PointConfig.dynamic`. `dtype` "float" follows the precision of the point. Values are standard
    normal, or uniform in [`low`, `high`) where both are given (integers need them). With a `name` the tensor is passed
    as that keyword argument.
    """

    shape: list[Any] = field(default_factory=list)
    dtype: str = "float"
    low: float | None = None
    high: float | None = None
    name: str | None = None
    batched: bool = True

    def __post_init__(self) -> None:
        for size in self.shape:
            require_size("model.inputs.shape", size, self.shape)
        require(self.dtype in DTYPES, "model.inputs.dtype", self.dtype, "one of " + ", ".join(DTYPES))
        name, given = "model.inputs.low/high", (self.low, self.high)
        if self.low is None or self.high is None:
            require(given == (None, None), name, given, "both or neither")
            require(self.dtype not in WHOLE, name, None, f"both bounds for an input of dtype {self.dtype}")
            return
        require(math.isfinite(self.low) and math.isfinite(self.high), name, given, "finite bounds")
        require(self.low < self.high, name, given, "low < high")
        if self.dtype in WHOLE:
            least, most = WHOLE[self.dtype]
            fits = least <= self.low and self.high <= most and int(self.low) < int(self.high)
            require(fits, name, given, f"whole numbers with low < high that {self.dtype} holds, high itself excluded")


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
        require(len(set(names)) == len(names), "model.inputs.name", names, "each name once")
