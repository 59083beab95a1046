"""Say which columns the printed table can have, and write what stands in their cells."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import NamedTuple

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.results.axes import PER_ITEM

Cell = Callable[[pd.Series], str]
NONE = "–"


class Column(NamedTuple):
    """A column: what it shows of the record, its cell without and with the interval, and its unit."""

    name: str
    source: str
    cell: Cell
    full: Cell | None = None
    unit: str = ""


def number(value: object, spec: str = "") -> str:
    """Return a number in this format, or a dash for null."""
    return NONE if value is None or pd.isna(value) else f"{value:{spec}}"  # type: ignore[call-overload]


def plain(value: object) -> str:
    """Return a value as the command line writes it, or a dash for null."""
    if isinstance(value, list | tuple | dict):
        return str(value)
    return str(value).lower() if isinstance(value, bool) else number(value, ".6g" if isinstance(value, float) else "")


def _number(name: str, source: str, spec: str, unit: str = "", scale: float = 1.0) -> Column:
    if spec in ("d", ".6"):
        return Column(name, source, lambda row: number(row[source], spec))

    def cell(row: pd.Series) -> str:
        return number(None if pd.isna(row[source]) else row[source] / scale, spec)

    return Column(name, source, cell, unit=unit)


def _interval(name: str, source: str, spec: str, mark: str = "", unit: str = "") -> Column:
    """Return a column of a figure that has an interval."""

    def cell(row: pd.Series) -> str:
        return NONE if pd.isna(row[source]) else f"{row[source]:{spec}}{mark}"

    def full(row: pd.Series) -> str:
        low, high = row[f"{source}_ci_low"], row[f"{source}_ci_high"]
        nothing = pd.isna(low) or pd.isna(high) or (low == high and (mark or low == row["gpu_ms"]))
        return cell(row) + ("" if nothing else f" [{low:{spec}}, {high:{spec}}]")

    return Column(name, source, cell, full, unit)


def _rank(name: str, clock: str) -> Column:
    """Return a column of ranks: the best and the worst where it is not proved."""

    def cell(row: pd.Series) -> str:
        best, worst = row[f"{clock}_rank"], row[f"{clock}_rank_worst"]
        return NONE if pd.isna(best) else f"{best}" if best == worst else f"{best}–{worst}"

    return Column(name, f"{clock}_rank", cell)


# The first ones are the last to be left out.
COLUMNS = (
    _interval("latency", "latency_ms", ".4g", unit="ms"),
    _interval("vs eager", "speedup", ".2f", "×"),
    _rank("rank", "latency"),
    _number("error", "rel_l2_error", ".1e"),
    _interval("gpu", "gpu_ms", ".4g", unit="ms"),
    _rank("gpu rank", "gpu"),
    _number("engines", "engines", "d"),
    _number("build", "build_s", ".1f", "s"),
    _number("first call", "first_call_ms", ".4g", "ms"),
    _number("memory", "peak_gpu_bytes", ".4g", "MiB", 2**20),
    Column("health", "health", lambda row: number(row["health"])),
    _number("evaluation", "evaluation", ".4g"),
    _number("fake-quant error", "fake_quant_rel_l2_error", ".1e"),
    _number("load", "load_s", ".2f", "s"),
    _interval("vs fp32", "speedup_fp32", ".2f", "×"),
    _number("enqueue", "enqueue_ms", ".3g", "ms"),
    _number("throughput", "throughput_per_s", ".4g", "1/s"),
    _number("energy", "energy_mj_per_call", ".4g", "mJ"),
    _number("engine", "engine_id", ".6"),
)
BY_NAME = {column.name: column for column in COLUMNS}
OTHERS = {"throughput", "energy"}  # they tell of another objective
# What a choice by an objective needs, by the column of the record that is the objective.
NEEDED = {
    "latency_ms": ("latency", "vs eager", "rank", "error"),
    "gpu_ms": ("gpu", "gpu rank", "vs eager", "error"),
    "throughput_per_s": ("throughput", "vs eager", "rank", "error"),
    "energy_mj_per_call": ("energy", "latency", "vs eager", "error"),
}


def needed(table: pd.DataFrame, objective: str) -> tuple[str, ...]:
    """Return the columns that a choice by the objective needs: throughput too where points differ in how many items."""
    several = objective != "throughput_per_s" and any(table[name].nunique() > 1 for name in PER_ITEM)
    return (*NEEDED[objective], *["throughput"] * several)


def telling(table: pd.DataFrame, objective: str, *, every: bool = False) -> list[Column]:
    """Return the columns that tell something of this table, those first that a choice by the objective needs.

    Unless `every` one is wanted, those of `OTHERS` are not among them that are not needed.
    """
    first = needed(table, objective)
    left_out = set() if every else OTHERS - set(first)
    order = [*(BY_NAME[name] for name in first), *(column for column in COLUMNS if column.name not in first)]
    if table["health"].fillna("ok").eq("ok").all():
        left_out = left_out | {"health"}
    if table["speedup_fp32"].equals(table["speedup"]) and not every:
        left_out = left_out | {"vs fp32"}
    return [one for one in order if table[one.source].notna().any() and one.name not in left_out]


def named(table: pd.DataFrame, names: str) -> list[Column]:
    """Return the columns of these names, separated by commas: of the printed table, or of the record.

    Raise SweepError for a name that neither has.
    """
    known = {column.name.replace(" ", "_"): column for column in COLUMNS}
    found = []
    for name in filter(None, (name.strip().replace(" ", "_") for name in names.split(","))):
        if name not in known and name not in table:
            near = get_close_matches(name, [*known, *map(str, table.columns)], 3, 0.5) or list(known)
            raise SweepError(f"--columns={name} is not known: use all, or a column such as {', '.join(near)}")
        found.append(known.get(name) or _of_record(name))
    return found


def _of_record(name: str) -> Column:
    return Column(name, name, lambda row: plain(row[name]))


def size(number: float | None) -> str:
    """Return bytes in the unit that suits them; "?" for None."""
    if number is None:
        return "?"
    scaled, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if scaled < 1024:
            break
        scaled, unit = scaled / 1024, larger
    return f"{scaled:.0f} {unit}" if unit == "B" or scaled >= 100 else f"{scaled:.3g} {unit}"
