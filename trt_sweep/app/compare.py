"""`trt-sweep compare OLD NEW`: what became of each point from one night to another."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from trt_sweep.analysis.compare import output
from trt_sweep.analysis.compare.compare import MIN_EFFECT, NOT_COMPARABLE, compare, share
from trt_sweep.errors import SweepError
from trt_sweep.results import store


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison and write what was asked for.

    0: no alarm. 1: a point regressed, or newly fails. 2: the two cannot be compared, or too little could be seen.
    """
    parser = argparse.ArgumentParser(
        prog="trt-sweep compare",
        description="Compare two runs of a sweep. Exit code 0: no alarm; 1: a point regressed or newly fails; "
        "2: not comparable, or too noisy to tell.",
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="the folder of the sweep that is compared with")
    parser.add_argument("new", type=Path, metavar="NEW", help="the folder of the sweep that is judged")
    parser.add_argument(
        "--min-effect",
        default=str(MIN_EFFECT),
        metavar="SHARE",
        help=f"by which a time must change to matter ({MIN_EFFECT})",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it as data")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML, a test case a point")
    options = parser.parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = 500
    try:
        effect = share(options.min_effect)
        found = compare(options.old, options.new, effect)
        for path, text in (
            (options.markdown, output.markdown),
            (options.junit, output.junit),
        ):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text(found), encoding="utf-8")
        if options.json is not None:
            store.write_json(options.json, output.as_json(found))
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_COMPARABLE
    except OSError as error:
        print(f"error: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return NOT_COMPARABLE
    first, *rest = output.words(found)
    console.print(first, highlight=False, markup=False, soft_wrap=True, style="bold")
    for line in rest:
        console.print(f"· {line}", highlight=False, markup=False, soft_wrap=True)
    if found.points:
        console.print(output.render(found))
    return found.exit_code
