"""Print the table that a sweep ends with, and the notes below it."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from rich import box
from rich.table import Table

from trt_sweep.results.axes import TABLE, varied
from trt_sweep.results.console import Console
from trt_sweep.results.notes import notes

Cell = Callable[[pd.Series], str]
# Columns that are left out where no row has a value, by the column of the record that they show.
OPTIONAL = {
    "load s": "load_s",
    "gpu ms [95 %]": "gpu_ms",
    "gpu rank": "gpu_ms",
    "enqueue ms": "gpu_ms",
    "memory MiB": "peak_gpu_bytes",
    "fake-quant error": "fake_quant_rel_l2_error",
    "evaluation": "evaluation",
}


def _number(value: object, spec: str, unit: str = "") -> str:
    """Return a number in this format, or a dash for null."""
    return "–" if value is None or pd.isna(value) else f"{value:{spec}}{unit}"  # type: ignore[call-overload]


def _axis(value: object) -> str:
    """Return a value of an axis as the command line writes it, or a dash for null."""
    return str(value).lower() if isinstance(value, bool) else _number(value, "")


def _time(row: pd.Series, clock: str) -> str:
    """Return a time in ms with its interval, or a dash."""
    if pd.isna(row[clock]):
        return "–"
    low, high = row[f"{clock}_ci_low"], row[f"{clock}_ci_high"]
    interval = "" if pd.isna(low) else f" [{low:.4g}, {high:.4g}]"
    return f"{row[clock]:.4g}{interval}"


def _ratio(row: pd.Series, name: str) -> str:
    """Return a ratio with its interval, or a dash."""
    if pd.isna(row[name]):
        return "–"
    low, high = row[f"{name}_ci_low"], row[f"{name}_ci_high"]
    interval = "" if pd.isna(low) or low == high else f" [{low:.2f}, {high:.2f}]"
    return f"{row[name]:.2f}×{interval}"


def _rank(row: pd.Series, clock: str) -> str:
    """Return the rank, or the best and the worst where it is not proved, or a dash."""
    best, worst = row[f"{clock}_rank"], row[f"{clock}_rank_worst"]
    return "–" if pd.isna(best) else f"{best}" if best == worst else f"{best}–{worst}"


COLUMNS: dict[str, Cell] = {
    "engines": lambda row: _number(row["engines"], "d"),
    "engine": lambda row: _number(row["engine_id"], ".6"),
    "build s": lambda row: _number(row["build_s"], ".1f"),
    "load s": lambda row: _number(row["load_s"], ".2f"),
    "first call ms": lambda row: _number(row["first_call_ms"], ".4g"),
    "latency ms [95 %]": lambda row: _time(row, "latency_ms"),
    "rank": lambda row: _rank(row, "latency"),
    "gpu ms [95 %]": lambda row: _time(row, "gpu_ms"),
    "gpu rank": lambda row: _rank(row, "gpu"),
    "enqueue ms": lambda row: _number(row["enqueue_ms"], ".3g"),
    "vs eager": lambda row: _ratio(row, "speedup"),
    "vs fp32": lambda row: _ratio(row, "speedup_fp32"),
    "memory MiB": lambda row: _number(row["peak_gpu_bytes"] / 2**20, ".4g"),
    "fake-quant error": lambda row: _number(row["fake_quant_rel_l2_error"], ".1e"),
    "rel. error": lambda row: _number(row["rel_l2_error"], ".1e"),
    "evaluation": lambda row: _number(row["evaluation"], ".4g"),
    "health": lambda row: _number(row["health"], ""),
}


def _columns(table: pd.DataFrame) -> dict[str, Cell]:
    """Return the columns that tell something of this table, each with the way to its text."""
    left_out = {name for name, column in OPTIONAL.items() if not table[column].notna().any()}
    if table["health"].fillna("ok").eq("ok").all():
        left_out.add("health")
    return {name: cell for name, cell in COLUMNS.items() if name not in left_out}


def render(table: pd.DataFrame) -> Table:
    """Return the compact table that a sweep ends with: one line a point, its axes first, its status last."""
    axes, columns = varied(table), _columns(table)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for axis in axes:
        shown.add_column(TABLE[axis].header or axis, overflow="fold")
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("status", no_wrap=True)
    for _, row in table.iterrows():
        values = [_axis(row[axis]) for axis in axes] + [cell(row) for cell in columns.values()]
        shown.add_row(*values, str(row["status"]))
    return shown


def show(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print the table and its notes; where the output is no terminal, long lines are not cut."""
    console = console or Console()
    console.print(render(table))
    for note in notes(table):
        console.print(f"· {note}", soft_wrap=True)
