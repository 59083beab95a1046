"""`trt-sweep report FOLDER…`: write what the records of sweeps answer, as HTML and Markdown."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from trt_sweep.app import units
from trt_sweep.app.arguments import Parser, UsageError, holding, path, verb, write_text
from trt_sweep.config.options import GPU, OBJECTIVES
from trt_sweep.errors import SweepError
from trt_sweep.results.thresholds import MIN_EFFECT

if TYPE_CHECKING:
    import pandas as pd

    from trt_sweep.analysis.report import recommend

HTML, MARKDOWN = "report.html", "report.md"


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="trt-sweep report",
        description=f"Write {HTML} and {MARKDOWN}: what to set, and what each setting did, by the sweeps below FOLDER.",
    )
    parser.add_folders()
    parser.add_out("the folder to write into (FOLDER)")
    parser.add_argument(
        "--objective", choices=sorted(OBJECTIVES), default="latency", help=f"what is best (latency); {GPU}"
    )
    for name, read, metavar, what in (
        ("--max-build", units.seconds, "TIME", "the longest that a build may take, such as 60s"),
        ("--max-memory", units.size, "SIZE", "the most memory of the GPU (peak_gpu_bytes), such as 4GiB"),
    ):
        parser.add_argument(name, type=functools.partial(read, name), metavar=metavar, help=what)
    parser.add_share("--max-error", "the largest error of the output (rel_l2_error)")
    parser.add_share("--delta", "a difference that does not matter", MIN_EFFECT)
    parser.add_argument(
        "--remeasure",
        action="store_true",
        help="first measure the point to use again, in turn with its nearest rivals and the defaults",
    )
    parser.add_argument(
        "--readme", type=path, metavar="FILE", help="write no report; renew the generated section of this file"
    )
    options = parser.parse_args(arguments)
    if options.remeasure and options.readme is not None:
        raise UsageError("--remeasure is not allowed beside --readme, which asks for no recommendation: drop one")
    if len(options.folders) > 1 and options.out is None and options.readme is None:
        raise UsageError("--out is not set: name the folder that the report of several folders goes into")
    return options


@verb()
def main(arguments: list[str]) -> int:
    """Write the report and print where; return exit code 1, after one line, where that cannot be."""
    options = _options(arguments)

    from trt_sweep.analysis.report import readme
    from trt_sweep.measure.collection import gc_disabled

    # The collector would go through all that many records become, again and again, and find nothing to collect.
    with gc_disabled():
        rows = _load(options.folders)
        if options.readme is not None:
            readme.renew(options.readme, rows, options.delta)
            print("written:", options.readme)
        else:
            print("written:", ", ".join(map(str, _write(options, rows))))
    return 0


def _load(folders: list[Path]) -> pd.DataFrame:
    from trt_sweep.results import table

    rows = table.load(*folders)
    if rows.empty:
        unreadable = rows.attrs["unreadable"]
        damaged = f" that can be read, {next(iter(unreadable))} for one cannot" if unreadable else ""
        raise SweepError(f"{holding(folders)} no record{damaged}: give the folder of a sweep, which has points/ in it")
    return rows


def _write(options: argparse.Namespace, rows: pd.DataFrame) -> list[Path]:
    from trt_sweep.analysis.report import recommend
    from trt_sweep.results import table

    folder = table.common_folder(*options.folders)
    wanted = recommend.Wanted(options.objective, options.max_build, options.max_error, options.max_memory)
    return write(rows, folder, options.out, wanted, options.delta, measure_again=options.remeasure)


def write(
    rows: pd.DataFrame,
    folder: Path,
    out: Path | None = None,
    wanted: recommend.Wanted | None = None,
    delta: float = MIN_EFFECT,
    *,
    measure_again: bool = False,
) -> list[Path]:
    """Write the report of the table of a folder, and return its files; see `assembly.document`."""
    from trt_sweep.analysis.report import assembly, html, markdown, recommend

    blocks = assembly.document(rows, folder, out, wanted or recommend.Wanted(), delta, measure_again=measure_again)
    written = []
    for name, text in ((HTML, html.render(blocks)), (MARKDOWN, markdown.render(blocks))):
        path = (out or folder) / name
        write_text(path, text)
        written.append(path)
    return written
