"""What a point leaves behind: frozen result types, the flat record made of them, JSON in and out."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from trt_sweep.results.axes import Axes
from trt_sweep.results.columns import (
    Accuracy,
    Build,
    Environment,
    Health,
    Identity,
    Memory,
    Partition,
    Profile,
    Quantization,
    Timing,
)

RECORD = "record.json"
SAMPLES = "samples.npz"
RANDOM = "random"  # calibration without the user's data
BASELINE = "eager"  # the backend that others are set against
SUCCESS = ("ok", "dryrun", "unsupported")
CLOCK_RANGE = 0.03  # of the SM clock, above which times belong to no one clock


@dataclass(frozen=True, kw_only=True)
class Record(Profile, Health, Memory, Accuracy, Timing, Build, Quantization, Partition, Environment, Axes, Identity):
    """One row of the table: every field above, flat."""


def columns(part: type = Record) -> list[str]:
    """Names of the columns of a result type, in their order."""
    return [item.name for item in dataclasses.fields(part)]


def integer_columns() -> list[str]:
    """The columns that hold whole numbers, or null."""
    return list(_columns_of("int"))


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(columns())


@functools.cache
def _columns_of(kind: str) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(Record) if item.type in (kind, f"{kind} | None"))
