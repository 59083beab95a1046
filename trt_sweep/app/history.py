"""`trt-sweep history FOLDER…`: where the times of points shifted over many nights, and a page of trends."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from trt_sweep.analysis.compare.compare import MIN_EFFECT, share
from trt_sweep.analysis.history import page
from trt_sweep.analysis.history.history import history, load
from trt_sweep.errors import SweepError

BAD_INPUT = 2


def main(arguments: list[str] | None = None) -> int:
    """Print the shifts and write the page; exit code 2 with one line where the nights cannot be read."""
    parser = argparse.ArgumentParser(
        prog="trt-sweep history", description="Find level shifts over many nights of one sweep."
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="a night each, or one above all of them"
    )
    parser.add_argument(
        "--html", type=Path, default=Path("history.html"), metavar="FILE", help="where the page goes (history.html)"
    )
    parser.add_argument(
        "--min-effect",
        default=str(MIN_EFFECT),
        metavar="SHARE",
        help=f"by which a level must shift to matter ({MIN_EFFECT})",
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        effect = share(options.min_effect)
        nights = load(options.folders)
        series = history(nights, effect)
        options.html.parent.mkdir(parents=True, exist_ok=True)
        options.html.write_text(page.html(series, nights), encoding="utf-8")
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"error: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    for line in page.words(series, nights):
        console.print(f"· {line}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"written: {options.html}", highlight=False, markup=False, soft_wrap=True)
    return 0
