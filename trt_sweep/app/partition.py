"""`trt-sweep partition model=NAME`: tell what would go into engines, what would not, and what crosses."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trt_sweep.app.arguments import Parser, UsageError, verb, write_json
from trt_sweep.errors import SweepError, one_line, printable

if TYPE_CHECKING:
    from trt_sweep.analysis.partition.report import Report
    from trt_sweep.backends.base import DryRun, GraphDryRun
    from trt_sweep.config.point import PointConfig

FILE = "partition.json"


@verb()
def main(arguments: list[str]) -> int:
    """Print the report of one point, and write it where asked; return exit code 1 where that cannot be."""
    parser = Parser(
        prog="trt-sweep partition",
        description="Print what Torch-TensorRT would put into engines, without building any; needs no GPU.",
    )
    parser.add_point("model=googlenet min_block_size=1")
    parser.add_out(f"write {FILE} there, the report as data")
    parser.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(arguments)
    if options.multirun:
        raise UsageError("--multirun asks for several points: leave it out, as this is of one point")

    from trt_sweep.analysis.partition import show
    from trt_sweep.config import compose
    from trt_sweep.results.console import Console

    config, found = _reported(compose.composed(options.overrides, options.config_dir))
    console = Console()
    console.say(_heading(config, found))
    show.show(found, console)
    for line in _words(config, found):
        console.say(f"· {line}")
    if options.out is not None:
        write_json(options.out / FILE, _data(config, found))
        print("written:", options.out / FILE)
    return 0


def _reported(config: PointConfig) -> tuple[PointConfig, Report]:
    """Return the report and the configuration that took effect; raise SweepError where there is no partition."""
    from trt_sweep import backends
    from trt_sweep.analysis.partition.report import report
    from trt_sweep.config.options import SweepOptions
    from trt_sweep.machine.output import LOG, redirect_output
    from trt_sweep.points import plan
    from trt_sweep.workers.worker import Worker

    able = [name for name in backends.names() if hasattr(backends.get(name), "dry_runs")]
    if config.backend not in able:
        raise SweepError(
            f"backend={config.backend} has no partition that Torch-TensorRT could be asked for: use backend="
            + " or backend=".join(able)
        )
    with TemporaryDirectory() as name, _progress(config.model.name) as on_phase:
        folder = Path(name)
        with redirect_output(folder / LOG):
            (config,) = plan.effective(dataclasses.replace(config, dryrun=True))
        assert config.min_block_size is not None
        try:
            with Worker(folder, SweepOptions(), on_phase, lambda record: None).aside(config) as (model, context):
                dry_run = backends.get(config.backend).dry_runs(model, context)
                return config, report(_with_phases(dry_run, on_phase), config.min_block_size, config.backend)
        except SweepError:
            raise
        except Exception as error:
            if "HYDRA_FULL_ERROR" in os.environ:
                raise
            raise SweepError(f"{config.model.name} cannot be partitioned: {one_line(error)}") from error


def _with_phases(dry_run: DryRun, on_phase: Callable[[str], None]) -> DryRun:
    def heard(size: int) -> list[GraphDryRun]:
        on_phase(f"partition at min_block_size={size}")
        return dry_run(size)

    return heard


@contextlib.contextmanager
def _progress(label: str) -> Iterator[Callable[[str], None]]:
    """Say on a terminal what is being done; elsewhere nothing."""
    from rich.text import Text

    from trt_sweep.results.console import Console

    with os.fdopen(os.dup(2), "w", encoding="utf-8") as stream:  # `redirect_output` holds the real one
        console = Console(file=stream)
        if not console.is_terminal:
            yield lambda _: None
            return
        with console.status(Text(printable(label))) as status:
            yield lambda phase: status.update(Text(printable(f"{label}: {phase}")))


def _heading(config: PointConfig, found: Report) -> str:
    from trt_sweep.analysis.partition import show
    from trt_sweep.points import plan

    axes, partition = plan.axes(config), found.partition
    point = " ".join(str(axes[name]) for name in ("model", "backend", "precision", "input_shapes"))
    return (
        f"{point}, min_block_size={found.min_block_size}: {sum(partition.engine_ops or [])} of {partition.ops_total} "
        f"operators in {show.engines(partition.engines or 0)}"
    )


def _words(config: PointConfig, found: Report) -> list[str]:
    from trt_sweep.analysis.partition import show

    said = show.words(found)
    excluded = [name for name in ("torch_executed_ops", "torch_executed_modules") if config.compile.get(name)]
    if excluded:
        said.append(f"What +compile.{' and '.join(excluded)} names counts as without a converter.")
    if config.ranges:
        usual = ", ".join(f"{item.name} {item.opt}" for item in config.ranges.values())
        said.append(f"Sizes are those at {usual}, which the range is optimized for.")
    if any(boundary.bytes is None for graph in found.graphs for boundary in graph.boundaries):
        said.append("A size of ? is decided by the data.")
    if config.backend == "torch_compile":
        said.append("torch.compile passes the weights in at each call: they count as input; it tells of no modules.")
    if found.partition.assumed_compute_capability:
        said.append(
            f"There is no GPU here: compute capability {found.partition.assumed_compute_capability} is assumed."
        )
    return said


def _data(config: PointConfig, found: Report) -> dict[str, Any]:
    from trt_sweep.machine import versions
    from trt_sweep.points import plan

    return {
        "axes": plan.axes(config),
        "environment": dataclasses.asdict(versions.environment(None)),
        **dataclasses.asdict(found),
    }
