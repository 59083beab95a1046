"""Hold a model: a PyTorch module with inputs for it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from trt_sweep.config.checks import Range
from trt_sweep.config.groups import AUTOCAST
from trt_sweep.models import mixed

DTYPE = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DTYPE |= dict.fromkeys(AUTOCAST, torch.float32)


@dataclass(frozen=True)
class Inputs:
    """Hold the arguments of a module's forward, on one device, and the main floating-point type of that module."""

    args: tuple[torch.Tensor, ...]
    kwargs: dict[str, torch.Tensor]
    own: torch.dtype = torch.float32

    def to(self, dtype: torch.dtype, channels_last: bool = False) -> Inputs:
        """Return a copy whose tensors in FP32 or the module's own type have `dtype`; in that type they stay as given.

        4-d tensors are channels-last if asked.
        """
        follow = () if dtype == self.own else (torch.float32, self.own)

        def one(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.to(dtype) if tensor.dtype in follow else tensor
            if channels_last and tensor.dim() == 4:
                return tensor.contiguous(memory_format=torch.channels_last)
            return tensor

        return dataclasses.replace(self.with_tensors([*map(one, self.tensors)]), own=torch.float32)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all tensors, those by keyword behind the others."""
        return (*self.args, *self.kwargs.values())

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> Inputs:
        """Return the same inputs with these tensors instead, in the order of `tensors`."""
        count = len(self.args)
        kwargs = dict(zip(self.kwargs, tensors[count:], strict=True))
        return dataclasses.replace(self, args=tuple(tensors[:count]), kwargs=kwargs)

    def by_position(self) -> Inputs:
        """Return all inputs by position, those by keyword behind the others."""
        return dataclasses.replace(self, args=self.tensors, kwargs={})


@dataclass(frozen=True)
class Model:
    """Hold a module in eval mode, and inputs for it.

    `dynamic` gives the dimensions that have a range: by position or name of the input, then by dimension. The inputs
    have the size opt there. A `typed` module keeps its types and is not cast. torch.export and Torch-TensorRT must run
    inside the context that `lowering` makes. `module` is in FP32; `as_given` is the module as it came, where part of it
    is in FP16 or BF16. The modules in `keep_fp32` compute in FP32, whatever type the rest is cast to.
    """

    module: torch.nn.Module
    inputs: Inputs
    dynamic: dict[int | str, dict[int, Range]] = field(default_factory=dict)
    typed: bool = False
    lowering: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    as_given: torch.nn.Module | None = None
    keep_fp32: frozenset[str] = frozenset()

    @property
    def may_convolve(self) -> bool:
        """Return whether cuDNN may have an algorithm to choose: for a convolution, or in what cannot be looked into."""
        kinds = (torch.nn.modules.conv._ConvNd, torch.jit.ScriptModule)
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return any(isinstance(module, kinds) for module in self.module.modules()) or any(
            tensor.dim() > 3 for tensor in tensors if not is_lazy(tensor)
        )

    def __call__(self) -> Any:
        return self.module(*self.inputs.args, **self.inputs.kwargs)

    def to(self, dtype: torch.dtype, channels_last: bool = False) -> Model:
        """Return a copy whose weights and inputs have `dtype`; 4-d tensors are channels-last if asked.

        A module that comes in this type is taken as it came, with whatever it has in another.
        """
        module = self.module
        if not self.typed:
            as_given = self.as_given if dtype == self.inputs.own else None
            module = cast(copied(module), dtype) if as_given is None else copied(as_given)
            mixed.run_in(module, self.module, self.keep_fp32, torch.float32, dtype)
            if channels_last:
                module = module.to(memory_format=torch.channels_last)
        return dataclasses.replace(self, module=module, inputs=self.inputs.to(dtype, channels_last))


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a module; what cannot be copied, such as a lock, is the same object in both."""
    try:
        return copy.deepcopy(module)
    except (TypeError, copy.Error):
        shared = [value for part in module.modules() for value in vars(part).values() if not _copies(value)]
        return copy.deepcopy(module, {id(value): value for value in shared})


def _copies(value: Any) -> bool:
    if isinstance(value, dict | list | tuple | torch.nn.Module | torch.Tensor):
        return True  # what is in them is looked at, or copies
    try:
        copy.deepcopy(value)
    except (TypeError, copy.Error):
        return False
    return True


def cast(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Cast the floating-point parameters and buffers of a module: complex, integer and quantized ones stay."""
    module._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
    return module


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return torch's autocast to the type of a precision such as autocast_fp16; nothing for the others."""
    if precision not in AUTOCAST:
        return contextlib.nullcontext()
    return torch.autocast(device.type, DTYPE[AUTOCAST[precision]])


def shapes_over_range(shape: Sequence[int], ranges: dict[int, Range]) -> list[tuple[int, ...]]:
    """Return a shape three times: with all dimensions that have a range at min, at opt and at max."""
    return [
        tuple(ranges[axis][:3][end] if axis in ranges else size for axis, size in enumerate(shape)) for end in range(3)
    ]


@contextlib.contextmanager
def float32_mode(precision: str, cudnn_benchmark: bool = False) -> Iterator[None]:
    """Allow TF32 in torch's kernels if `precision` is tf32, forbid it otherwise; restore the settings afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    cudnn.benchmark = cudnn_benchmark
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
