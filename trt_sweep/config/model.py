"""The configuration of a model and of its inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from trt_sweep.config.checks import later, require_size, require_target
from trt_sweep.errors import require

WHOLE = {
    "int64": (-(2**63), 2**63),
    "int32": (-(2**31), 2**31),
    "int16": (-(2**15), 2**15),
    "int8": (-128, 128),
    "uint8": (0, 256),
    "uint16": (0, 2**16),
    "uint32": (0, 2**32),
}
FLOATING = ("float", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
DTYPES = (*FLOATING, *WHOLE, "bool", "complex64", "complex128")


IN_MEMORY = "trt_sweep.notebook.held"  # marks a module that is in memory; a part of point_id, so it stays as it was
UNSET = "<unset>"  # null is a value that an argument may have


@dataclass
class InputConfig:
    """One argument that the model is called with: a tensor, or what `value` or `items` give.

    A tensor is drawn at random unless it comes from a `file` (.pt, .npy, .npz, .safetensors or an image; `key` names
    one of several that it holds) or from a `factory`, which is called as `model.factory` is. `shape` leaves out the
    batch dimension, which is put in front unless `batched` is false; one of its sizes may be a range, [min, opt, max]
    or {name: [min, opt, max]}, see `PointConfig.ranges`. That of a file is read from it. `dtype` "float" follows the
    precision of the point. Random values are standard normal, or uniform in [`low`, `high`) where both are given
    (integers need them). `value` is a number, a flag, a text or null, which is passed on as it is. `items` are the
    inputs in a list, or by name in a dict. With a `name` all this is passed as that keyword argument. `digest` is that
    of the content of a file, or of what the factory gave.
    """

    shape: list[Any] = field(default_factory=list)
    dtype: str = "float"
    low: float | None = None
    high: float | None = None
    name: str | None = None
    batched: bool = True
    file: str | None = later(None)
    key: str | None = later(None)
    factory: dict[str, Any] = later({})
    value: Any = later(UNSET)
    items: Any = later(None)
    digest: str | None = later(None)

    def __post_init__(self) -> None:
        for size in self.shape:
            require_size("model.inputs.shape", size, self.shape, by_name=True)
        require(self.dtype in DTYPES, "model.inputs.dtype", self.dtype, "one of " + ", ".join(DTYPES))
        require_target("model.inputs.factory", self.factory)
        if self.items is not None:
            require(isinstance(self.items, list | dict), "model.inputs.items", self.items, "a list or a dict of inputs")
            named = isinstance(self.items, dict)
            self.items = (
                {key: _input(value) for key, value in self.items.items()} if named else [*map(_input, self.items)]
            )
        sources = [name for name in ("file", "factory") if getattr(self, name)]
        sources += ["items"] * (self.items is not None) + ["value"] * (self.value != UNSET)
        one = "one of file, factory, value and items for an input"
        require(len(sources) < 2, "model.inputs", " and ".join(sources), one)
        require(self.key is None or bool(self.file), "model.inputs.key", self.key, "it with a file that holds several")
        if sources:
            bounds = (self.low, self.high)
            require(bounds == (None, None), "model.inputs.low/high", bounds, f"none beside {sources[0]}")
            require(self.given or not self.shape, "model.inputs.shape", self.shape, f"none beside {sources[0]}")
            return
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

    @property
    def given(self) -> bool:
        """Return whether this is a tensor that the user has: its values are in a file, or a function gives them."""
        return bool(self.file or self.factory)

    @property
    def drawn(self) -> bool:
        """Return whether this is a tensor of integers that are drawn at random."""
        return self.dtype in WHOLE and not self.given

    @property
    def tensors(self) -> list[InputConfig]:
        """Return the inputs that are tensors, in their order: this one, or those among `items`."""
        if self.items is not None:
            parts = self.items.values() if isinstance(self.items, dict) else self.items
            return [tensor for part in parts for tensor in part.tensors]
        return [self] if self.value == UNSET else []

    def changed(self, change: Callable[[InputConfig], InputConfig]) -> InputConfig:
        """Return this input with `change` made to each tensor in it."""
        if self.items is None:
            return change(self) if self.value == UNSET else self
        if isinstance(self.items, dict):
            return dataclasses.replace(self, items={key: part.changed(change) for key, part in self.items.items()})
        return dataclasses.replace(self, items=[part.changed(change) for part in self.items])


def _input(value: Any) -> InputConfig:
    if isinstance(value, InputConfig):
        return value
    names = [item.name for item in dataclasses.fields(InputConfig)]
    known = isinstance(value, dict) and set(value) <= set(names)
    require(known, "model.inputs.items", value, "inputs with the settings " + ", ".join(names))
    return InputConfig(**value)


if TYPE_CHECKING:
    InputList = list[InputConfig]  # what every reader of a point's effective configuration finds
else:
    InputList = list[InputConfig] | None  # what may be given


@dataclass
class ModelConfig:
    """A module and the inputs it is called with.

    `factory` is built by Hydra (`_target_` and its arguments). `weights` is a name of torchvision's
    (IMAGENET1K_V1, DEFAULT) or the path of a state dict; null leaves what the factory makes: random weights,
    drawn from `seed`, unless it loads some. Of a file `weights_key` names the part to load, where there are several;
    without `strict` what fits is loaded, and the rest of the model stays random. Where `inputs` is null, the model's
    source knows them (`trt_sweep.models.sources`), and the effective configuration of a point has them.
    """

    name: str = MISSING
    factory: dict[str, Any] = MISSING
    weights: str | None = None
    seed: int = 0
    inputs: InputList = MISSING
    strict: bool = later(True)
    weights_key: str | None = later(None)

    def __post_init__(self) -> None:
        inputs = self.inputs if isinstance(self.inputs, list) else []  # not set yet while the schema is made
        names = [item.name for item in inputs if item.name is not None]
        require(-(2**63) <= self.seed < 2**63, "model.seed", self.seed, "an integer of 64 bits, as a record holds it")
        require(len(set(names)) == len(names), "model.inputs.name", names, "each name once")

    @property
    def tensors(self) -> list[InputConfig]:
        """Return the inputs that are tensors, in the order in which a call has them: those by keyword come last."""
        ordered = sorted(self.inputs, key=lambda item: item.name is not None)
        return [tensor for item in ordered for tensor in item.tensors]

    def changed(self, change: Callable[[InputConfig], InputConfig]) -> ModelConfig:
        """Return the model with `change` made to each tensor among its inputs."""
        return dataclasses.replace(self, inputs=[item.changed(change) for item in self.inputs])
