"""Make a model's inputs, and split and join batches of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from trt_sweep.config.model import InputConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import dtypes, in_memory, input_files
from trt_sweep.models.arguments import Structure, taken_apart
from trt_sweep.models.model import Inputs

# Flips one bit of the seed for inputs. With the seed of the weights torch would draw the same numbers for both. Its
# generators use 32 bits of a seed.
INPUT_SEED_BIT = 1 << 31


def example_inputs(config: PointConfig, device: torch.device, other: int = 0, first: int = 0) -> Inputs:
    """Return inputs for a point whose sizes are all fixed, on `device`.

    Those that the user has are the samples from number `first` on, over and over where there are fewer than the batch
    has. All others are random, by the model's seed. Each number `other`, below 2^31, gives other inputs. What is random
    has the type that the module comes in, see `Inputs.to`.
    """
    own = dtypes.of(config.model)
    if (held := in_memory.find(config.model)) is not None:
        structure, tensors = held.structure, held.tensors
        made = [in_memory.samples(each, held.batched, config.batch_size, other, first) for each in tensors]
    else:
        generator = torch.Generator().manual_seed((config.model.seed + other + first) ^ INPUT_SEED_BIT)

        def make(spec: InputConfig) -> torch.Tensor:
            if not spec.given:
                return _in_own_type(_drawn(spec, config.batch_size, generator), spec, own)
            found = _in_own_type(input_files.read(spec, config.model.seed), spec, own)
            return in_memory.samples(found, spec.batched, config.batch_size, other, first)

        structure, made = taken_apart(*_arguments(config, make))
    moved = [tensor.to(device) for tensor in made]
    args, kwargs = structure.fill(moved) if structure.plain else (tuple(moved), {})
    return Inputs(args, kwargs, own)


def _in_own_type(tensor: torch.Tensor, spec: InputConfig, own: torch.dtype) -> torch.Tensor:
    """Return floating-point numbers in the type that a module in half comes in, unless they have one of their own."""
    follows = spec.dtype == "float" and tensor.is_floating_point()
    return tensor.to(own) if follows and own in dtypes.HALF else tensor


def structure(config: PointConfig) -> Structure | None:
    """Return how a call's arguments are made of its tensors; None where they are tensors and nothing else."""
    if (held := in_memory.find(config.model)) is not None:
        found = held.structure
    else:
        found, _ = taken_apart(*_arguments(config, lambda spec: torch.empty(0)))
    return None if found.plain else found


def _arguments(
    config: PointConfig, make: Callable[[InputConfig], torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments by position and by keyword, with what `make` gives for each tensor."""

    def one(spec: InputConfig) -> Any:
        if isinstance(spec.items, Mapping):
            return {key: one(part) for key, part in spec.items.items()}
        if spec.items is not None:
            return [one(part) for part in spec.items]
        return make(spec) if spec.tensors else spec.value

    made = [(spec.name, one(spec)) for spec in config.model.inputs]
    return tuple(value for name, value in made if name is None), {
        name: value for name, value in made if name is not None
    }


def inputs_over_range(config: PointConfig, device: torch.device) -> list[Inputs]:
    """Return inputs with all dynamic dimensions at min, at opt and at max; without one, the point's only."""
    ends = [config.at({item.name: item[:3][end] for item in config.ranges.values()}) for end in range(3)]
    return [example_inputs(each, device) for each in (ends if config.ranges else [config])]


def samples_given(config: PointConfig) -> int | None:
    """Return the number of samples that the user has; None where all inputs are random, or without a batch."""
    if (held := in_memory.find(config.model)) is not None:
        return len(held.tensors[0]) if held.batched else None
    specs = [spec for spec in config.model.tensors if spec.given and spec.batched]
    return max((len(input_files.read(spec, config.model.seed)) for spec in specs), default=None)


def from_call(args: Sequence[Any], kwargs: Mapping[str, Any], config: PointConfig) -> Inputs:
    """Return the arguments of a call of the user's as the inputs of the model; raise SweepError for other ones.

    What is no tensor may be left out, and must else be as in the model's own inputs.
    """
    held = in_memory.find(config.model)
    wanted = held.structure if held else taken_apart(*_arguments(config, lambda spec: torch.empty(0)))[0]
    given, tensors = taken_apart(args, kwargs)
    by_name, names = dict(zip(given.names(), tensors, strict=True)), wanted.names()
    if sorted(names) != sorted(by_name):
        raise SweepError(f"the model is called with tensors for {_shown(given.names())}: it takes {_shown(names)}")
    known = wanted.constants()
    for name, value in given.constants().items():
        if name not in known or known[name] != value:
            raise SweepError(f"the model is called with {name}={value}: it was built for {name}={known.get(name)}")
    ordered, own = [by_name[name] for name in names], dtypes.of(config.model)
    if held is None:
        ordered = [_in_own_type(*pair, own) for pair in zip(ordered, config.model.tensors, strict=True)]
    else:
        ordered = [
            tensor.to(like.dtype) if tensor.is_floating_point() and like.is_floating_point() else tensor
            for tensor, like in zip(ordered, held.tensors, strict=True)
        ]
    found, named = wanted.fill(ordered) if wanted.plain else (tuple(ordered), {})
    return Inputs(found, named, own)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(f"input {name}" if name.isdigit() else name for name in names) or "no input"


def sample_count(inputs: Inputs, config: PointConfig) -> int:
    """Return the number of samples in these inputs; 1 where none has a batch dimension."""
    return next((len(tensor) for tensor, batched in _with_batched(inputs, config) if batched), 1)


def concatenate(several: Sequence[Inputs], config: PointConfig) -> Inputs:
    """Concatenate inputs along the batch dimension; a tensor without one is taken from the first."""
    columns = zip(*(_with_batched(inputs, config) for inputs in several), strict=True)
    made = [torch.cat([tensor for tensor, _ in column]) if column[0][1] else column[0][0] for column in columns]
    return several[0].with_tensors(made)


def split_batches(inputs: Inputs, config: PointConfig, most: int | None = None) -> Iterator[tuple[Inputs, int]]:
    """Split inputs into batches of the size that the point is timed at; yield each with its number of real samples.

    Only the first `most` samples are taken. The last batch is filled up with copies of its first sample.
    """
    number, size = min(sample_count(inputs, config), most or sys.maxsize), config.timed.batch_size
    for start in range(0, number, size):
        keep = min(size, number - start)
        index = [*range(start, start + keep), *[start] * (size - keep)]
        cut = [tensor[index] if batched else tensor for tensor, batched in _with_batched(inputs, config)]
        yield inputs.with_tensors(cut), keep


def _with_batched(inputs: Inputs, config: PointConfig) -> list[tuple[torch.Tensor, bool]]:
    """Return each tensor with whether it has a batch dimension."""
    return [(tensor, spec.batched) for tensor, spec in zip(inputs.tensors, config.model.tensors, strict=True)]


def _drawn(spec: InputConfig, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw a tensor on the CPU, so that every device gets the same values."""
    shape = [batch_size, *spec.shape] if spec.batched else spec.shape
    dtype = torch.float32 if spec.dtype == "float" else getattr(torch, spec.dtype)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if spec.low is None or spec.high is None:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype.is_floating_point:
        return (torch.rand(shape, generator=generator) * (spec.high - spec.low) + spec.low).to(dtype)
    return torch.randint(int(spec.low), int(spec.high), shape, generator=generator, dtype=dtype)
