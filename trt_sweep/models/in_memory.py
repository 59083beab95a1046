"""Keep modules that are in memory, with the inputs that they were given, for configurations that name them."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import torch

from trt_sweep.config.model import IN_MEMORY, ModelConfig
from trt_sweep.models.arguments import Structure
from trt_sweep.models.identity import describe

MOVED = 0.1  # relative: how far other inputs lie from those that were given


@dataclasses.dataclass(frozen=True)
class Held:
    """Hold a module and the tensors of its inputs with their structure.

    `batched` says whether the tensors' first dimension is a batch.
    """

    module: torch.nn.Module
    structure: Structure
    tensors: tuple[torch.Tensor, ...]
    batched: bool


_held: dict[str, Held] = {}


def keep(key: str, held: Held) -> None:
    """Keep a module for configurations whose factory is `IN_MEMORY` with this key."""
    _held[key] = held


def find(model: ModelConfig) -> Held | None:
    """Return what is kept for a model; None where its module is not in memory."""
    return _held[model.factory["key"]] if model.factory.get("_target_") == IN_MEMORY else None


_values: dict[str, Any] = {}


def call_of(value: Any) -> dict[str, str]:
    """Keep a function, or data, and return the configuration by which `call` gives it."""
    name = getattr(value, "__qualname__", type(value).__name__)
    key = hashlib.sha256(f"{name} {describe(value)}".encode()).hexdigest()[:16]
    _values[key] = value
    return {"_target_": f"{__name__}.{call.__name__}", "name": name, "key": key}


def name(configured: dict[str, Any]) -> str:
    """Return the name of what a configuration calls; that of a function in memory is the function's own."""
    return str(configured["name" if configured["_target_"] == f"{__name__}.{call.__name__}" else "_target_"])


def call(*given: Any, name: str, key: str) -> Any:
    """Return what a function that is kept gives for these arguments; data that are kept as they are."""
    value = _values[key]
    return value(*given) if callable(value) else value


def samples(tensor: torch.Tensor, batched: bool, batch_size: int, other: int, first: int) -> torch.Tensor:
    """Return a copy of a tensor that the user has, with so many of its samples: from `first` on, over and over.

    Each number `other` gives a tensor near it: the samples in another order, and floating-point numbers moved by a
    tenth. Integers and booleans of a single sample stay as they are, since not every one need be valid.
    """
    found = tensor.detach().cpu()
    if batched:
        found = found[(torch.arange(batch_size) + first + other) % len(found)]
    if other and found.is_floating_point():
        generator = torch.Generator().manual_seed(other)
        found = found * (1 + MOVED * torch.randn(found.shape, generator=generator)).to(found.dtype)
    return found.clone()
