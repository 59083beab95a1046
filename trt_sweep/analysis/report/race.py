"""Tell of a race in a report: the answer, how far each point went, and why it was dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from trt_sweep.analysis import race
from trt_sweep.analysis.report.document import Block, Bullets, Grid, Heading, Plot
from trt_sweep.analysis.report.plots import COLORS, ROW
from trt_sweep.errors import SweepError

TOP, BOTTOM = 30, 45  # pixels around the bars


def blocks(rows: pd.DataFrame, folder: Path) -> list[Block]:
    """Return the blocks for the race that a sweep in this folder was; none where it was none."""
    content = race.read(folder)
    if content is None:
        return []
    try:
        said = [line.strip() for line in race.lines(rows, content)]
    except SweepError as error:
        said = [str(error)]
    said += [f"{settings} is not possible: {why}" for settings, why in content["refused"].items()]
    return [Heading("The race"), Bullets(said), *_plot(content), Grid(race.HEAD, race.road(rows, content))]


def _plot(content: race.Content) -> Iterator[Plot]:
    """Draw after how many visits each point was dropped."""
    tried = sorted((fate for fate in content["road"] if fate["visits"]), key=lambda fate: -fate["visits"])
    kinds = list(dict.fromkeys(fate["what"] for fate in tried))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "x": [fate["visits"] for fate in tried if fate["what"] == kind],
            "y": [fate["label"] for fate in tried if fate["what"] == kind],
            "text": [fate["why"] for fate in tried if fate["what"] == kind],
            "textposition": "none",
            "marker": {"color": COLORS[index % len(COLORS)]},
            "hovertemplate": "%{y}<br>%{x} visits<br>%{text}<extra></extra>",
        }
        for index, kind in enumerate(kinds)
    ]
    layout = {
        "height": TOP + BOTTOM + ROW * len(tried),
        "margin": {"l": 10, "r": 10, "t": TOP, "b": BOTTOM},
        "xaxis": {"title": {"text": "visits"}},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    if tried:
        yield Plot("How often each point was visited before it was dropped", traces, layout)
