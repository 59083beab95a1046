"""Ask a function of the user's how good a model is, with what a backend made of the model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch.utils import _pytree as pytree

from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.models import in_memory
from trt_sweep.models.inputs import from_call, split_batches
from trt_sweep.models.model import Inputs


class Batched:
    """A model that takes any number of samples, though what is behind it was built for one batch size.

    Inputs are FP32 on the model's device and come as `model.inputs` says, by position or by name; outputs are tensors
    with the samples first.
    """

    def __init__(self, bind: Callable[[Inputs], Callable[[], Any]], config: PointConfig) -> None:
        self._bind, self._config = bind, config.timed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            given = from_call(args, kwargs, self._config)
        except SweepError as error:
            raise SweepError(f"accuracy.evaluate: {error}") from error
        outputs = []
        for inputs, keep in split_batches(given, self._config):
            made = self._bind(inputs)()
            outputs.append(pytree.tree_map_only(torch.Tensor, functools.partial(_kept, keep), made))
        return pytree.tree_map(lambda *parts: torch.cat(parts), outputs[0], *outputs[1:])


def _kept(number: int, tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy of the first rows: an engine or a graph may write its next outputs into the same memory."""
    return tensor[:number].clone()


def name(config: PointConfig) -> str | None:
    """Return the column `evaluation_name`."""
    evaluate = config.accuracy.evaluate
    return in_memory.name(evaluate) if evaluate else None


def run(model: Callable[..., Any], config: PointConfig, device: torch.device) -> float | None:
    """Return what `accuracy.evaluate` says of a callable model on `device`; None where none is asked for.

    Raises SweepError where the function cannot be found or fails, or gives anything but a number.
    """
    if not config.accuracy.evaluate:
        return None
    shown = f"accuracy.evaluate={name(config)}"
    try:
        function = instantiate(config.accuracy.evaluate, _partial_=True, _convert_="all")
    except InstantiationException as error:
        raise SweepError(f"{shown} cannot be found: {one_line(error.__cause__ or error)}") from error
    try:
        value = function(model, device)
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(f"{shown} fails: {one_line(error)}; it is called with the model and the device") from error
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SweepError(f"{shown} gives a {type(value).__name__}: it must give a number")
    return float(value)
