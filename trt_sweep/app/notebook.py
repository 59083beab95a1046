"""Sweep a module that is in memory, from Python: `trt_sweep.run`, for notebooks and scripts."""

from __future__ import annotations

import dataclasses
import itertools
import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils import _pytree as pytree

from trt_sweep.app import answer, frame, overrides
from trt_sweep.app.explain import HYDRA_ERRORS, explain
from trt_sweep.config import compose
from trt_sweep.config.model import DTYPES, IN_MEMORY, WHOLE, InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import dtypes, in_memory
from trt_sweep.models.arguments import taken_apart
from trt_sweep.models.identity import identity
from trt_sweep.results import table
from trt_sweep.sweep.sweep import Sweep

GIVEN = {  # what may stand beside a module in memory of the settings that describe a model, and why others may not
    "model.name": None,
    "model.seed": None,
    "model.weights": "load them into the module",
    "model.inputs": "give the inputs themselves",
}


def run(
    model: torch.nn.Module,
    inputs: Any = (),
    axes: Mapping[str, Iterable[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Sweep `axes` over a module, and return the table of its records as `trt_sweep.load` gives it.

    `inputs` are a tensor, or a tuple or list of the arguments by position, or a mapping of those by keyword; `kwargs`
    are those by keyword beside ones by position. An argument is a tensor, a number, a flag, a text or None, or lists,
    tuples and dicts of them. The points are called with copies of them. A first dimension that all tensors have in
    common is the batch, and `batch_size` an axis: a larger batch has the given samples over and over, a smaller one the
    first of them. `axes` holds the values of each axis, `settings` one value for each of what is not swept, both by the
    names of the command line; a setting that names a function, such as accuracy.evaluate, may be the function itself:

        trt_sweep.run(net, x, {"optimization_level": [0, 3, 5]}, {"precision": "fp16", "measure.visits": 48})

    Points run in this process, where the module is (`isolation=none`): no limit holds, and one that crashes takes the
    process along. Records go into `folder`, which is named in `DataFrame.attrs["folder"]`; by default a new one below
    outputs/. A point that fails is a row; raises SweepError for what can be known to be wrong before.
    """
    swept, fixed = checked(axes, settings)
    described = _described(model, *_call(inputs, kwargs))
    configs = {
        number: _config(fixed | dict(zip(swept, values, strict=True)), described)
        for number, values in enumerate(itertools.product(*swept.values()))
    }
    place = new_folder(folder)
    with Sweep(configs, place) as sweep:
        sweep.run()
    rows = table.load(place)
    answer.show(rows, configs[0].objective)
    return frame.arranged(rows[rows["point_id"].isin(sweep.point_ids)].reset_index(drop=True), place)


def checked(
    axes: Mapping[str, Iterable[Any]] | None, settings: Mapping[str, Any] | None
) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return what is swept and what is set; raise SweepError for what cannot be beside a module in memory."""
    swept = {name: _values(name, values) for name, values in dict(axes or {}).items()}
    for name in (*swept, *(settings or {})):
        if name.partition(".")[0] == "model" and (name in swept or GIVEN.get(name, "") is not None):
            why = GIVEN.get(name) or "it is the one that is given"
            raise SweepError(f"{name} is not allowed beside a module in memory: {why}")
    for name, allowed in {"isolation": "none", "build_workers": 0}.items():
        value = dict(settings or {}).get(name, allowed)
        if value != allowed or name in swept:
            raise SweepError(f"{name}={value} is not allowed here: the module is in this process only; leave it out")
    both = sorted(set(swept) & set(settings or {}))
    if both:
        raise SweepError(f"{', '.join(both)} stands in axes and in settings: give it once")
    return swept, {"isolation": "none", "device": _device(), **(settings or {})}


def new_folder(given: str | Path | None) -> Path:
    """Return where records go: the folder that is given, or else a new one below outputs/."""
    now = datetime.now()
    return Path(given or f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S}-{secrets.token_hex(2)}").absolute()


def configuring(
    model: torch.nn.Module, inputs: Any, kwargs: Mapping[str, Any] | None, fixed: Mapping[str, Any]
) -> Callable[[list[str]], SweepConfig]:
    """Return a function that makes a configuration of this module from further overrides."""
    described = _described(model, *_call(inputs, kwargs))
    return lambda more: _config(fixed, described, more)


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "auto"


def _config(values: Mapping[str, Any], described: tuple[ModelConfig, int], more: Sequence[str] = ()) -> SweepConfig:
    model, batch_size = described
    try:
        found = compose.composed([*(overrides.written(name, value) for name, value in values.items()), *more])
    except HYDRA_ERRORS as error:
        raise SweepError(explain(error)) from error
    name = found.model.name if "model.name" in values else model.name
    model = dataclasses.replace(model, name=name, seed=found.model.seed)
    return dataclasses.replace(found, model=model, batch_size=found.batch_size if _sets(values, more) else batch_size)


def _sets(values: Mapping[str, Any], more: Sequence[str]) -> bool:
    return "batch_size" in values or any(override.startswith("batch_size=") for override in more)


def _values(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | Mapping | torch.Tensor) or not isinstance(values, Iterable) or not (found := [*values]):
        raise SweepError(f"axes[{name!r}]={values!r} is not allowed: give a list of values")
    return found


def _call(inputs: Any, kwargs: Mapping[str, Any] | None) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return what a module is called with by position and by keyword."""
    if isinstance(inputs, Mapping):
        twice = sorted(set(inputs) & set(kwargs or {}))
        if twice:
            raise SweepError(f"inputs and kwargs both have {', '.join(twice)}: give it once")
        return (), {**inputs, **(kwargs or {})}
    several = isinstance(inputs, tuple | list)
    return inputs if several else (inputs,), dict(kwargs or {})


def _described(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[ModelConfig, int]:
    """Return the module and what it is called with as a configuration, and the size of the batch."""
    if not isinstance(module, torch.nn.Module):
        raise SweepError(f"model={type(module).__name__} is not allowed: give a torch.nn.Module")
    for name in kwargs:
        if not isinstance(name, str):
            raise SweepError(f"inputs[{name!r}] is not allowed: name inputs by text, as forward does")
    args, kwargs = pytree.tree_map_only(np.ndarray, torch.as_tensor, (tuple(args), dict(kwargs)))
    structure, tensors = taken_apart(args, kwargs)
    sizes = {int(tensor.shape[0]) for tensor in tensors if tensor.dim()}
    # Several lists of integers are ids and offsets, or lengths, as often as they are a batch.
    lists = sum(tensor.dim() == 1 and not tensor.is_floating_point() for tensor in tensors)
    batched = len(sizes) == 1 and 0 not in sizes and all(tensor.dim() for tensor in tensors) and lists < 2
    key = identity(module, structure, tensors)
    in_memory.keep(key, in_memory.Held(module, structure, tuple(tensors), batched))
    specs = [
        _spec(name if not structure.plain or not name.isdigit() else None, tensor, batched, dtypes.main_type(module))
        for name, tensor in zip(structure.names(), tensors, strict=True)
    ]
    factory = {"_target_": IN_MEMORY, "key": key}
    return ModelConfig(name=type(module).__name__, factory=factory, inputs=specs), sizes.pop() if batched else 1


def _spec(name: str | None, tensor: torch.Tensor, batched: bool, own: torch.dtype) -> InputConfig:
    """Describe a tensor; its values are known by the identity of the module that it is given with.

    One in FP32 or the module's `own` type follows the precision, see `Inputs.to`.
    """
    shape = list(tensor.shape[1:] if batched else tensor.shape)
    dtype = "float" if tensor.dtype in (torch.float32, own) else str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SweepError(f"an input is of {tensor.dtype}: give one of {', '.join(DTYPES)}")
    low = high = None
    if dtype in WHOLE:
        values = tensor.to(torch.int64)
        low, high = (float(values.min()), float(values.max()) + 1) if tensor.numel() else (0.0, 1.0)
        low = min(low, math.nextafter(high, -math.inf))  # where a float has no room for the one more
    elif tensor.is_floating_point() and tensor.numel():
        low, high = float(tensor.float().min()), float(tensor.float().max())
        high = low + max(abs(low), 1.0) * 1e-6 if low == high else high  # a range that holds the constant
        if not (math.isfinite(low) and math.isfinite(high)):
            low = high = None
    return InputConfig(shape=shape, dtype=dtype, low=low, high=high, name=name, batched=batched)
