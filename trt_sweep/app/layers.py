"""`trt-sweep layers FOLDER`: show the layers inside a point's engines, or what differs from another point's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trt_sweep.app.arguments import Parser, path, verb

if TYPE_CHECKING:
    from trt_sweep.results.console import Console


@verb()
def main(arguments: list[str]) -> int:
    """Print the layers; return exit code 1, after one line, where they cannot be read."""
    parser = Parser(prog="trt-sweep layers", description="Show the layers inside the engines of a point.")
    parser.add_argument(
        "folder",
        type=path,
        metavar="FOLDER",
        help="the folder of a point that was run with profile=true: SWEEP/points/POINT_ID",
    )
    parser.add_count("--top", "how many layers to show, the longest first", 20, instead=", or --all")
    parser.add_argument("--all", action="store_true", help="show all layers, and all parts of a call")
    parser.add_argument(
        "--compare",
        type=path,
        metavar="OTHER",
        help="the folder of another point: show what differs between the engines of the two",
    )
    parser.add_out("draw layers.svg, time.svg and engines/*/graph.svg there")
    options = parser.parse_args(arguments)

    from trt_sweep.results.console import Console

    console = Console()
    _run(options, console)
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
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
    from trt_sweep.results.layers.profiles import load, time_of_call

    top = None if options.all else options.top
    table = load(options.folder)
    time = time_of_call(options.folder)
    if options.compare:
        other = load(options.compare)
        comparison = compare(table, other)
        console.print(f"here: {options.folder}\nthere: {options.compare}", soft_wrap=True)
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
    if options.out is not None:
        from trt_sweep.analysis.layers import pictures

        written = pictures.write(options.folder, table, options.out)
        console.print("written:", ", ".join(map(str, written)), soft_wrap=True)


def _say(console: Console, notes: list[str]) -> None:
    for note in notes:
        console.say(f"· {note}")
