"""Put the columns together to the record that a point leaves behind."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from trt_sweep.results.axes import Axes
from trt_sweep.results.columns import Build, Environment, Identity, Partition, Quantization
from trt_sweep.results.measured import Accuracy, Health, Memory, Profile, Timing

RECORD = "record.json"
SAMPLES = "samples.npz"
RANDOM = "random"  # calibration without the user's data
BASELINE = "eager"  # the backend that others are set against
SUCCESS = ("ok", "dryrun", "unsupported")
CLOCK_RANGE = 0.03  # of the SM clock, above which times belong to no one clock


@dataclass(frozen=True, kw_only=True)
class Record(Profile, Health, Memory, Accuracy, Timing, Build, Quantization, Partition, Environment, Axes, Identity):
    """Hold all that is known of one point, flat: one field is one column of the table."""


def columns(part: type = Record) -> list[str]:
    """Return the names of a record's columns, or of a part of it, in their order."""
    return [item.name for item in dataclasses.fields(part)]


@functools.cache
def columns_of(kind: str) -> tuple[str, ...]:
    """Return the columns that hold this type ("int", "float", …), or null."""
    return tuple(item.name for item in dataclasses.fields(Record) if item.type in (kind, f"{kind} | None"))


def integer_columns() -> list[str]:
    """Return the columns that hold whole numbers, or null."""
    return list(columns_of("int"))
