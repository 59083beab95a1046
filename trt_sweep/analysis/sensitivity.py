"""Find which layers a precision hurts, and which pay: groups of layers are tried one at a time.

A group is quantized alone while the others stay as they are, or kept in FP32 alone while the others are in FP16 (see
`kept`). Without a GPU it tells the damage alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
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
from trt_sweep.models.model import DTYPE, Inputs, Model, autocast, float32_mode
from trt_sweep.points import evaluation
from trt_sweep.results import ranking
from trt_sweep.results.stats import differences
from trt_sweep.sweep.sweep import Sweep

LAYERS = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
C = TypeVar("C", bound=PointConfig)
Groups = dict[str, list[str]]


@dataclass(frozen=True)
class Damage:
    """Hold a group of layers that was tried alone: how many they are, and what that does to the model.

    `rel_l2_error` is of the model in PyTorch against FP32, infinite where an output is not finite. `own_error` is that
    of the model whose rest is in FP32; None where nobody asked. `evaluation` is what the user's function says of it,
    None without one. `timed` is what it does to the engines, None where none ran.
    """

    group: str
    layers: int
    rel_l2_error: float
    own_error: float | None = None
    evaluation: float | None = None
    timed: Timed | None = None


@dataclass(frozen=True)
class Timed:
    """Hold what a group does to the engines: what it takes off their `gpu_ms`, with the ends of its interval.

    `error` is their relative L2 error against FP32: NaN where their outputs are not finite. All are None where they are
    not known.
    """

    gain_ms: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None


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


class Trials:
    """Run a model as points have it, and set each against FP32."""

    def __init__(self, model: Model, config: PointConfig) -> None:
        self._model, self._config, self._device = model, config, torch.device(config.device)
        self._inputs = example_inputs(config.timed, self._device).to(torch.float32)
        with torch.no_grad(), float32_mode("fp32"):
            reference = accuracy.Reference(model.module(*self._inputs.args, **self._inputs.kwargs))
        accuracy.require_tensors(reference.outputs)
        self._reference = accuracy.chosen(reference, config.accuracy)

    def fp32(self) -> Damage:
        """Return what FP32 is worth."""
        plain = dataclasses.replace(self._config, precision="fp32", quantization=QuantizationConfig())
        return Damage("none (fp32)", 0, 0.0, evaluation=self._evaluated(self._model.module, plain))

    def run(self, group: str, point: PointConfig, made: Model, layers: int, own: Model | None = None) -> Damage:
        """Return what a model in the precision of a point is worth; `own` is another one, of which the error is told.

        Raises SweepError where the model returns integers only.
        """
        error = self._error(made.module, point)
        own_error = None if own is None else self._error(own.module, dataclasses.replace(point, precision="fp32"))
        return Damage(group, layers, error, own_error, self._evaluated(made.module, point))

    def _error(self, module: torch.nn.Module, point: PointConfig) -> float:
        inputs = self._inputs.to(DTYPE[point.base_precision])
        with torch.no_grad(), float32_mode("fp32"), autocast(point.precision, self._device):
            checked, _ = accuracy.check(module(*inputs.args, **inputs.kwargs), self._reference, 1.0)
        if checked.rel_l2_error is None:
            raise SweepError("the model returns integers only, so that the damage of a layer cannot be told")
        return math.inf if math.isnan(checked.rel_l2_error) else checked.rel_l2_error

    def _evaluated(self, module: torch.nn.Module, point: PointConfig) -> float | None:
        def bind(inputs: Inputs) -> Any:
            own = inputs.to(DTYPE[point.base_precision])
            return lambda: module(*own.args, **own.kwargs)

        with torch.no_grad(), float32_mode("fp32"), autocast(point.precision, self._device):
            return evaluation.run(evaluation.Batched(bind, point), point, self._device)


def measure(model: Model, config: PointConfig, found: Groups) -> Iterator[Damage]:
    """Measure FP32, then all that the method quantizes, then each group by itself; leave out a group without a layer.

    `config` is of the backend eager. Raise what quantizing raises.
    """
    trials = Trials(model, config)
    yield trials.fp32()
    points = {"all": config} | {group: alone(config, model.module, found[group]) for group in found}
    for group, point in points.items():
        try:
            made, facts = quantization.quantize(model, point, torch.device(config.device))
        except quantization.NothingQuantized:
            continue
        assert facts.quantized_layers is not None
        yield trials.run(group, point, made, facts.quantized_layers)


def engines(base: SweepConfig, points: dict[str, SweepConfig], folder: Path) -> dict[str, Timed]:
    """Return what each point does to the engines of `base`, by a sweep in `folder`."""
    with Sweep(dict(enumerate([base, *points.values()])), folder) as sweep:
        sweep.run()
        first, *own = (sweep.record(number) for number in range(len(points) + 1))  # where one failed its row says why
    return {name: _timed(vars(first), vars(record)) for name, record in zip(points, own, strict=True)}


def _timed(base: Mapping[Any, Any], record: Mapping[Any, Any]) -> Timed:
    error = math.nan if record["finite"] is False else record["rel_l2_error"]
    rows = (base, record)
    if any(row["status"] != "ok" or row["gpu_ms"] is None for row in rows):
        return Timed(error=error)
    if base["gpu_ms_method"] != record["gpu_ms_method"]:
        return Timed(error=error)
    found = differences.difference((1, -1), [ranking.estimate(row, "gpu_ms") for row in rows])
    low, high = found.interval()
    own = float(record["gpu_ms"])  # of which the base takes so many times as much
    return Timed(float(base["gpu_ms"]) - own, own * math.expm1(low), own * math.expm1(high), error)


def ranked(measured: list[Damage]) -> list[Damage]:
    """Order what is quantized not at all or altogether first, then the groups, the worst damage per gain first.

    Where gains are not known, the worst damage is first. A group without a gain is worse than any with one.
    """
    gains = {damage.group: damage.timed.gain_ms for damage in measured if damage.timed is not None}
    timed = any(gain is not None for gain in gains.values())

    def price(damage: Damage) -> float:
        if not timed:
            return damage.rel_l2_error
        gain = gains.get(damage.group) or 0.0
        return damage.rel_l2_error / gain if gain > 0 else float("inf")

    return measured[:2] + sorted(measured[2:], key=price, reverse=True)
