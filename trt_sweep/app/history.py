"""`trt-sweep history FOLDER…`: say where the times of points shifted over many nights, and draw their trends."""

from __future__ import annotations

from trt_sweep.app.arguments import Parser, verb, write_text
from trt_sweep.errors import SweepError
from trt_sweep.results.thresholds import MIN_EFFECT

BAD_INPUT = 2
PAGE = "history.html"


@verb(failed=BAD_INPUT)
def main(arguments: list[str]) -> int:
    """Print the shifts and write the page where asked; return exit code 2 where the nights cannot be read."""
    parser = Parser(prog="trt-sweep history", description="Find when times shifted, over many runs of one sweep.")
    parser.add_folders("the folder of a run, or one above all of them")
    parser.add_share("--min-effect", "the smallest shift that matters", MIN_EFFECT)
    parser.add_out(f"write {PAGE} there, a page of trends")
    options = parser.parse_args(arguments)

    from trt_sweep.analysis.compare.nights import load
    from trt_sweep.analysis.history import page
    from trt_sweep.analysis.history.history import history
    from trt_sweep.results.console import Console
    from trt_sweep.results.files import left_out

    unreadable: dict[str, str] = {}
    nights = load(options.folders, unreadable)
    if len(nights) < 2:
        count = f" ({len(unreadable)} records cannot be read, such as {next(iter(unreadable))})" if unreadable else ""
        few = "one night only" if nights else "no night"
        raise SweepError(f"{options.folders[0]} holds {few}{count}: give the folders of several, or one above them")
    notes = left_out(unreadable)
    series = history(nights, options.min_effect)
    lines = [f"· {line}" for line in page.words(series, nights, notes)]
    if options.out is not None:
        write_text(options.out / PAGE, page.html(series, nights, notes))
        lines.append(f"written: {options.out / PAGE}")
    console = Console()
    for line in lines:
        console.say(line)
    return 0
