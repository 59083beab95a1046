"""Write numbers and names as the report shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from trt_sweep.results.axes import TABLE
from trt_sweep.results.stats.differences import Difference

VAST = 100  # an interval whose ends lie further apart than this factor says nothing
FACTOR = 10  # from where on a change is told as a factor
LARGEST = 50.0  # of a logarithm: beyond, nobody reads the digits
NONE = "–"
CLOCKS = {"gpu_ms": "the GPU's work", "latency_ms": "latency"}


def missing(value: object) -> bool:
    """Return whether a cell of the table is null; a list is not."""
    return value is None or (not isinstance(value, list | dict | str) and bool(pd.isna(value)))  # type: ignore[call-overload]


def level(value: object) -> str:
    """Return a value of an axis as the command line writes it; a dash for null."""
    if missing(value):
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def named(value: str) -> str:
    """Return a value of an axis, as `level` gives it, for a sentence."""
    return "unset" if value == NONE else value


def number(value: Any, spec: str = ".4g", unit: str = "") -> str:
    """Return a number as text, or a dash for null and what is not finite."""
    return NONE if missing(value) or not math.isfinite(value) else f"{value:{spec}}{unit}"


def time(row: Mapping[Any, Any], clock: str) -> str:
    """Return a time in ms with its interval."""
    if missing(row[clock]):
        return NONE
    low, high = row[f"{clock}_ci_low"], row[f"{clock}_ci_high"]
    if missing(low) or missing(high) or not 0 < low < high:
        return f"{row[clock]:.4g}"
    return f"{row[clock]:.4g} [{'any' if high / low > VAST else f'{low:.4g}, {high:.4g}'}]"


def change(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Return a difference of logarithms as a change: `+3.1 % [+2.0, +4.2]`, or from tenfold on `×10.0`."""
    largest = value if math.isnan(high) or high - low > math.log(VAST) else high
    one, unit = (_factor, "") if largest >= math.log(FACTOR) else (_percent, " %")
    shown = f"{one(value)}{unit}"
    if math.isnan(low) or math.isnan(high):
        return shown
    return f"{shown} [{'any' if high - low > math.log(VAST) else f'{one(low)}, {one(high)}'}]"


def _factor(value: float) -> str:
    return f"×{math.exp(min(value, LARGEST)):.3g}"


def _percent(value: float) -> str:
    percent = 100 * math.expm1(min(value, LARGEST))
    if round(percent, 1) == 0:
        return "0.0"
    return f"{percent:+.3g}" if abs(percent) >= 100 else f"{percent:+.1f}"


def label(row: Mapping[Any, Any], axes: Iterable[str]) -> str:
    """Return what a point is called: its values of the axes that differ, without null ones."""
    known = [axis for axis in axes if not missing(row[axis])]
    said = [level(row[axis]) if TABLE[axis].plain else f"{axis}={level(row[axis])}" for axis in known]
    return " ".join(said) or level(row["model"])


def ratio(found: Difference) -> str:
    """Return how many times as much that is, with the interval where it is known."""
    low, high = found.interval()
    known = not (math.isnan(low) or math.isinf(high - low))
    interval = f" [{math.exp(low):.2f}, {math.exp(high):.2f}]" if known else ""
    return f"{math.exp(found.value):.2f}×{interval}"


def listed(items: Sequence[str], most: int = 6, total: int | None = None) -> str:
    """Return the first of these, and how many more there are; `total` counts those that were not named at all."""
    more = (len(items) if total is None else total) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
