"""Print the table that a sweep ends with, and the notes below it."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from trt_sweep.errors import printable
from trt_sweep.results import cells, fit, lines
from trt_sweep.results.axes import TABLE, varied
from trt_sweep.results.cells import Column
from trt_sweep.results.console import Console
from trt_sweep.results.notes import notes

ALL = "all"
UNCUT = 10_000  # characters: what is wider than the terminal is wrapped there, and not cut here


def contents(
    table: pd.DataFrame, width: int | None = None, objective: str = "latency_ms", columns: str | None = None
) -> tuple[fit.Fitted, list[str]]:
    """Return the cells of the table that is shown, and the lines below it: names of several sweeps, and units.

    It has a line a point, or for points that were timed once, their axes first and their status last. Without a width,
    and with `columns`, nothing is left out: `columns` are names separated by commas, or `all`.
    """
    axes = varied(table)
    if columns in (None, ALL):
        chosen = cells.telling(table, objective, every=columns == ALL)
    else:
        chosen = [one for one in cells.named(table, columns) if one.name not in axes]
    rows = [row for _, row in lines.merged(lines.ordered(table, objective), axes).iterrows()]
    of_axes = [[TABLE[axis].header or axis, *(cells.plain(row[axis]) for row in rows)] for axis in axes]
    sweeps, below = list(table["sweep_id"].unique()), []
    if len(sweeps) > 1:
        of_axes.insert(0, ["sweep", *(str(1 + sweeps.index(row["sweep_id"])) for row in rows)])
        below = [f"sweep: {', '.join(f'{number} {name}' for number, name in enumerate(sweeps, 1))}"]
    status = ["status", *(str(row["status"]) for row in rows)]
    both = {one.name: _cells(one, rows) for one in chosen}
    found = fit.fit(of_axes, both, status, width if columns is None else None, cells.needed(table, objective))
    return found, [*below, *_units(chosen, found)]


def fitted(
    table: pd.DataFrame, width: int | None = None, objective: str = "latency_ms", columns: str | None = None
) -> tuple[Table, list[str]]:
    """Return the table that is printed, see `contents`, and the lines below: units, and what is left out."""
    found, units = contents(table, width, objective, columns)
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    every = [*found.axes, *found.columns.values(), found.status]
    for place, column in enumerate(every):
        middle = len(found.axes) <= place < len(every) - 1
        side: Literal["left", "right"] = "right" if middle else "left"
        shown.add_column(Text(column[0]), justify=side, no_wrap=True, vertical="bottom" if found.stacked else "top")
    for row in list(zip(*every, strict=True))[1:]:
        shown.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in row))
    return shown, [*units, *_hidden(found)]


def _cells(column: Column, rows: list[pd.Series]) -> tuple[fit.Cells, fit.Cells | None]:
    """Return the cells of a column without and with intervals, None where no row has one."""
    plain = [column.name, *map(column.cell, rows)]
    full = [column.name, *map(column.full or column.cell, rows)]
    return plain, full if full != plain else None


def _units(columns: list[Column], found: fit.Fitted) -> list[str]:
    """Return the line that gives the units."""
    seen = [column for column in columns if column.name in found.columns]
    units = dict.fromkeys(column.unit for column in seen if column.unit)
    said = [f"{', '.join(one.name for one in seen if one.unit == unit)} in {unit}" for unit in units]
    said += ["gpu: gpu_ms, the GPU's own work"] * any(one.source == "gpu_ms" for one in seen)
    said += ["error: relative to eager in FP32"] * ("error" in found.columns)
    said += ["[95 % interval]"] * bool(found.intervals)
    return ["; ".join(said)] if said else []


def _hidden(found: fit.Fitted) -> list[str]:
    """Return the line that names what is left out, and where it is."""
    names = ", ".join(found.hidden)
    return [f"hidden: {names}; see trt-sweep table FOLDER --columns all, or results.csv"] if names else []


def show(
    table: pd.DataFrame,
    console: Console | None = None,
    *,
    objective: str = "latency_ms",
    columns: str | None = None,
) -> None:
    """Print the table and its notes, as wide as the terminal or COLUMNS says; without either nothing is left out."""
    console = console or Console()
    shown, below = fitted(table, console.line_width, objective, columns)
    console.width = UNCUT
    console.print(shown)
    for note in [*below, *(f"· {note}" for note in notes(table))]:
        console.say(note)
