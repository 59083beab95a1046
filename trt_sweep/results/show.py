"""TODO."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from trt_sweep.results.axes import TABLE, varied
from trt_sweep.results.notes import notes


def _number(value: object, spec: str, unit: str = "") -> str:
    return "–" if value is None or pd.isna(value) else f"{value:{spec}}{unit}"  # type: ignore[call-overload]


def _axis(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _number(value, "")


def _time(row: pd.Series, clock: str) -> str:
    if pd.isna(row[clock]):
        return "–"
    low, high = row[f"{clock}_ci_low"], row[f"{clock}_ci_high"]
    interval = "" if pd.isna(low) else f" [{low:.4g}, {high:.4g}]"
    return f"{row[clock]:.4g}{interval}"


def _rank(row: pd.Series, clock: str) -> str:
    best, worst = row[f"{clock}_rank"], row[f"{clock}_rank_worst"]
    return "–" if pd.isna(best) else f"{best}" if best == worst else f"{best}–{worst}"


def render(table: pd.DataFrame) -> Table:
    """The compact table that a sweep ends with: one line a point, baselines first."""
    axes = varied(table)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for axis in axes:
        shown.add_column(TABLE[axis].header or axis, overflow="fold")
    columns: dict[str, Callable[[pd.Series], str]] = {
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
        "vs eager": lambda row: _number(row["speedup"], ".2f", "×"),
        "vs fp32": lambda row: _number(row["speedup_fp32"], ".2f", "×"),
        "memory MiB": lambda row: _number(row["peak_gpu_bytes"] / 2**20, ".4g"),
        "fake-quant error": lambda row: _number(row["fake_quant_rel_l2_error"], ".1e"),
        "rel. error": lambda row: _number(row["rel_l2_error"], ".1e"),
        "evaluation": lambda row: _number(row["evaluation"], ".4g"),
        "health": lambda row: _number(row["health"], ""),
    }
    optional = {
        "load s": "load_s",
        "memory MiB": "peak_gpu_bytes",
        "fake-quant error": "fake_quant_rel_l2_error",
        "evaluation": "evaluation",
    }
    for name, column in optional.items():
        if not table[column].notna().any():
            del columns[name]
    if not table["gpu_ms"].notna().any():
        for name in ("gpu ms [95 %]", "gpu rank", "enqueue ms"):
            del columns[name]
    if table["health"].fillna("ok").eq("ok").all():
        del columns["health"]
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("status", no_wrap=True)
    for _, row in table.iterrows():
        values = [_axis(row[axis]) for axis in axes] + [show(row) for show in columns.values()]
        shown.add_row(*values, str(row["status"]))
    return shown


def show(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print the table and its notes; wider than the terminal rather than cut where there is none."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 500
    console.print(render(table))
    for note in notes(table):
        console.print(f"· {note}", highlight=False, markup=False, soft_wrap=True)
