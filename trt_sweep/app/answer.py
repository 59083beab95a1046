"""Print what a sweep answers, below its table."""

from __future__ import annotations

import pandas as pd

from trt_sweep.errors import printable


def show(rows: pd.DataFrame, objective: str = "latency") -> None:
    """Print what to set for each model, see `trt_sweep.analysis.report.answer`; nothing where there is no answer."""
    from trt_sweep.analysis.report import answer  # a plan and a dry run do without

    lines = answer.lines(rows, objective) if len(rows) and (rows["status"] == "ok").any() else []
    if lines:
        print("", *map(printable, lines), sep="\n", flush=True)
