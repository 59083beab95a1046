"""Sweep a module that is in memory, from Python: `trt_sweep.run`, for notebooks and scripts."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from trt_sweep.app.explain import HYDRA_ERRORS, explain
from trt_sweep.config import compose, hydra
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import in_memory
from trt_sweep.models.model import Inputs
from trt_sweep.results import table
from trt_sweep.sweep.sweep import Sweep

Given = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]


def run(
    model: torch.nn.Module,
    inputs: Given,
    axes: Mapping[str, Sequence[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
) -> pd.DataFrame:
    """Sweep `axes` over a module, and return the table of its records as `trt_sweep.load` gives it.

    `inputs` are a tensor, several by position, or several by keyword. The points are called with copies of them. A
    first dimension that all have in common is the batch, and `batch_size` an axis: a larger batch has the given samples
    over and over, a smaller one the first of them. `axes` holds the values of each axis, `settings` one value
    for each of what is not swept, both by the names of the command line:

        trt_sweep.run(net, x, {"optimization_level": [0, 3, 5]}, {"precision": "fp16", "measure.visits": 48})

    Points run in this process, where the module is (`isolation=none`): no limit holds, and one that crashes takes the
    process along. Records go into `folder`, which is named in `DataFrame.attrs["folder"]`; by default a new one below
    outputs/. A point that fails is a row; raises SweepError for what can be known to be wrong before.
    """
    described = _described(model, inputs)
    swept = dict(axes or {})
    for name, values in swept.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SweepError(f"axes[{name!r}]={values!r} is not allowed: give a list of values")
    for name, allowed in {"isolation": "none", "build_workers": 0}.items():
        value = dict(settings or {}).get(name, allowed)
        if value != allowed or name in swept:
            raise SweepError(f"{name}={value} is not allowed here: the module is in this process only; leave it out")
    fixed = {"isolation": "none", "device": _device(), **(settings or {})}
    both = sorted(set(swept) & set(settings or {}))
    if both:
        raise SweepError(f"{', '.join(both)} stands in axes and in settings: give it once")
    configs = {
        number: _config(fixed | dict(zip(swept, values, strict=True)), described)
        for number, values in enumerate(itertools.product(*swept.values()))
    }
    now = datetime.now()
    place = Path(folder or f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S}-{secrets.token_hex(2)}").absolute()
    with Sweep(configs, place) as sweep:
        sweep.run()
    rows = table.load(place)
    found = rows[rows["point_id"].isin(sweep.point_ids)].reset_index(drop=True)
    found.attrs |= rows.attrs | {"folder": str(place)}
    return found


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "auto"


def _config(values: Mapping[str, Any], described: tuple[ModelConfig, int]) -> SweepConfig:
    model, batch_size = described
    overrides = [f"{'+' * name.startswith('compile.')}{name}={_written(value)}" for name, value in values.items()]
    try:
        found = compose.composed(overrides)
    except HYDRA_ERRORS as error:
        raise SweepError(explain(error)) from error
    model = dataclasses.replace(model, seed=found.model.seed)
    return dataclasses.replace(
        found, model=model, batch_size=found.batch_size if "batch_size" in values else batch_size
    )


def _written(value: Any) -> str:
    """Return a value as Hydra reads it on a command line."""
    if isinstance(value, str):
        return hydra.quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value)


def _described(module: torch.nn.Module, inputs: Given) -> tuple[ModelConfig, int]:
    """Return the module and what it is called with as a configuration, and the size of the batch."""
    if not isinstance(module, torch.nn.Module):
        raise SweepError(f"model={type(module).__name__} is not allowed: give a torch.nn.Module")
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    named: list[tuple[str | None, Any]]
    named = [*inputs.items()] if isinstance(inputs, Mapping) else [(None, tensor) for tensor in inputs]
    for name, tensor in named:
        if not isinstance(tensor, torch.Tensor):
            raise SweepError(f"inputs[{name}] is a {type(tensor).__name__}: give tensors")
    sizes = {int(tensor.shape[0]) if tensor.dim() else 0 for _, tensor in named}
    batched = len(sizes) == 1 and 0 not in sizes
    specs = [_spec(name, tensor, batched) for name, tensor in named]
    name = type(module).__name__
    key = _identity(module, named)
    args = tuple(tensor for item, tensor in named if item is None)
    given = Inputs(args, {item: tensor for item, tensor in named if item is not None})
    in_memory.keep(key, in_memory.Held(module, given, batched))
    factory = {"_target_": in_memory.IN_MEMORY, "key": key}
    return ModelConfig(name=name, factory=factory, inputs=specs), next(iter(sizes)) if batched else 1


def _identity(module: torch.nn.Module, inputs: Sequence[tuple[str | None, torch.Tensor]]) -> str:
    """Return a hash of a module and its inputs: structure, tensors, and plain attributes, which may change outputs."""
    key = hashlib.sha256(f"{type(module).__module__}.{module}".encode())
    for path, part in module.named_modules():
        plain = {name: value for name, value in vars(part).items() if name != "training" and _plain(value)}
        key.update(f"{path} {sorted(plain.items())!r}".encode())
        plain = {"code": part.code} if isinstance(part, torch.jit.ScriptModule) and hasattr(part, "code") else {}
        key.update(repr(plain).encode())
    tensors = (*module.named_parameters(), *module.named_buffers(), *inputs)
    for item, tensor in (*tensors, *module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            key.update(f"{item} {tensor!r}".encode())  # what get_extra_state gives
            continue
        key.update(f"{item} {tensor.dtype} {tuple(tensor.shape)}".encode())
        key.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return key.hexdigest()


def _plain(value: Any) -> bool:
    """Return whether a value is a number, a text, or a sequence of such: what prints as what it is."""
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | complex | str | torch.dtype)


def _spec(name: str | None, tensor: torch.Tensor, batched: bool) -> InputConfig:
    shape = list(tensor.shape[1:] if batched else tensor.shape)
    dtype = "float" if tensor.dtype == torch.float32 else str(tensor.dtype).removeprefix("torch.")
    low = high = None
    if dtype != "bool" and tensor.numel():
        low, high = float(tensor.min()), float(tensor.max())
        if not tensor.dtype.is_floating_point:
            high += 1
        elif low == high:  # a range that holds the constant, but for the last digits
            high = low + max(abs(low), 1.0) * 1e-6
    return InputConfig(shape=shape, dtype=dtype, low=low, high=high, name=name, batched=batched)
