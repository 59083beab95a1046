"""Keep modules that are in memory, with the inputs that they were given, for configurations that name them."""

from __future__ import annotations

import dataclasses

import torch

from trt_sweep.config.model import ModelConfig
from trt_sweep.models.model import Inputs

IN_MEMORY = "trt_sweep.notebook.held"  # marks a module that is in memory; a part of point_id, so it stays as it was
MOVED = 0.1  # relative: how far other inputs lie from those that were given


@dataclasses.dataclass(frozen=True)
class Held:
    """Hold a module and its inputs; `batched` says whether their first dimension is a batch."""

    module: torch.nn.Module
    inputs: Inputs
    batched: bool


_held: dict[str, Held] = {}


def keep(key: str, held: Held) -> None:
    """Keep a module for configurations whose factory is `IN_MEMORY` with this key."""
    _held[key] = held


def find(model: ModelConfig) -> Held | None:
    """Return what is kept for a model; None where its module is not in memory."""
    return _held[model.factory["key"]] if model.factory.get("_target_") == IN_MEMORY else None


def given(held: Held, batch_size: int, device: torch.device, other: int) -> Inputs:
    """Return copies of the inputs that were given, with so many samples: those given, over and over, or the first.

    Each number `other` gives inputs near them: the samples in another order, and floating-point numbers moved by a
    tenth. Integers and booleans of a single sample stay as they are, since not every one need be valid.
    """
    generator = torch.Generator().manual_seed(other)

    def one(tensor: torch.Tensor) -> torch.Tensor:
        found = tensor.detach().cpu()
        if held.batched:
            found = found[(torch.arange(batch_size) + other) % len(found)]
        if other and found.is_floating_point():
            found = found * (1 + MOVED * torch.randn(found.shape, generator=generator)).to(found.dtype)
        return found.to(device, copy=True)

    return Inputs(tuple(map(one, held.inputs.args)), {name: one(each) for name, each in held.inputs.kwargs.items()})
