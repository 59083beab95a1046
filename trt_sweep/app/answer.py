"""Print what a sweep answers, below its table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trt_sweep.errors import printable
from trt_sweep.results.console import Console, wrapped


def lines(rows: pd.DataFrame, objective: str = "latency") -> list[str]:
    """Return what to set for each model, see `trt_sweep.analysis.report.answer`; nothing where there is no answer."""
    from trt_sweep.analysis.report import answer  # a plan and a dry run do without

    return answer.lines(rows, objective) if len(rows) and (rows["status"] == "ok").any() else []


def show(rows: pd.DataFrame, objective: str = "latency") -> None:
    """Print what `lines` returns."""
    found = lines(rows, objective)
    if found:
        say(found)


def show_race(rows: pd.DataFrame | None, folder: Path) -> None:
    """Print the answer of the race that the sweep in this folder was; raise SweepError where nothing keeps a limit."""
    from trt_sweep.analysis import race

    content = race.read(folder)
    if rows is not None and content is not None:
        say(race.lines(rows, content))


def say(found: list[str], *before: str) -> None:
    """Print the lines of an answer below an empty one, wrapped where they are too long; what comes `before` is not."""
    width = Console().line_width
    print("", *before, *(wrapped(printable(line), width) for line in found), sep="\n", flush=True)
