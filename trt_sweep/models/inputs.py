"""Make a model's inputs, and split and join batches of them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence

import torch

from trt_sweep.config.model import InputConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.models import in_memory
from trt_sweep.models.model import Inputs

# Flips one bit of the seed for inputs. With the seed of the weights torch would draw the same numbers for both. Its
# generators use 32 bits of a seed.
INPUT_SEED_BIT = 1 << 31


def example_inputs(config: PointConfig, device: torch.device, other: int = 0) -> Inputs:
    """Return inputs for a point whose sizes are all fixed, on `device`.

    They are random, by the model's seed; or those that were given with a module in memory. Each number `other`, below
    2^31, gives other inputs.
    """
    if (held := in_memory.find(config.model)) is not None:
        return in_memory.given(held, config.batch_size, device, int(other))
    generator = torch.Generator().manual_seed((config.model.seed + other) ^ INPUT_SEED_BIT)
    args, kwargs = [], {}
    for spec in config.model.inputs:
        tensor = _input(spec, config.batch_size, generator).to(device)
        if spec.name is None:
            args.append(tensor)
        else:
            kwargs[spec.name] = tensor
    return Inputs(tuple(args), kwargs)


def inputs_over_range(config: PointConfig, device: torch.device) -> list[Inputs]:
    """Return inputs at min, opt and max of the dynamic dimension; without one, the point's only."""
    return [example_inputs(config.at(size) if size else config, device) for size in config.dynamic or (0,)]


def sample_count(inputs: Inputs, config: PointConfig) -> int:
    """Return the number of samples in these inputs; 1 where none has a batch dimension."""
    return next((len(tensor) for _, tensor, batched in _tensors_with_batched(inputs, config) if batched), 1)


def concatenate(several: Sequence[Inputs], config: PointConfig) -> Inputs:
    """Concatenate inputs along the batch dimension; a tensor without one is taken from the first."""
    made: dict[int | str, torch.Tensor] = {}
    for rows in zip(*(_tensors_with_batched(inputs, config) for inputs in several), strict=True):
        key, tensor, batched = rows[0]
        made[key] = torch.cat([row[1] for row in rows]) if batched else tensor
    return _from_dict(made)


def split_batches(inputs: Inputs, config: PointConfig, most: int | None = None) -> Iterator[tuple[Inputs, int]]:
    """Split inputs into batches of the size that the point is timed at; yield each with its number of real samples.

    Only the first `most` samples are taken. The last batch is filled up with copies of its first sample.
    """
    number, size = min(sample_count(inputs, config), most or sys.maxsize), config.timed.batch_size
    for start in range(0, number, size):
        keep = min(size, number - start)
        cut = {
            key: torch.cat(
                [tensor[start : start + keep], tensor[start : start + 1].expand(size - keep, *tensor[0].shape)]
            )
            if batched
            else tensor
            for key, tensor, batched in _tensors_with_batched(inputs, config)
        }
        yield _from_dict(cut), keep


def _from_dict(tensors: dict[int | str, torch.Tensor]) -> Inputs:
    """Return inputs made of tensors by their position or name."""
    args = tuple(tensor for key, tensor in tensors.items() if isinstance(key, int))
    return Inputs(args, {key: tensor for key, tensor in tensors.items() if isinstance(key, str)})


def _tensors_with_batched(inputs: Inputs, config: PointConfig) -> Iterator[tuple[int | str, torch.Tensor, bool]]:
    """Yield the position or name of each tensor, the tensor, and whether it has a batch dimension."""
    positions = itertools.count()
    for spec in config.model.inputs:
        key: int | str = next(positions) if spec.name is None else spec.name
        yield key, inputs.args[key] if isinstance(key, int) else inputs.kwargs[key], spec.batched


def _input(spec: InputConfig, batch_size: int, generator: torch.Generator) -> torch.Tensor:
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
