"""The points that no other beats in everything: build time, time of a call, memory and error at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trt_sweep.report.pairs import TIMES

MEMORY = "peak_gpu_bytes"  # null on a CPU, and in records of older versions
COSTS = ("build_s", MEMORY, "rel_l2_error")


def build_seconds(rows: pd.DataFrame) -> pd.Series:
    """`build_s` of each row; of one that runs another point's build that point's, and 0 where nothing is built (eager).

    Null where it is not known.
    """
    found = rows["build_s"].astype(float)
    known = dict(zip(zip(rows["sweep_id"], rows["point_id"], strict=True), found, strict=True))
    keys = zip(rows["sweep_id"], rows["engine_reused_from"], strict=True)
    reused = pd.Series([known.get(key) for key in keys], index=rows.index, dtype=float)
    return found.fillna(reused).mask(rows["backend"] == "eager", 0.0)


def clock(rows: pd.DataFrame) -> str:
    """The clock that a front is drawn by: the GPU's work where all timed points have it, else latency."""
    return next((name for name in TIMES if rows[name].notna().all()), "latency_ms")


def front(rows: pd.DataFrame, metrics: list[str]) -> pd.Series:
    """Whether a row is on the front: no other is as good in all of these figures and better in one; less is better.

    Rows that lack one of them are not judged and not on it. Figures are taken as they are: where intervals overlap
    nothing is proved.
    """
    values = rows[metrics].to_numpy(dtype=float, na_value=np.nan)
    complete = np.isfinite(values).all(axis=1)
    known = values[complete]
    best = np.ones(len(known), dtype=bool)
    for index in np.argsort(known.sum(axis=1)):
        if best[index]:  # what a beaten point beats, the one that beats it beats as well
            worse = (known >= known[index]).all(axis=1) & (known > known[index]).any(axis=1)
            best &= ~worse
    found = np.zeros(len(rows), dtype=bool)
    found[complete] = best
    return pd.Series(found, index=rows.index)


def metrics(rows: pd.DataFrame) -> list[str]:
    """The figures that these rows have: a clock, and of the costs those that some row has."""
    return [clock(rows), *(name for name in COSTS if rows[name].notna().any())]
