"""Find which layers quantizing hurts, and which pay: `trt-sweep sensitivity model=… quantization.method=…`.

It quantizes one group of layers at a time and leaves the others as they are. Without a GPU it tells the damage alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import torch

from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.measure import accuracy
from trt_sweep.models import quantization
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.model import DTYPE, Inputs, Model, float32_mode
from trt_sweep.points import evaluation
from trt_sweep.sweep.sweep import Sweep

LAYERS = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
C = TypeVar("C", bound=PointConfig)
Groups = dict[str, list[str]]


@dataclass(frozen=True)
class Damage:
    """Hold a group of layers that was quantized alone: how many they are, and what that does to the model.

    `rel_l2_error` is of the fake-quantized model against FP32. `evaluation` is what the user's function says of it,
    None without one. `gain_ms` is what it takes off the engines' `gpu_ms` in FP16, None where that was not timed.
    `engine_error` is the relative L2 error of the engines against FP32: NaN where their outputs are not finite, None
    where none ran.
    """

    group: str
    quantized_layers: int
    rel_l2_error: float
    evaluation: float | None = None
    gain_ms: float | None = None
    engine_error: float | None = None


def groups(module: torch.nn.Module, depth: int, patterns: list[str]) -> Groups:
    """Group the layers with weights by the first of `patterns` that matches, or by the first `depth` parts of names.

    Raise SweepError where that tells nothing apart.
    """
    found: Groups = {}
    for name, child in module.named_modules():
        if isinstance(child, LAYERS):
            own = ".".join(name.split(".")[:depth])
            group = next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None) if patterns else own
            if group is not None:
                found.setdefault(group, []).append(name)
    if len(found) < 2:
        raise SweepError(f"this makes {len(found)} group of the model's layers: use another --depth, or --groups")
    return found


def alone(config: C, module: torch.nn.Module, layers: list[str]) -> C:
    """Return the point in which only these layers are quantized: a method may quantize norms and poolings too."""
    leaves = [name for name, child in module.named_modules() if name and not any(True for _ in child.children())]
    skip = [*config.quantization.skip, *(name for name in leaves if name not in layers)]
    return dataclasses.replace(config, quantization=dataclasses.replace(config.quantization, skip=skip))


def measure(model: Model, config: PointConfig, found: Groups) -> Iterator[Damage]:
    """Measure FP32, then all that the method quantizes, then each group by itself; leave out a group without a layer.

    `config` is of the backend eager. Raise what quantizing raises.
    """
    device, cast = torch.device(config.device), DTYPE[config.base_precision]
    inputs = example_inputs(config.timed, device).to(torch.float32)
    with torch.no_grad(), float32_mode("fp32"):
        reference = accuracy.Reference(model.module(*inputs.args, **inputs.kwargs))
        accuracy.require_tensors(reference.outputs)
        reference = accuracy.chosen(reference, config.accuracy)
        plain = dataclasses.replace(config, precision="fp32", quantization=QuantizationConfig())
        yield Damage("none (fp32)", 0, 0.0, _evaluated(model, plain, device))
        points = {"all": config} | {group: alone(config, model.module, found[group]) for group in found}
        for group, point in points.items():
            try:
                made, facts = quantization.quantize(model, point, device)
            except quantization.NothingQuantized:
                continue
            own = inputs.to(cast)
            checked, _ = accuracy.check(made.module(*own.args, **own.kwargs), reference, 1.0)
            assert facts.quantized_layers is not None
            if checked.rel_l2_error is None:
                raise SweepError("the model returns integers only, so that the damage of a layer cannot be told")
            value = _evaluated(made, point, device)
            yield Damage(group, facts.quantized_layers, checked.rel_l2_error, value)


def _evaluated(model: Model, config: PointConfig, device: torch.device) -> float | None:
    def bind(inputs: Inputs) -> Any:
        own = inputs.to(DTYPE[config.base_precision])
        return lambda: model.module(*own.args, **own.kwargs)

    return evaluation.run(evaluation.Batched(bind, config), config, device)


def engines(
    config: SweepConfig, points: dict[str, SweepConfig], folder: Path
) -> dict[str, tuple[float | None, float | None]]:
    """Return the `gain_ms` and `engine_error` of each point, by a sweep in `folder`; None where there is none."""
    fp16 = dataclasses.replace(config, precision="fp16", quantization=QuantizationConfig())
    with Sweep(dict(enumerate([fp16, *points.values()])), folder) as sweep:
        sweep.run()
        base, *own = (sweep.record(number) for number in range(len(points) + 1))  # where one failed its row says why
    found = {}
    for name, record in zip(points, own, strict=True):
        gain_ms = None
        if base.status == record.status == "ok" and base.gpu_ms is not None and record.gpu_ms is not None:
            gain_ms = base.gpu_ms - record.gpu_ms
        found[name] = gain_ms, math.nan if record.finite is False else record.rel_l2_error
    return found


def ranked(measured: list[Damage]) -> list[Damage]:
    """Order what is quantized not at all or altogether first, then the groups, the worst damage per gain first.

    Where gains are not known, the worst damage is first. A group without a gain is worse than any with one.
    """
    timed = any(damage.gain_ms is not None for damage in measured)

    def price(damage: Damage) -> float:
        if not timed:
            return damage.rel_l2_error
        gain = damage.gain_ms or 0.0
        return damage.rel_l2_error / gain if gain > 0 else float("inf")

    return measured[:2] + sorted(measured[2:], key=price, reverse=True)
