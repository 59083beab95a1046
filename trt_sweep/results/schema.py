"""Check what the file of a record holds by the columns of `Record`, so that a table can rely on every row."""

from __future__ import annotations

import functools
from dataclasses import field, fields, make_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from trt_sweep.results.columns import STATUSES
from trt_sweep.results.record import Record

ADDED = ("merged_axes", "task_id", "final")  # what every record has, but for older ones
WHOLE = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # as the table holds it
SHORTEST, LONGEST = 1e-12, 1e12  # of times, in ms or s: ratios of such have finite logarithms
MEASURED = {
    "amount": Annotated[float, Field(ge=0)],
    "time": Annotated[float, Field(ge=0, le=LONGEST)],
    "clock": Annotated[float, Field(ge=0, le=LONGEST), AfterValidator(lambda ms: ms if ms > SHORTEST else None)],
    "visits": Annotated[float, Field(gt=SHORTEST, le=LONGEST)],
}
UNITS = {"ms": "time", "s": "time", "1": "amount", "1/s": "amount", "B": "amount", "mJ": "amount"}
# What ranks divide by; older records have a zero for no time.
CLOCKS = dict.fromkeys(("latency_ms", "gpu_ms"), "clock")
VISITS = dict.fromkeys(("latency_ms_visits", "anchor_ms_visits", "gpu_ms_choices"), "visits")


def validated(content: bytes) -> Record:
    """Return the record in the text of a file; columns that this version does not know are left out.

    Raise ValueError where a column is missing or holds what it cannot.
    """
    try:
        return Record(**vars(_schema().validate_json(content)))
    except ValidationError as error:
        raise ValueError(_words(error)) from None


@functools.cache
def _schema() -> TypeAdapter[Any]:
    kinds: dict[str, Any] = {"": float} | MEASURED
    hints = {kind: get_type_hints(Record, None, {"int": WHOLE, "float": one}, True) for kind, one in kinds.items()}
    columns = []
    for item in fields(Record):
        kind = (CLOCKS | VISITS).get(item.name) or UNITS.get(item.metadata.get("unit", ""), "")
        kind = "amount" if kind == "time" and "_ci_" in item.name else kind  # two wild captures give any interval
        hint: Any = Literal[STATUSES] if item.name == "status" else hints[kind][item.name]
        if item.name in ADDED:
            hint |= None
        columns.append((item.name, hint, field(default=None) if NoneType in get_args(hint) else field()))
    config = ConfigDict(strict=True, allow_inf_nan=False)
    return TypeAdapter(make_dataclass("Checked", columns, kw_only=True, namespace={"__pydantic_config__": config}))


def _words(error: ValidationError) -> str:
    """Return what is wrong with the first column that is wrong, and how many more there are."""
    first, *rest = error.errors(include_url=False)
    if not first["loc"]:
        return first["msg"]
    shown = "null" if first["input"] is None else repr(first["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
    said = "is missing" if first["type"] == "missing" else f"is {shown}: {first['msg'].removeprefix('Input ')}"
    return f"{first['loc'][0]} {said}" + f" ({len(rest)} more such)" * bool(rest)
