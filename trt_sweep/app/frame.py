"""Give the records to Python: `trt_sweep.load`, a table that is made to be looked at, grouped and plotted."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from trt_sweep.errors import require
from trt_sweep.results import table
from trt_sweep.results.axes import TABLE, varied

TIMES = ("latency_ms", "gpu_ms", "speedup", "status")  # behind the axes that vary
INTERVALS = tuple(f"{name}_ci_{end}" for name in TIMES[:3] for end in ("low", "high"))
RANKS = ("latency_rank", "latency_rank_worst", "gpu_rank", "gpu_rank_worst")


def load(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Return every record below these folders, one row each, in order of creation.

    The axes that vary come first, then times, ratio to eager and status, then their intervals and ranks, then all else;
    `trt-sweep table --explain` says what each column means. An axis that was left alone has the default that took
    effect, where its backend uses it. `created_utc` is a date. A missing value is null.

    `DataFrame.attrs["folder"]` is what the column `folder` is relative to: the folder given, or the innermost around
    several. `attrs["unreadable"]` names the files that are no records, and the folders that cannot be read, with the
    reason. A record that lies below two of the folders, or was copied or packed, is read once. Raises SweepError for a
    folder that is not there, or is inside a sweep, and for a record of a newer schema.
    """
    for given in (folder, *more):
        require(
            isinstance(given, str | os.PathLike), "folder", given, "the name of a folder; several are load(ONE, OTHER)"
        )
    return arranged(table.load(folder, *more), table.common_folder(folder, *more))


def arranged(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return a table of `trt_sweep.results.table.load` as `load` gives it, with its folder in `attrs`."""
    axes = list(dict.fromkeys(("model", *(varied(rows) if len(rows) else ()))))
    first = [*axes, *TIMES, *INTERVALS, *RANKS, *(axis for axis in TABLE if axis not in axes)]
    found = rows[[*first, *rows.columns.difference(first, sort=False)]].copy()
    for name, row in TABLE.items():
        unset = found[name].isna()
        if row.default is False:
            found[name] = found[name].astype(object).mask(unset, False).astype(bool)
        elif row.as_set:
            found[name] = found[name].mask(unset & found["backend"].isin(row.as_set), row.default)
    found["created_utc"] = pd.to_datetime(found["created_utc"], utc=True, format="ISO8601", errors="coerce")
    found.attrs = rows.attrs | {"folder": str(Path(folder).absolute())}
    return found
