"""From the configuration to a module and the inputs it is called with."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch.nn.parameter import is_lazy

from trt_sweep.config.checks import Range
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.measure import accuracy
from trt_sweep.sharing import Shared

TORCHVISION = "torchvision.models.get_model"
HELD = "trt_sweep.notebook.held"  # gives modules that are in memory, weights and all
FADED = 1e-3  # relative change of an output with the input; FP16 alone rounds by half of it
# Inputs have seeds of their own: from the seed of the weights torch would draw the same numbers, and the first layer's
# first weights would follow the input. Its generators take 32 bits of a seed.
OF_INPUTS = 1 << 31
DTYPE = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Inputs:
    """The arguments of a module's forward, on one device."""

    args: tuple[torch.Tensor, ...]
    kwargs: dict[str, torch.Tensor]

    def to(self, dtype: torch.dtype, channels_last: bool = False) -> Inputs:
        """FP32 tensors in `dtype`, others as they are; 4-d ones laid out channels-last if asked."""

        def cast(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.to(dtype) if tensor.dtype == torch.float32 else tensor
            if channels_last and tensor.dim() == 4:
                return tensor.contiguous(memory_format=torch.channels_last)
            return tensor

        return Inputs(tuple(map(cast, self.args)), {name: cast(tensor) for name, tensor in self.kwargs.items()})

    def by_position(self) -> Inputs:
        """All of them by position, those by keyword behind the others."""
        return Inputs((*self.args, *self.kwargs.values()), {})


@dataclass(frozen=True)
class Model:
    """A module in eval mode with inputs for it.

    `dynamic` says which dimensions of which inputs have a range: the number of a positional input or the name of a
    keyword, then the dimension, then (min, opt, max). The inputs have the size opt there. A `typed` module has the
    types that it is to have, and is not cast. `lowering` gives what torch.export and Torch-TensorRT need around them.
    """

    module: torch.nn.Module
    inputs: Inputs
    dynamic: dict[int | str, dict[int, Range]] = field(default_factory=dict)
    typed: bool = False
    lowering: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    @property
    def convolutions(self) -> int:
        """How many kinds of convolutions cuDNN has an algorithm to choose for; 1 where they cannot be looked into."""
        modules = list(self.module.modules())
        settings = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        kinds = {
            (type(module), *(getattr(module, name) for name in settings))
            for module in modules
            if isinstance(module, torch.nn.modules.conv._ConvNd)
        }
        tensors = [*self.module.parameters(), *self.module.buffers()]
        hidden = any(isinstance(module, torch.jit.ScriptModule) for module in modules) or any(
            tensor.dim() > 3 for tensor in tensors if not is_lazy(tensor)
        )
        return len(kinds) or int(hidden)

    def __call__(self) -> Any:
        return self.module(*self.inputs.args, **self.inputs.kwargs)

    def to(self, dtype: torch.dtype, channels_last: bool = False) -> Model:
        """A copy whose FP32 weights and inputs have `dtype`; channels-last for 4-d tensors if asked."""
        module = self.module
        if not self.typed:
            module = copy.deepcopy(module).to(dtype)
            if channels_last:
                module = module.to(memory_format=torch.channels_last)
        return dataclasses.replace(self, module=module, inputs=self.inputs.to(dtype, channels_last))


def shapes_over_range(shape: Sequence[int], ranges: dict[int, Range]) -> list[tuple[int, ...]]:
    """A shape at min, opt and max of those dimensions that have a range."""
    return [tuple(ranges[axis][end] if axis in ranges else size for axis, size in enumerate(shape)) for end in range(3)]


def check(model: ModelConfig) -> None:
    """Raise SweepError for what can be known to be wrong before anything is built."""
    if model.factory.get("_target_") == TORCHVISION:
        from torchvision.models import get_model_weights, list_models

        names = list_models()
        if model.name not in names:
            near = get_close_matches(model.name, names, 3)
            raise SweepError(
                f"model.name={model.name} is not a model of torchvision: "
                + (
                    f"did you mean {' or '.join(near)}?"
                    if near
                    else "python -c 'import torchvision; print(torchvision.models.list_models())' lists them"
                )
            )
        known = list(get_model_weights(model.name).__members__)  # DEFAULT among them
        if model.weights is not None and model.weights not in known and not Path(model.weights).is_file():
            raise SweepError(
                f"model.weights={model.weights} is neither a file nor weights of torchvision's {model.name}: use "
                + ", ".join(known)
                + " or the path of a state dict"
            )
    elif model.weights is not None and not Path(model.weights).is_file():
        raise SweepError(
            f"model.weights={model.weights} is not a file: give the path of a state dict saved with torch.save"
        )


def build(config: SweepConfig, device: torch.device, shared: Shared | None = None) -> Model:
    """The module in FP32 and eval mode with its inputs on `device`, the same for the same seed on any device.

    In `shared` one module serves all batch sizes. Raises SweepError where the factory, the weights or the inputs do not
    work.
    """
    of_module = ("module", config.unsized.source_key, str(device))
    module = (shared or Shared()).once(of_module, lambda: _seeded(config).to(device))
    dynamic: dict[int | str, dict[int, Range]] = {}
    positions = itertools.count()
    for spec in config.model.inputs:
        shape = [config.batch_size, *spec.shape] if spec.batched else spec.shape
        ranges = {axis: (size[0], size[1], size[2]) for axis, size in enumerate(shape) if isinstance(size, list)}
        key = next(positions) if spec.name is None else spec.name
        if ranges:
            dynamic[key] = ranges
    fixed = config.at(config.dynamic[1]) if config.dynamic else config
    return Model(module, example_inputs(fixed, device), dynamic)


def example_inputs(config: SweepConfig, device: torch.device, other: int = 0) -> Inputs:
    """The inputs of a point whose sizes are all fixed, on `device`, which the model's seed decides.

    Each number `other`, below 2^31, gives other ones, and none has to do with the model's weights.
    """
    generator = torch.Generator().manual_seed((config.model.seed + other) ^ OF_INPUTS)
    args, kwargs = [], {}
    for spec in config.model.inputs:
        tensor = _input(spec, config.batch_size, generator).to(device)
        if spec.name is None:
            args.append(tensor)
        else:
            kwargs[spec.name] = tensor
    return Inputs(tuple(args), kwargs)


def inputs_over_range(config: SweepConfig, device: torch.device) -> list[Inputs]:
    """The inputs at min, opt and max of the dynamic dimension; those of the point where it has none."""
    return [example_inputs(config.at(size) if size else config, device) for size in config.dynamic or (0,)]


def samples(inputs: Inputs, config: SweepConfig) -> int:
    """How many samples these inputs hold; 1 where none has a batch dimension."""
    return next((len(tensor) for _, tensor, batched in _by_spec(inputs, config) if batched), 1)


def joined(several: Sequence[Inputs], config: SweepConfig) -> Inputs:
    """All of these samples in one; what has no batch dimension is the first's."""
    made: dict[int | str, torch.Tensor] = {}
    for rows in zip(*(_by_spec(inputs, config) for inputs in several), strict=True):
        key, tensor, batched = rows[0]
        made[key] = torch.cat([row[1] for row in rows]) if batched else tensor
    return _keyed(made)


def pieces(inputs: Inputs, config: SweepConfig, most: int | None = None) -> Iterator[tuple[Inputs, int]]:
    """The first `most` samples as inputs of the size that the point is timed at, each with the samples that count.

    The last one is filled up with its own first sample.
    """
    number, size = min(samples(inputs, config), most or sys.maxsize), config.timed.batch_size
    for start in range(0, number, size):
        keep = min(size, number - start)
        cut = {
            key: torch.cat(
                [tensor[start : start + keep], tensor[start : start + 1].expand(size - keep, *tensor[0].shape)]
            )
            if batched
            else tensor
            for key, tensor, batched in _by_spec(inputs, config)
        }
        yield _keyed(cut), keep


def _keyed(tensors: dict[int | str, torch.Tensor]) -> Inputs:
    """Inputs of tensors by their position or name."""
    args = tuple(tensor for key, tensor in tensors.items() if isinstance(key, int))
    return Inputs(args, {key: tensor for key, tensor in tensors.items() if isinstance(key, str)})


def _by_spec(inputs: Inputs, config: SweepConfig) -> Iterator[tuple[int | str, torch.Tensor, bool]]:
    """Each tensor, by its position or name, with whether it has a batch dimension."""
    positions = itertools.count()
    for spec in config.model.inputs:
        key: int | str = next(positions) if spec.name is None else spec.name
        yield key, inputs.args[key] if isinstance(key, int) else inputs.kwargs[key], spec.batched


@contextlib.contextmanager
def float32_mode(precision: str, cudnn_benchmark: bool = False) -> Iterator[None]:
    """Allow TF32 in torch's own kernels for `tf32`, forbid it otherwise; put the settings back afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    cudnn.benchmark = cudnn_benchmark
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def _seeded(config: SweepConfig) -> torch.nn.Module:
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        module = _module(model).float().eval().requires_grad_(False)
        if model.factory.get("_target_") == TORCHVISION and model.weights is None:
            _wake_faded_signal(module, config)
    return module


def _module(model: ModelConfig) -> torch.nn.Module:
    factory, file = dict(model.factory), None
    if model.weights is not None:
        if Path(model.weights).is_file():
            file = Path(model.weights)
        else:
            factory["weights"] = model.weights
    try:
        module = instantiate(factory, _convert_="all")
    except InstantiationException as error:
        raise SweepError(f"model.factory cannot be built: {one_line(error.__cause__ or error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise SweepError(
            f"model.factory={factory.get('_target_')} gives a {type(module).__name__}: it must give a torch.nn.Module"
        )
    if file is not None:
        _load(module, file)
    elif model.weights is None and factory.get("_target_") != HELD:
        _wake_zero_heads(module)
    return module


def _load(module: torch.nn.Module, file: Path) -> None:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        module.load_state_dict(state)
    except Exception as error:
        raise SweepError(
            f"model.weights={file} is not a state dict of this model ({one_line(error, 200)}): "
            "save one with torch.save(module.state_dict(), path)"
        ) from error


def _wake_zero_heads(module: torch.nn.Module) -> None:
    """Re-draw layers initialised to zero (torchvision's vit heads): a constant output checks nothing."""
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if (
            isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
            and isinstance(weight, torch.Tensor)
            and not weight.any()
        ):
            layer.reset_parameters()


def _wake_faded_signal(module: torch.nn.Module, config: SweepConfig) -> None:
    """Re-draw the convolutions where the input hardly reaches the output, which then checks nothing.

    The output of torchvision's googlenet is constant, that of its mobilenet_v2 too small for FP16. He et al., Delving
    Deep into Rectifiers (2015), equation 10, keeps the signal's variance from layer to layer.
    """
    fixed = dataclasses.replace(config.timed, batch_size=1)
    with torch.no_grad():
        one, two = (example_inputs(fixed, torch.device("cpu"), other) for other in (False, True))
        output, other = module(*one.args, **one.kwargs), module(*two.args, **two.kwargs)
        loud = all(bool(tensor.abs().max() > torch.finfo(torch.float16).tiny) for tensor in accuracy.tensors(output))
        if loud and accuracy.spread(output, other) > FADED:
            return
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")


def _input(spec: InputConfig, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """A tensor on the CPU; drawn there so that every device sees the same values."""
    shape = [batch_size, *spec.shape] if spec.batched else spec.shape
    dtype = torch.float32 if spec.dtype == "float" else getattr(torch, spec.dtype)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if spec.low is None or spec.high is None:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype.is_floating_point:
        return (torch.rand(shape, generator=generator) * (spec.high - spec.low) + spec.low).to(dtype)
    return torch.randint(int(spec.low), int(spec.high), shape, generator=generator, dtype=dtype)
