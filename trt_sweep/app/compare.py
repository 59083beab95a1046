"""`trt-sweep compare OLD NEW`: say what became of each point from one night to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trt_sweep.app.arguments import Parser, path, verb, write_json, write_text
from trt_sweep.results.thresholds import MIN_EFFECT

if TYPE_CHECKING:
    from trt_sweep.analysis.compare.compare import Comparison

NOT_COMPARABLE = 2


@verb(failed=NOT_COMPARABLE)
def main(arguments: list[str]) -> int:
    """Print the comparison, write it where asked, and return its exit code.

    0: no alarm. 1: a point regressed, or newly fails. 2: not comparable, or too little could be seen.
    """
    parser = Parser(
        prog="trt-sweep compare",
        description="Compare two runs of one sweep. Exit code 0: no alarm; 1: a point regressed or newly fails; "
        "2: not comparable, or too noisy to tell; 3: trt_sweep itself is broken, or its output cannot be written.",
    )
    parser.add_argument("old", type=path, metavar="OLD", help="the folder of the earlier run")
    parser.add_argument("new", type=path, metavar="NEW", help="the folder of the run that is judged")
    parser.add_share("--min-effect", "the smallest change of a time that matters", MIN_EFFECT)
    parser.add_argument(
        "--history",
        type=path,
        nargs="+",
        default=(),
        metavar="FOLDER",
        help="three or more earlier runs, or a folder above them: only these can judge latency and what cuDNN chooses",
    )
    parser.add_out(
        "write compare.md, compare.json and compare.xml there: Markdown, data, and JUnit with a test case for each "
        "point"
    )
    options = parser.parse_args(arguments)

    from trt_sweep.analysis.compare.compare import compare

    found = compare(options.old, options.new, options.min_effect, options.history)
    _show(found)
    if options.out is not None:
        _write(found, options.out)
    return found.exit_code


def _write(found: Comparison, folder: Path) -> None:
    from trt_sweep.analysis.compare import output

    write_text(folder / "compare.md", output.markdown(found))
    write_text(folder / "compare.xml", output.junit(found))
    write_json(folder / "compare.json", output.as_json(found))
    print("written:", ", ".join(str(folder / f"compare.{kind}") for kind in ("md", "json", "xml")))


def _show(found: Comparison) -> None:
    from trt_sweep.analysis.compare import output
    from trt_sweep.results.console import Console

    console = Console()
    first, *rest = output.words(found)
    console.say(first, style="bold")
    for line in rest:
        console.say(f"· {line}")
    if found.points:
        console.print(output.render(found))
