"""Check what the file of a record holds by the columns of `Record`, so that a table can rely on every row."""

from __future__ import annotations

import functools
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from trt_sweep.results.columns import STATUSES
from trt_sweep.results.record import Record

# What a row of a table is nothing without.
NEEDED = (
    *("point_id", "sweep_id", "jobs", "created_utc", "status"),
    *("model", "model_id", "backend", "precision", "batch_size"),
)
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
VISITS = dict.fromkeys(("latency_ms_visits", "item_ms_visits", "anchor_ms_visits", "gpu_ms_choices"), "visits")


def validated(content: bytes) -> Record:
    """Return the record in the text of a file; columns that this version does not know are left out.

    Raise ValueError where a column holds what it cannot. Most may be null, as older records lack some.
    """
    try:
        return Record(**vars(_schema().validate_json(content)))
    except ValidationError as error:
        raise ValueError(_words(error)) from None


def require_row(record: Record) -> None:
    """Raise ValueError for a record that lacks what a row of a table is nothing without."""
    for name in NEEDED:
        if getattr(record, name) is None:
            raise ValueError(f"{name} is null")


@functools.cache
def _schema() -> TypeAdapter[Any]:
    kinds: dict[str, Any] = {"": float} | MEASURED
    hints = {kind: get_type_hints(Record, None, {"int": WHOLE, "float": one}, True) for kind, one in kinds.items()}
    columns = []
    for item in fields(Record):
        kind = (CLOCKS | VISITS).get(item.name) or UNITS.get(item.metadata.get("unit", ""), "")
        kind = "amount" if kind == "time" and "_ci_" in item.name else kind  # two wild captures give any interval
        hint: Any = Literal[STATUSES] if item.name == "status" else hints[kind][item.name]
        named = item.name in ("schema_version", "point_id")  # without which it is no record at all
        columns.append((item.name, hint if named else hint | None, field() if named else field(default=None)))
    config = ConfigDict(strict=True, allow_inf_nan=False)
    return TypeAdapter(make_dataclass("Checked", columns, kw_only=True, namespace={"__pydantic_config__": config}))


def _words(error: ValidationError) -> str:
    """Return what is wrong with the first column that is wrong, and how many more there are."""
    first, *rest = error.errors(include_url=False)
    if not first["loc"]:
        return first["msg"]
    shown = "null" if first["input"] is None else repr(first["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
    said = f"{first['loc'][0]} is {shown}: {first['msg'].removeprefix('Input ')}"
    return said + f" ({len(rest)} more such)" * bool(rest)
