"""`trt-sweep sensitivity model=NAME quantization.method=NAME`: which layers quantizing hurts, and which pay.

It quantizes one group of layers at a time and leaves the others as they are. Without a GPU it knows the damage alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.console import Console
from rich.table import Table

from trt_sweep import __main__ as app
from trt_sweep import quantization
from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.machine.output import LOG, captured
from trt_sweep.measure import accuracy
from trt_sweep.models import factory
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.model import DTYPE, Inputs, Model, float32_mode
from trt_sweep.points import evaluation, plan
from trt_sweep.results.record import BASELINE, RANDOM
from trt_sweep.sweep.sweep import Sweep

LAYERS = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
Groups = dict[str, list[str]]


@dataclass(frozen=True)
class Damage:
    """A group of layers, quantized alone: how many they are, and what that does to the model.

    `rel_l2_error` is of the fake-quantized model against FP32, `evaluation` what the user's function says of it, null
    without one. `gain_ms` is what it takes off the engines' `gpu_ms` in FP16, null where that was not timed, and
    `engine_error` the relative L2 error of the engines against FP32: NaN where their outputs are not finite, null where
    none ran.
    """

    group: str
    quantized_layers: int
    rel_l2_error: float
    evaluation: float | None = None
    gain_ms: float | None = None
    engine_error: float | None = None


def groups(module: torch.nn.Module, depth: int, patterns: list[str]) -> Groups:
    """The layers with weights by the first of `patterns` that they match, or by the first `depth` parts of their names.

    Raises SweepError where that tells nothing apart.
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


def alone(config: SweepConfig, module: torch.nn.Module, layers: list[str]) -> SweepConfig:
    """The point in which these layers are quantized and nothing else: a method may quantize norms and poolings too."""
    leaves = [name for name, child in module.named_modules() if name and not any(True for _ in child.children())]
    skip = [*config.quantization.skip, *(name for name in leaves if name not in layers)]
    return dataclasses.replace(config, quantization=dataclasses.replace(config.quantization, skip=skip))


def measure(model: Model, config: SweepConfig, found: Groups) -> Iterator[Damage]:
    """FP32 first, all that the method quantizes, then each group by itself; one without a layer for it is left out.

    `config` is of the backend eager. Raises what quantizing raises.
    """
    device, cast = torch.device(config.device), DTYPE[config.base_precision]
    inputs = example_inputs(config.timed, device)
    with torch.no_grad(), float32_mode("fp32"):
        reference = model.module(*inputs.args, **inputs.kwargs)
        accuracy.require_variance(reference)
        plain = dataclasses.replace(config, precision="fp32", quantization=QuantizationConfig())
        yield Damage("none (fp32)", 0, 0.0, _evaluated(model, plain, device))
        points = {"all": config} | {group: alone(config, model.module, found[group]) for group in found}
        for group, point in points.items():
            try:
                made, facts = quantization.apply(model, point, device)
            except quantization.NothingQuantized:
                continue
            own = inputs.to(cast)
            checked = accuracy.check(made.module(*own.args, **own.kwargs), reference, 1.0)
            assert facts.quantized_layers is not None and checked.rel_l2_error is not None
            value = _evaluated(made, point, device)
            yield Damage(group, facts.quantized_layers, checked.rel_l2_error, value)


def _evaluated(model: Model, config: SweepConfig, device: torch.device) -> float | None:
    def bind(inputs: Inputs) -> Any:
        own = inputs.to(DTYPE[config.base_precision])
        return lambda: model.module(*own.args, **own.kwargs)

    return evaluation.run(evaluation.Batched(bind, config), config, device)


def engines(
    config: SweepConfig, points: dict[str, SweepConfig], folder: Path
) -> dict[str, tuple[float | None, float | None]]:
    """The `gain_ms` and `engine_error` of each point, by a sweep in `folder`; null where there is none."""
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
    """What is quantized not at all or altogether first, then the groups, the worst damage per gain first.

    Where gains are not known, the worst damage; a group without a gain is worse than any with one.
    """
    timed = any(damage.gain_ms is not None for damage in measured)

    def price(damage: Damage) -> float:
        if not timed:
            return damage.rel_l2_error
        gain = damage.gain_ms or 0.0
        return damage.rel_l2_error / gain if gain > 0 else float("inf")

    return measured[:2] + sorted(measured[2:], key=price, reverse=True)


