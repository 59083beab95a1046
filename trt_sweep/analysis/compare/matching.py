"""Match the points of two sweeps, and say whether they may be set against each other at all."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.machine.locks import SWEEP_LOCK, is_locked
from trt_sweep.results import table
from trt_sweep.results.axes import AXES, LABEL_AXES, varied
from trt_sweep.results.record import CLOCK_RANGE

Row = dict[Hashable, Any]
# What a point is, whatever code or schema named it; model_id says the model, the device is of the machine.
IDENTITY = ("model_id", *(axis for axis in AXES if axis not in ("model", "factory", "device")))
VERSIONS = ("driver", "cuda", "torch", "torch_tensorrt", "tensorrt", "tensorrt_flavor", "python", "code_id")
RAN = ("ok", "inaccurate")
# By which a figure must grow to be worth a line.
FACTORS = {"rel_l2_error": 2.0, "peak_gpu_bytes": 1.1}


def read(folder: Path) -> pd.DataFrame:
    """Return the records of a sweep as `newest` does."""
    return newest(folder, table.load(folder))


def newest(folder: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest record of each point of a sweep whose table is `rows`, with the path of its folder (`place`).

    Points that the sweep did not come to (`interrupted`) are left out, and counted in `attrs["unfinished"]`; older
    records of a point are counted in `attrs["older"]`. Raise SweepError for a folder that holds no record, for a record
    of a newer schema, and for points of several GPUs.
    """
    if rows.empty and running(folder):
        raise SweepError(f"{folder} holds no record yet: a sweep has begun to write it; wait for its points")
    if rows.empty:
        bad = next(iter(rows.attrs["unreadable"].items()), None)
        why = f" that can be read ({bad[0]}: {bad[1]})" if bad else ""
        raise SweepError(f"{folder} holds no record{why}: give the folder of a sweep, which has points/ in it")
    machines = machines_of(rows)
    if len(machines) > 1:
        raise SweepError(
            f"{folder} holds points of several GPUs ({', '.join(machines)}): give a folder with those of one"
        )
    done = rows[rows["status"] != "interrupted"].drop_duplicates("point_id", keep="last").copy()
    done["place"] = [str(folder / str(name)) for name in done["folder"]]
    unfinished = int((rows["status"] == "interrupted").sum())
    older = len(rows) - unfinished - len(done)
    done.attrs |= {"unreadable": rows.attrs["unreadable"], "unfinished": unfinished, "older": older}
    return done


def running(folder: Path) -> bool:
    """Return whether a sweep writes into this folder, or one below: it holds the folder's lock as long as it lives."""
    return any(is_locked(path) for path in folder.rglob(SWEEP_LOCK))


def machines_of(rows: pd.DataFrame) -> list[str]:
    """Return the GPUs that points ran on, or the machines where there was none: nothing more is known of a CPU."""
    found: dict[str, None] = {}
    for row in rows[rows["status"].isin(RAN)].to_dict("records"):
        gpu = f"{row['gpu_name']} {row['gpu_uuid']}" if known(row["gpu_uuid"]) else f"the CPU of {row['hostname']}"
        found[gpu] = None
    if not found and (rows["status"] == "dryrun").any():
        return ["no GPU, planned only"]
    return list(found)


def pairs(old: pd.DataFrame, new: pd.DataFrame) -> list[tuple[Row | None, Row | None]]:
    """Return rows of the same point, None where one side lacks it.

    Points match by `point_id`, and by `IDENTITY` where code changed that.
    """
    before, after = ({row["point_id"]: row for row in rows.to_dict("records")} for rows in (old, new))
    found: list[tuple[Row | None, Row | None]] = [(before[name], after[name]) for name in before if name in after]
    left, right = (
        {key(row): row for name, row in rows.items() if name not in other}
        for rows, other in ((before, after), (after, before))
    )
    return [
        *found,
        *((row, right.get(name)) for name, row in left.items()),
        *((None, row) for name, row in right.items() if name not in left),
    ]


def key(row: Row) -> tuple[str | None, ...]:
    """Return a point's identity by the axes' effective values."""
    return tuple(str(row[axis]) if known(row[axis]) else None for axis in IDENTITY)


def known(value: Any) -> bool:
    """Return whether a record has this value."""
    return value is not None and (isinstance(value, list) or not pd.isna(value))


def healthy(row: Row) -> bool:
    """Return whether nothing is known to speak against a row's times."""
    return not known(row["health"]) or bool(row["health"] == "ok")


def is_time(value: Any) -> bool:
    """Return whether a record's time is one."""
    return known(value) and 0 < value < math.inf


def differs(before: Row, after: Row, column: str) -> bool:
    """Return whether both rows have this value, and it is another one."""
    return known(before[column]) and known(after[column]) and bool(before[column] != after[column])


def changed(before: Row, after: Row) -> dict[str, tuple[Any, Any]]:
    """Return what else is different that may explain a time or comes with it, where both sides know it.

    These are GPU, engine, versions; clocks from `CLOCK_RANGE` on; error and memory that grew by more than `FACTORS`.
    """
    columns = ("gpu_name", "gpu_uuid", "engine_id", "partition_id", *VERSIONS, "sm_clock_mhz", *FACTORS)
    found = {name: (before[name], after[name]) for name in columns if differs(before, after, name)}
    clocks = found.get("sm_clock_mhz", (1.0, 1.0))
    if max(clocks) <= min(clocks) * (1 + CLOCK_RANGE):
        found.pop("sm_clock_mhz", None)
    for name, factor in FACTORS.items():
        old, new = found.get(name, (1.0, 1.0))
        if new <= old * factor:
            found.pop(name, None)
    return found


def labels(rows: pd.DataFrame) -> list[str]:
    """Return a name for each row that tells it from the others by the axes that differ."""
    axes = [axis for axis in varied(rows) if axis not in (*LABEL_AXES, "device")]
    names = []
    for row in rows.to_dict("records"):
        more = [f"{axis}={str(row[axis]).lower()}" for axis in axes if known(row[axis])]
        names.append(" ".join([*(str(row[axis]) for axis in LABEL_AXES), *more]))
    return [
        name if names.count(name) == 1 else f"{name} ({point[:6]})"
        for name, point in zip(names, rows["point_id"], strict=True)
    ]
