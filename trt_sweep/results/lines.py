"""Put the rows of a table into the lines of the printed one: the best first, one line for what was timed once."""

from __future__ import annotations

import math

import pandas as pd

from trt_sweep.results.axes import TABLE
from trt_sweep.results.cells import plain

# Rows of one model that differ in these did other work. A row that failed early has no device yet.
WORK = tuple(name for name, row in TABLE.items() if row.task and name not in ("model", "device"))


def ordered(table: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Return the rows of each model together, and within the same work the best by the objective first.

    What is proved comes before what was measured: the order is that of the ranks, then that of the figures. Rows that
    are not `ok` come last, in the order of creation. `objective` is a column; of `throughput_per_s` more is better, of
    others less.
    """
    ranks = {"latency_ms": "latency_rank", "gpu_ms": "gpu_rank"}.get(objective)
    best, worst = (table[f"{ranks}{end}"].astype(float) if ranks else 0.0 for end in ("", "_worst"))
    sign = -1 if objective == "throughput_per_s" else 1
    value = (sign * table[objective].astype(float)).where(table["status"] == "ok", math.inf).fillna(math.inf)
    model = pd.Series(pd.factorize(table["model"])[0], index=table.index)
    work = table.groupby(["model", "sweep_id", *WORK], dropna=False, sort=False).ngroup()
    order = pd.DataFrame({"model": model, "work": work, "rank": best, "worst": worst, "value": value})
    return table.loc[order.sort_values(["model", "work", "rank", "worst", "value"], kind="stable").index]


def merged(table: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Return the table with one row for the points that were timed once (`timed_with`), the timed point's.

    Its axes then have all values, as `0, 3, 5`. Points stay apart where that would name one that is not there.
    """
    measured = pd.DataFrame({"sweep": table["sweep_id"], "point": table["timed_with"].fillna(table["point_id"])})
    shared = measured.duplicated(keep=False)
    found, others = table.astype(dict.fromkeys(axes, object)), []
    for _, index in measured[shared].groupby(["sweep", "point"], sort=False).groups.items():
        rows = table.loc[index]
        values = {axis: rows[axis].drop_duplicates() for axis in axes}
        if math.prod(map(len, values.values())) != len(rows):
            continue
        first = rows.sort_values("timed_with", na_position="first", kind="stable").index[0]
        for axis, several in values.items():
            if len(several) > 1:
                found.at[first, axis] = ", ".join(map(plain, _sorted(several)))
        others += rows.index.drop(first).to_list()
    return found.drop(others)


def _sorted(values: pd.Series) -> list[object]:
    """Return numbers by size, other values as they stand."""
    numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return list(values.sort_values() if numbers else values)
