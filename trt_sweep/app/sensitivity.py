"""`trt-sweep sensitivity quantization.method=NAME`: rank groups of layers by what quantizing them does."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trt_sweep.app.arguments import Parser, verb
from trt_sweep.errors import SweepError

if TYPE_CHECKING:
    from trt_sweep.analysis.sensitivity import Damage
    from trt_sweep.config.point import PointConfig
    from trt_sweep.config.sweep import SweepConfig
    from trt_sweep.results.console import Console


@verb()
def main(arguments: list[str]) -> int:
    """Print the ranking of one point's layers; return exit code 1, after one line, where that cannot be."""
    parser = Parser(
        prog="trt-sweep sensitivity",
        description="Quantize one group of layers at a time, and rank the groups by damage, per gain on a GPU.",
    )
    parser.add_point("quantization.method=modelopt_int8_default")
    parser.add_count("--depth", "parts of a layer's name that name its group", 2)
    parser.add_argument("--groups", default="", metavar="PATTERNS", help="groups by patterns instead: 'layer1.*,fc'")
    parser.add_out("keep the sweep that times the gains there")
    options = parser.parse_intermixed_args(arguments)

    from trt_sweep.config import compose
    from trt_sweep.results.console import Console

    composed = compose.composed(["precision=auto", *options.overrides], options.config_dir)
    measured, config = _measured(composed, options)
    _show(measured, config, Console())
    return 0


def _measured(composed: SweepConfig, options: argparse.Namespace) -> tuple[list[Damage], PointConfig]:
    """Return what quantizing each group does, with its gain where there is a GPU, and the configuration in effect."""
    import torch

    from trt_sweep.analysis.sensitivity import alone, engines, groups, measure
    from trt_sweep.machine.output import LOG, redirect_output
    from trt_sweep.models import factory
    from trt_sweep.points import plan
    from trt_sweep.results.record import BASELINE

    patterns = [pattern for pattern in options.groups.split(",") if pattern]
    with TemporaryDirectory() as name:
        folder = Path(name)
        with redirect_output(folder / LOG):
            (config,) = plan.effective(dataclasses.replace(composed, backend=BASELINE))
            if not config.quantized:
                raise SweepError("quantization.method is not set: name the method whose damage is to be told")
            model = factory.build(config, torch.device(config.device))
            found = groups(model.module, options.depth, patterns)
            measured = list(measure(model, config, found))
        if config.device != "cpu" and composed.backend == "dynamo":
            points = {group: alone(composed, model.module, layers) for group, layers in found.items()}
            by_group = engines(composed, {"all": composed, **points}, options.out or folder)
            for index, item in enumerate(measured):
                gain_ms, error = by_group.get(item.group, (None, None))
                measured[index] = dataclasses.replace(item, gain_ms=gain_ms, engine_error=error)
    return measured, config


def _show(measured: list[Damage], config: PointConfig, console: Console) -> None:
    """Print the table and what it is worth."""
    from rich import box
    from rich.table import Table

    from trt_sweep.analysis.sensitivity import ranked
    from trt_sweep.points import plan
    from trt_sweep.results.record import RANDOM

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
        console.print(f"· {line}", soft_wrap=True)
