"""Explain the columns of a table: its own names, and the short heads under which people see them."""

from __future__ import annotations

import functools
import textwrap
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from trt_sweep.results.axes import TABLE
from trt_sweep.results.cells import COLUMNS
from trt_sweep.results.columns import NEVER, Derived
from trt_sweep.results.record import Record

UNITS = {"1": "ratio"}  # in words, where the unit is none
INTRODUCTION = """\
# What does each column mean?

These are the columns of a record, and of the frame that `trt_sweep.load` and `trt_sweep.run` return. In brackets stands
the head of the printed table. `trt-sweep table --explain vs eager` prints one of them, by either name.

A value that is missing is null, never zero. What an earlier version of trt_sweep did not record is null, too. In the
frame, `created_utc` is a date, and an axis that was left alone has the value that took effect.

`trt-sweep table --explain --out docs` writes this page.
"""


@dataclass(frozen=True)
class Explanation:
    """Hold what is said of a column; `heads` are its names in the printed table, `part` the group that it is of."""

    name: str
    part: str
    unit: str
    meaning: str
    null: str
    heads: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return the meaning, and when the column is null."""
        return f"{self.meaning} {self.when_null}"

    @property
    def when_null(self) -> str:
        """Return when the column is null, as a sentence."""
        return "Never null." if self.null == NEVER else f"Null where {self.null}."


@functools.cache
def columns() -> dict[str, Explanation]:
    """Return what is said of each column of a table, by its name, in the order of the table."""
    heads: dict[str, list[str]] = {name: [row.header] for name, row in TABLE.items() if row.header}
    for column in COLUMNS:
        heads.setdefault(column.source, []).append(column.name)
    parts: list[Any] = [*reversed(Record.__bases__), Derived]
    found = {}
    for part in parts:
        for item in fields(part):
            said = item.metadata
            null = said["null"] if said.get("null") is not None else part.NULL
            unit = UNITS.get(said.get("unit", ""), said.get("unit", ""))
            names = tuple(heads.get(item.name, ()))
            found[item.name] = Explanation(item.name, part.__name__, unit, said["description"], null, names)
    return found


@functools.cache
def _by_head() -> dict[str, Explanation]:
    return {head: column for column in columns().values() for head in (*column.heads, column.name)}


def find(name: str) -> Explanation | None:
    """Return what is said of a column, given its name or a head of the table or the report; None for no column."""
    name = name.lower().removesuffix(" [95 %]").replace("rel. error", "error").strip()
    return _by_head().get(name) or _by_head().get(name.replace("_", " ")) or columns().get(name.replace(" ", "_"))


def near(name: str) -> list[str]:
    """Return the names that are like this one; the heads of the table where none is."""
    return get_close_matches(name, list(_by_head()), 3, 0.5) or [column.name for column in COLUMNS]


def lines(found: list[Explanation], width: int) -> list[str]:
    """Return these columns with what is said of them, in lines of at most `width` characters; groups have a heading."""
    written: list[str] = []
    part = None
    for column in found:
        if len(found) > 1 and column.part != part:
            part = column.part
            written += [""] * bool(written) + [part, "─" * len(part)]
        unit = f" ({column.unit})" * bool(column.unit)
        heads = f", in the printed table: {', '.join(column.heads)}" * bool(column.heads)
        written.append(f"{column.name}{unit}{heads}")
        written += textwrap.wrap(column.text, width, initial_indent="  ", subsequent_indent="  ")
    return written


def page() -> str:
    """Return the page of documentation that explains all columns."""
    written = [INTRODUCTION]
    part = None
    for column in columns().values():
        if column.part != part:
            part = column.part
            written.append(f"\n## {part}\n\n| column | unit | meaning | null |\n|---|---|---|---|\n")
        heads = f" ({', '.join(column.heads)})" * bool(column.heads)
        when = column.when_null.removeprefix("Null ").rstrip(".").removesuffix(" null")
        cells = (f"`{column.name}`{heads}", column.unit, column.meaning, when.lower() if when == "Never" else when)
        written.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(written)
