"""Name points, and say in a few words what became of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from trt_sweep.points.point import Point
from trt_sweep.results.axes import LABEL_AXES, varied
from trt_sweep.results.factories import telling_factories
from trt_sweep.results.record import Record


class Labels:
    """Name the points of one sweep by what they differ in."""

    def __init__(self, points: Sequence[Point]) -> None:
        axes = pd.DataFrame([point.axes | {"jobs": point.jobs} for point in points])
        axes["factory"] = telling_factories(axes)
        self._factories = dict(zip((point.id for point in points), axes["factory"], strict=True))
        self._axes = [axis for axis in varied(axes) if axis not in (*LABEL_AXES, "device")]

    def __call__(self, point: Point) -> str:
        values = point.axes | {"factory": self._factories[point.id]}
        swept = [f"{axis}={values[axis]}" for axis in self._axes if values[axis] is not None]
        return " ".join([values["model"], point.config.backend, point.config.precision, *swept])


def place(path: Path) -> str:
    """Return a path as short as it can be written from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def count(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural where that is due."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def outcome(record: Record) -> str:
    """Return what became of a point: its latency in ms, its partition, or why it failed."""
    if record.latency_ms is not None:
        low, high = record.latency_ms_ci_low, record.latency_ms_ci_high
        interval = "" if low is None or high is None or math.isnan(low) else f" [{low:.4g}, {high:.4g}]"
        why = f"; {record.reason}" if record.reason else ""
        return f"{record.status}  {record.latency_ms:.4g} ms{interval}{why}"
    if record.status == "dryrun" and record.engines is None:
        return "dryrun"
    if record.status == "dryrun":
        operators = f"{sum(record.engine_ops or [])}/{record.ops_total} operators"
        return f"dryrun  {operators} in {count(record.engines or 0, 'engine')} {record.engine_ops}"
    return f"{record.status}  {record.reason}"
