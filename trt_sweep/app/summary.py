"""Show a frame of records at a glance: `trt_sweep.summary`, for a notebook's cell or a terminal."""

from __future__ import annotations

import io
from dataclasses import dataclass

import jinja2
import pandas as pd

from trt_sweep.app import answer
from trt_sweep.config.options import OBJECTIVES
from trt_sweep.errors import SweepError, not_allowed
from trt_sweep.results import cells, glossary, show
from trt_sweep.results.console import Console, wrapped

FEW = 4  # columns of a plan, where no point has what the objective needs
HTML = jinja2.Template(
    """\
{% if answer %}<pre style="white-space: pre-wrap; margin: 0 0 1em">{{ answer | join("\n") }}</pre>
{% endif %}<div style="max-height: 32em; overflow: auto"><table style="white-space: nowrap">
<thead><tr>{% for head, title, side in heads %}<th title="{{ title }}" style="text-align: {{ side }}">{{ head }}</th>\
{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr>{% for cell, (_, _, side) in row %}<td style="text-align: {{ side }}">{{ cell }}</td>\
{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% for line in below %}<div style="opacity: 0.7">{{ line }}</div>
{% endfor %}""",
    autoescape=True,
)


@dataclass(frozen=True, repr=False)
class Summary:
    """Hold a frame and the objective that it is shown by; it is printed as text, and in a notebook as HTML."""

    frame: pd.DataFrame
    objective: str

    def __repr__(self) -> str:
        """Return the table as wide as the terminal, and the answer below it."""
        width = Console().line_width
        shown, below = show.fitted(self.frame, width, OBJECTIVES[self.objective])
        console = Console(io.StringIO(), force_jupyter=False, force_terminal=False, color_system=None)
        console.width = show.UNCUT
        console.print(shown)
        for line in [*below, *self._left_out(), "", *answer.lines(self.frame, self.objective)]:
            console.print(wrapped(line, width), soft_wrap=True)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().rstrip()

    def _repr_html_(self) -> str:
        """Return the answer, and the table below it, which scrolls where it is long."""
        objective = OBJECTIVES[self.objective]
        telling = [column.name for column in cells.telling(self.frame, objective)]
        chosen = [name for name in telling if name in cells.NEEDED[objective]] or telling[:FEW]
        hidden = [name for name in telling if name not in chosen]
        found, below = show.contents(self.frame, None, objective, ",".join(chosen))
        columns = [*found.axes, *found.columns.values(), found.status]
        heads = []
        for place, (name, *_) in enumerate(columns):
            said = glossary.find(name)
            middle = len(found.axes) <= place < len(columns) - 1
            heads.append((name, said.text if said else "", "right" if middle else "left"))
        rows = [zip(row, heads, strict=True) for row in zip(*(cells[1:] for cells in columns), strict=True)]
        more = [f"hidden: {', '.join(hidden)}; the frame has them"] * bool(hidden)
        lines = answer.lines(self.frame, self.objective)
        return str(HTML.render(heads=heads, rows=rows, answer=lines, below=[*below, *more, *self._left_out()]))

    def _left_out(self) -> list[str]:
        number = len(self.frame.attrs.get("unreadable", ()))
        return [f"unreadable: {number}, see frame.attrs['unreadable']"] * bool(number)


def summary(frame: pd.DataFrame, objective: str = "latency") -> Summary:
    """Return what a frame of `trt_sweep.load` or `run` says at a glance, to be shown by a notebook or printed.

    It has the axes that vary, the time with its interval, the ratio to eager, the rank and the status, the best by
    `objective` first (latency, gpu, throughput or energy), and what to set for each model. Columns that are null
    everywhere are left out, and so is what does not fit. Raises SweepError for another frame or objective.
    """
    if objective not in OBJECTIVES:
        raise SweepError(not_allowed("objective", objective, f"one of {', '.join(OBJECTIVES)}"))
    if not isinstance(frame, pd.DataFrame):
        raise SweepError(f"a {type(frame).__name__} is no frame: give rows of trt_sweep.load or run")
    lacking = [name for name in glossary.columns() if name not in frame]
    if lacking:
        more = f" and {len(lacking) - 1} more columns" * (len(lacking) > 1)
        raise SweepError(f"the frame lacks {lacking[0]}{more}: give rows of trt_sweep.load or run with all columns")
    return Summary(frame.reset_index(drop=True), objective)
