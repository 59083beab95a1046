"""`trt-sweep report FOLDER`: what the records of a sweep answer, as HTML and Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import pandas as pd

from trt_sweep.analysis.report import assembly, html, markdown, readme, recommend
from trt_sweep.errors import SweepError
from trt_sweep.measure.timer import gc_disabled
from trt_sweep.results import table
from trt_sweep.sweep.interrupts import Interrupted

HTML, MARKDOWN = "report.html", "report.md"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SweepError(message)


def _parser() -> _Parser:
    parser = _Parser(
        prog="trt-sweep report",
        description="Write what the records below a folder answer as report.html and report.md.",
    )
    parser.add_argument("folder", type=Path, help="a sweep's folder, or any folder above several")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; the folder itself where left out")
    parser.add_argument(
        "--objective", choices=sorted(recommend.OBJECTIVES), default="latency", help="what is best (default: latency)"
    )
    parser.add_argument("--max-build-s", type=float, metavar="S", help="longest build, in seconds")
    parser.add_argument("--max-error", type=float, metavar="E", help="largest rel_l2_error")
    parser.add_argument("--max-memory", type=float, metavar="GIB", help="largest peak_gpu_bytes, in GiB")
    parser.add_argument(
        "--delta", type=percent, default=100 * assembly.DELTA, metavar="PERCENT",
        help="a difference that does not matter: less, if proved, is no effect (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--remeasure", action="store_true",
        help="measure what is recommended again first, interleaved with its nearest rivals and the defaults",
    )  # fmt: skip
    parser.add_argument("--readme", type=Path, metavar="FILE", help="renew the generated section of this file instead")
    return parser


def percent(given: str) -> float:
    """A number of percent, with or without the sign."""
    return float(given.removesuffix("%"))


@gc_disabled()  # which goes through all that many records become, again and again, and finds nothing to collect
def main(arguments: list[str] | None = None) -> int:
    """Write the report and print where; exit code 1 with one line where that cannot be."""
    try:
        options = _parser().parse_args(arguments)
        if not 0 < options.delta < 100:
            raise SweepError(f"--delta={options.delta:g} is not allowed: use a number of percent between 0 and 100")
        if options.remeasure and options.readme is not None:
            raise SweepError("--remeasure is not allowed beside --readme, which asks for no recommendation: drop one")
        rows = _load(options.folder)
        if options.readme is not None:
            readme.renew(options.readme, rows, options.delta / 100)
            print("written:", options.readme)
            return 0
        out = options.out or options.folder
        wanted = recommend.Wanted(options.objective, options.max_build_s, options.max_error, options.max_memory)
        blocks = assembly.document(
            rows, options.folder, options.out, wanted, options.delta / 100, measure_again=options.remeasure
        )
        written = _write(out, {HTML: html.render(blocks), MARKDOWN: markdown.render(blocks)})
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupt:
        return interrupt.exit_code
    except KeyboardInterrupt:
        return 130
    print("written:", ", ".join(map(str, written)))
    return 0


def _load(folder: Path) -> pd.DataFrame:
    rows = table.load(folder)
    if rows.empty:
        unreadable = rows.attrs["unreadable"]
        why = f"{len(unreadable)} unreadable ones only, such as {next(iter(unreadable))}" if unreadable else "no record"
        raise SweepError(f"{folder} holds {why}: give the folder of a sweep, which has points/ in it")
    return rows


def _write(out: Path, content: dict[str, str]) -> list[Path]:
    written = []
    for name, text in content.items():
        path = out / name
        try:
            out.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SweepError(f"{path} cannot be written: {error.strerror}") from error
        written.append(path)
    return written
