"""`trt-sweep layers POINT`: the layers inside a point's engines, or what differs from another point's."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from trt_sweep.analysis.layers.compare import compare
from trt_sweep.analysis.layers.show import (
    PARTS,
    comparison_notes,
    notes,
    parts_notes,
    render,
    render_comparison,
    render_parts,
    render_sums,
)
from trt_sweep.errors import SweepError
from trt_sweep.results.layers.profiles import load, time_of_call


def main(arguments: list[str] | None = None) -> int:
    """`trt-sweep layers POINT`; exit code 1 with one line where that cannot be read."""
    parser = argparse.ArgumentParser(prog="trt-sweep layers", description="Show the layers inside engines.")
    parser.add_argument(
        "folder", type=Path, help="a point's folder that was run with profile=true: SWEEP/points/POINT_ID"
    )
    parser.add_argument("--top", type=int, default=20, help="how many layers, the longest first (20)")
    parser.add_argument("--all", action="store_true", help="all layers, and all parts of a call")
    parser.add_argument(
        "--compare", type=Path, metavar="OTHER", help="show what differs in this point's engines instead"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="draw layers.svg, time.svg and engines/*/graph.svg as well"
    )
    options = parser.parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = 500
    try:
        if options.top < 1:
            raise SweepError(f"--top={options.top} is not allowed: use an integer of at least 1, or --all")
        _run(options, console)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or options.folder} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    top = None if options.all else options.top
    table = load(options.folder)
    time = time_of_call(options.folder)
    if options.compare:
        other = load(options.compare)
        comparison = compare(table, other)
        console.print(
            f"here: {options.folder}\nthere: {options.compare}", highlight=False, markup=False, soft_wrap=True
        )
        console.print(render_comparison(table, other, comparison, top, console.width))
        console.print(render_sums(comparison))
        said = comparison_notes(table, other, comparison)
    else:
        console.print(render(table, top, console.width))
        said = notes(table, top)
    _say(console, said)
    if time is not None and len(time["parts"]) > 1 and not options.compare:
        console.print(render_parts(time["parts"], None if options.all else PARTS))
        _say(console, parts_notes(time["parts"], int(time["calls"]), None if options.all else PARTS))
    if options.pictures:
        from trt_sweep.analysis.layers import pictures

        written = pictures.write(options.folder, table)
        console.print("written:", ", ".join(map(str, written)), highlight=False, markup=False, soft_wrap=True)


def _say(console: Console, notes: list[str]) -> None:
    for note in notes:
        console.print(f"· {note}", highlight=False, markup=False, soft_wrap=True)
