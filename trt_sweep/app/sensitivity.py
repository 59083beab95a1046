"""`trt-sweep sensitivity`: rank groups of layers by what quantizing them does, or find those that must stay in FP32."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trt_sweep.app.arguments import Parser, verb
from trt_sweep.errors import SweepError

if TYPE_CHECKING:
    from trt_sweep.analysis.sensitivity import Damage, Timed
    from trt_sweep.config.point import PointConfig
    from trt_sweep.config.sweep import SweepConfig
    from trt_sweep.models.model import Model
    from trt_sweep.results.console import Console


LIMITS = {
    "--max-error": "the largest relative error that the smallest set may leave (accuracy.rel_l2 of the precision)",
    "--max-change": "or the largest change of accuracy.evaluate, compared with FP32",
}


@dataclasses.dataclass(frozen=True)
class Found:
    """Hold what was measured of one point: its configuration in effect, and sentences on what was found."""

    measured: list[Damage]
    config: PointConfig
    said: list[str]


@verb()
def main(arguments: list[str]) -> int:
    """Print the ranking of one point's layers; return exit code 1, after one line, where that cannot be."""
    parser = Parser(
        prog="trt-sweep sensitivity",
        description="With a quantization.method: quantize one group of layers at a time, and rank the groups by "
        "damage, or on a GPU by damage for each millisecond gained. With precision=fp16: keep one group at a time in "
        "FP32, and find the smallest set of groups that is enough.",
    )
    parser.add_point("quantization.method=modelopt_int8_default, or precision=fp16")
    parser.add_count("--depth", "how many parts of their names the layers of a group share", 2)
    parser.add_argument(
        "--groups", default="", metavar="PATTERNS", help="groups by these patterns instead: 'layer1.*,fc'"
    )
    limits = parser.add_mutually_exclusive_group()
    for name, meaning in LIMITS.items():
        limits.add_argument(name, type=_positive, metavar="X", help=meaning)
    parser.add_out("the folder to keep the sweep in that times the gains")
    options = parser.parse_intermixed_args(arguments)

    from trt_sweep.config import compose
    from trt_sweep.results.console import Console

    composed = compose.composed(["precision=auto", *options.overrides], options.config_dir)
    _show(_measured(composed, options), Console())
    return 0


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{text} is no number above 0")


def _measured(composed: SweepConfig, options: argparse.Namespace) -> Found:
    """Return what each group does, with what engines say of it where there is a GPU."""
    import torch

    from trt_sweep.config.point import AUTO
    from trt_sweep.machine.output import LOG, redirect_output
    from trt_sweep.models import factory
    from trt_sweep.points import plan
    from trt_sweep.results.record import BASELINE

    with TemporaryDirectory() as name:
        folder = Path(name)
        with redirect_output(folder / LOG):
            (config,) = plan.effective(dataclasses.replace(composed, backend=BASELINE))
            if not config.quantized and composed.precision == AUTO:
                raise SweepError(
                    "quantization.method is not set: name the method whose damage is to be told, or precision=fp16 to "
                    "find the layers that must stay in FP32"
                )
            model = factory.build(config, torch.device(config.device))
            found, base, points = (_quantized if config.quantized else _kept)(composed, config, model, options)
        if config.device != "cpu" and composed.backend == "dynamo":
            from trt_sweep.analysis.sensitivity import engines

            by_group = engines(base, points, options.out or folder)
            timed = [dataclasses.replace(item, timed=by_group.get(item.group)) for item in found.measured]
            found = dataclasses.replace(found, measured=timed)
    return found


Result = tuple[Found, "SweepConfig", "dict[str, SweepConfig]"]


def _patterns(options: argparse.Namespace) -> list[str]:
    return [pattern for pattern in options.groups.split(",") if pattern]


def _quantized(composed: SweepConfig, config: PointConfig, model: Model, options: argparse.Namespace) -> Result:
    from trt_sweep.analysis.sensitivity import alone, groups, measure, ranked
    from trt_sweep.config.groups import QuantizationConfig
    from trt_sweep.points import plan
    from trt_sweep.results.record import RANDOM

    if options.max_error is not None or options.max_change is not None:
        raise SweepError("--max-error and --max-change are for precision=fp16, bf16 and autocast: leave them out")
    found = groups(model.module, options.depth, _patterns(options))
    measured = ranked(list(measure(model, config, found)))
    said = ["rel. error is of the fake-quantized model in PyTorch against FP32, the group quantized alone"]
    if plan.axes(config)["calibration"] == RANDOM:
        said.append("accuracy from random calibration: quantization.calibration names data of your own")
    points = {group: alone(composed, model.module, layers) for group, layers in found.items()}
    base = dataclasses.replace(composed, precision="fp16", quantization=QuantizationConfig())
    return Found(measured, config, said), base, {"all": composed, **points}


