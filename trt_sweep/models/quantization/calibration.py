"""Make the calibration data of a quantization method: the user's batches, or random ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from trt_sweep.config.model import InputConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.models import in_memory
from trt_sweep.models.inputs import concatenate, example_inputs, from_call, split_batches
from trt_sweep.models.model import Inputs
from trt_sweep.results.record import RANDOM


def name(config: PointConfig) -> str:
    """Return the column `calibration`: the name of the user's data, or "random"."""
    given = config.quantization.calibration
    return in_memory.name(given) if given else RANDOM


def batches(config: PointConfig, device: torch.device) -> list[Inputs]:
    """Return `quantization.samples` samples in FP32 on `device`, in batches of the size that the point is timed at.

    The samples are the same at any batch size. Random samples differ from the point's own inputs. Raises SweepError for
    user's data that the model cannot be called with, that are not finite, or that are empty.
    """
    timed, left = config.timed, config.quantization.samples
    if not config.quantization.calibration:
        alone = dataclasses.replace(timed, batch_size=1)
        drawn = [
            example_inputs(alone, device, other=2 + index).to(torch.float32) for index in range(left)
        ]  # 0 and 1 are the point's inputs
        if not any(spec.batched for spec in timed.model.tensors):
            return drawn
        return [piece for piece, _ in split_batches(concatenate(drawn, timed), timed)]
    found: list[Inputs] = []
    for number, batch in enumerate(_iterable(config.quantization.calibration)):
        inputs = _checked(batch, timed, f"quantization.calibration={name(config)} batch {number}", device)
        for piece, keep in split_batches(inputs, timed, left):
            found.append(piece)
            left -= keep
        if left <= 0:
            break
    if not found:
        raise SweepError(f"quantization.calibration={name(config)} gives no batch: it must give at least one")
    return found


def _iterable(calibration: dict[str, Any]) -> Iterable[Any]:
    shown = f"quantization.calibration={calibration['_target_']}"
    try:
        made = instantiate(calibration, _convert_="all")
    except InstantiationException as error:
        raise SweepError(f"{shown} cannot be built: {one_line(error.__cause__ or error)}") from error
    if not isinstance(made, Iterable) or isinstance(made, torch.Tensor | str | dict):
        raise SweepError(f"{shown} gives a {type(made).__name__}: it must give an iterable of batches")
    return made


def _checked(batch: Any, config: PointConfig, where: str, device: torch.device) -> Inputs:
    """Return a batch as the model's inputs; raise SweepError for one that does not fit."""
    args = (batch,) if isinstance(batch, torch.Tensor) else () if isinstance(batch, dict) else batch
    kwargs = batch if isinstance(batch, dict) else {}
    if not isinstance(args, tuple | list):
        raise SweepError(f"{where} is a {type(batch).__name__}: give tensors, tuples or dicts of them")
    try:
        given = from_call(args, kwargs, config)
    except SweepError as error:
        raise SweepError(f"{where} does not fit the model's inputs: {error}") from error
    specs = config.model.tensors
    return given.with_tensors(
        [_tensor(value, spec, where, device) for value, spec in zip(given.tensors, specs, strict=True)]
    )


def _tensor(value: Any, spec: InputConfig, where: str, device: torch.device) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise SweepError(f"{where} holds a {type(value).__name__}: give tensors")
    own = list(value.shape)
    wanted = [None] * spec.batched + spec.shape
    right = len(own) == len(wanted) and 0 not in own
    for size, allowed in zip(own, wanted, strict=False):
        right &= allowed is None or size == allowed
    if not right:
        shown = ", ".join("batch" if size is None else str(size) for size in wanted)
        raise SweepError(f"{where} has shape {own}: the model takes [{shown}]")
    if value.is_floating_point():
        value = value.float()
        if not bool(torch.isfinite(value).all()):
            raise SweepError(
                f"{where} holds NaN or infinity: scales made of it would be useless; leave such samples out"
            )
    elif spec.dtype in ("float", "float64", "float16", "bfloat16"):
        raise SweepError(f"{where} is of {value.dtype}: the model takes floating-point numbers")
    moved: torch.Tensor = value.to(device)
    return moved