def show(measured: list[Damage], config: SweepConfig, console: Console) -> None:
    """Print the table and what it is worth."""
    if not console.is_terminal:
        console.width = 500
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("quantized")
    evaluated = any(damage.evaluation is not None for damage in measured)
    timed = any(damage.gain_ms is not None for damage in measured)
    ran = any(damage.engine_error is not None for damage in measured)
    of_engines = [*["engine error"] * ran, *["gain ms"] * timed]
    for name in ("layers", "rel. error", *["evaluation"] * evaluated, *of_engines):
        shown.add_column(name, justify="right")
    for damage in ranked(measured):
        cells = [damage.group, str(damage.quantized_layers), f"{damage.rel_l2_error:.1e}"]
        cells += [f"{damage.evaluation:.4g}"] * evaluated if damage.evaluation is not None else ["–"] * evaluated
        cells += (["–"] if damage.engine_error is None else [f"{damage.engine_error:.1e}"]) * ran
        cells += (["–"] if damage.gain_ms is None else [f"{damage.gain_ms:.3g}"]) * timed
        shown.add_row(*cells)
    console.print(shown)
    said = ["rel. error is of the fake-quantized model in PyTorch against FP32, the group quantized alone"]
    if not timed:
        said.append("what each group gains was not timed: that takes a GPU and backend=dynamo")
    axes = plan.axes(config)
    if axes["calibration"] == RANDOM:
        said.append("accuracy from random calibration: quantization.calibration names data of your own")
    for line in said:
        console.print(f"· {line}", highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Print the ranking of one point's layers; exit code 1 with one line where that cannot be."""
    parser = argparse.ArgumentParser(
        prog="trt-sweep sensitivity",
        description="Quantize one group of layers at a time, and rank the groups by damage, per gain on a GPU.",
    )
    parser.add_argument("overrides", nargs="*", help="the point, as for trt_sweep: quantization.method=…")
    parser.add_argument("--config-dir", type=Path, help="a folder with configurations of your own, as for trt_sweep")
    parser.add_argument("--depth", type=int, default=2, help="parts of a layer's name that name its group (2)")
    parser.add_argument("--groups", default="", metavar="PATTERNS", help="groups by patterns instead: 'layer1.*,fc'")
    parser.add_argument("--folder", type=Path, help="where the sweep that times the gains is kept")
    options = parser.parse_intermixed_args(arguments)
    patterns = [pattern for pattern in options.groups.split(",") if pattern]
    try:
        composed = app.composed(["precision=auto", *options.overrides], options.config_dir)
        with TemporaryDirectory() as name:
            folder = Path(name)
            with captured(folder / LOG):
                (config,) = plan.effective(dataclasses.replace(composed, backend=BASELINE))
                if not config.quantized:
                    raise SweepError("quantization.method is not set: name the method whose damage is to be told")
                model = factory.build(config, torch.device(config.device))
                found = groups(model.module, options.depth, patterns)
                measured = list(measure(model, config, found))
            if config.device != "cpu" and composed.backend == "dynamo":
                points = {group: alone(composed, model.module, layers) for group, layers in found.items()}
                by_group = engines(composed, {"all": composed, **points}, options.folder or folder)
                for index, item in enumerate(measured):
                    gain_ms, error = by_group.get(item.group, (None, None))
                    measured[index] = dataclasses.replace(item, gain_ms=gain_ms, engine_error=error)
        show(measured, config, Console())
    except KeyboardInterrupt:
        return 130
    except (SweepError, Unsupported, HydraException, OmegaConfBaseException) as error:
        print(f"error: {app.explain(error) if not isinstance(error, Unsupported) else error}", file=sys.stderr)
        return 1
    return 0