def _kept(composed: SweepConfig, config: PointConfig, model: Model, options: argparse.Namespace) -> Result:
    import torch

    from trt_sweep.analysis import kept
    from trt_sweep.models import probe

    precision = config.precision
    if precision in ("fp32", "tf32"):
        raise SweepError(f"precision={precision} keeps every layer in FP32: use fp16, bf16 or autocast_fp16")
    layers = kept.Layers(model)
    found = kept.groups(layers, options.depth, _patterns(options))
    limit = options.max_error or config.accuracy.rel_l2[precision]
    search = kept.Search(model, config, kept.by_error(limit))
    told = f"an error of at most {limit:g}"
    if options.max_change is not None:
        exact = search.fp32().evaluation
        if exact is None:
            raise SweepError("--max-change needs a function of yours: +accuracy.evaluate._target_=mine.top1")
        search = kept.Search(model, config, kept.by_evaluation(exact, options.max_change))
        told = f"accuracy.evaluate within {options.max_change:g} of {exact:.4g}"
    set_ = search.smallest(layers)  # first, as it says soon where a limit cannot be kept
    measured = list(kept.measure(search, found))
    names = kept.written(model.module, set_)
    if set_:
        measured.append(search.run(kept.SMALLEST, set_, own=True))
        found |= {kept.SMALLEST: set_}
    said = [
        f"rel. error is of the model in PyTorch against FP32: the group in FP32, the rest in {precision}; own error is "
        "that of the group alone in the low type, the rest in FP32"
    ]
    device = torch.device(config.device)
    wrong = probe.first_wrong(probe.probe(model, precision, device, list(layers.operators)), limit)
    if wrong is not None:
        said.append(f"first wrong: {wrong.why(precision)}")
    keep = ",".join(dict.fromkeys([*config.keep_fp32, *names]))
    said.append(f"smallest set for {told}: " + (f"'keep_fp32=[{keep}]'" if set_ else f"none, {precision} keeps it"))
    points = {group: kept.kept(composed, model.module, members) for group, members in found.items()}
    return Found(measured, config, said), composed, points


def _show(found: Found, console: Console) -> None:
    """Print the table and what it is worth."""
    from rich import box
    from rich.table import Table

    quantized, measured = found.config.quantized, found.measured
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("quantized" if quantized else "kept in fp32")
    sign, change = (1, "gain ms") if quantized else (-1, "costs ms")
    timed = any(item.timed is not None and item.timed.gain_ms is not None for item in measured)
    columns = {
        "layers" if quantized else "modules": [str(item.layers) for item in measured],
        "rel. error": [_error(item.rel_l2_error) for item in measured],
        "own error": [_error(item.own_error) for item in measured],
        "evaluation": ["–" if item.evaluation is None else f"{item.evaluation:.4g}" for item in measured],
        "engine error": [_error(item.timed.error if item.timed else None) for item in measured],
        change: [_change(item.timed, sign) for item in measured],
    }
    columns = {name: cells for name, cells in columns.items() if set(cells) != {"–"}}
    for name in columns:
        shown.add_column(name, justify="right")
    for number, item in enumerate(measured):
        shown.add_row(item.group, *(cells[number] for cells in columns.values()))
    console.print(shown)
    missing = "gains" if quantized else "costs"
    untimed = [] if timed else [f"what each group {missing} was not timed: that takes a GPU and backend=dynamo"]
    for line in [*found.said[:1], *untimed, *found.said[1:]]:
        console.say(f"· {line}")


def _error(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _change(timed: Timed | None, sign: int) -> str:
    if timed is None or timed.gain_ms is None:
        return "–"
    ends = sorted(sign * end for end in (timed.low, timed.high) if end is not None and not math.isnan(end))
    return f"{sign * timed.gain_ms:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if len(ends) == 2 else "")
