"""Find the points that no other beats in everything: build time, time of a call, memory and error at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trt_sweep.analysis.report.pairs import TIMES, Scatter
from trt_sweep.results.stats.visits import LEVEL

MEMORY = "peak_gpu_bytes"  # null on a CPU, and in records of older versions
COSTS = ("build_s", MEMORY, "rel_l2_error")


def build_seconds(rows: pd.DataFrame) -> pd.Series:
    """Return how long each row's engines take to build, in s; 0 where nothing is built, null where unknown.

    One engine has one build time, whatever it is run with: the median of its builds in that sweep. A row without
    `engine_id` has its own, or that of the point whose build it runs.
    """
    own = rows["build_s"].astype(float)
    known = dict(zip(zip(rows["sweep_id"], rows["point_id"], strict=True), own, strict=True))
    keys = zip(rows["sweep_id"], rows["engine_reused_from"], strict=True)
    reused = pd.Series([known.get(key) for key in keys], index=rows.index, dtype=float)
    of_engine = own.groupby([rows[key] for key in ("sweep_id", "backend", "engine_id")]).transform("median")
    return of_engine.fillna(own).fillna(reused).mask(rows["backend"] == "eager", 0.0)


def clock(rows: pd.DataFrame) -> str:
    """Return the clock that a front is drawn by: the GPU's work where all timed points have it, else latency."""
    return next((name for name in TIMES if rows[name].notna().all()), "latency_ms")


def front(rows: pd.DataFrame, metrics: list[str], scatter: Scatter | None = None) -> pd.Series:
    """Return whether a row is on the front: no other on it is as good in all of these figures and better in one.

    Less is better. Rows that lack one of the figures are not judged and not on it. The first figure is a time. With its
    `scatter`, in which `rows.index` are positions, only what is told apart counts, all pairs together. A time without
    an interval is taken as it is, like the other figures.
    """
    values = rows[metrics].to_numpy(dtype=float, na_value=np.nan, copy=True)
    if scatter is not None:
        values[:, 0] = scatter.logs[rows.index]
    complete = np.isfinite(values).all(axis=1)
    known, places = values[complete], rows.index.to_numpy()[complete]
    best = np.ones(len(known), dtype=bool)
    # What beats a row precedes it in this order. "As good" is not transitive: what is beaten itself beats none.
    for index in np.lexsort(known.T):
        if best[index]:
            worse = np.sign(known - known[index])
            if scatter is not None:
                worse[~_apart(scatter, places[index], places), 0] = 0
            best &= (worse < 0).any(axis=1) | (worse == 0).all(axis=1)
    found = np.zeros(len(rows), dtype=bool)
    found[complete] = best
    return pd.Series(found, index=rows.index)


def _apart(scatter: Scatter, one: int, places: np.ndarray) -> np.ndarray:
    """Return which of these are told apart from this one, as one of the questions that all their pairs are."""
    number = len(np.unique(scatter.measurement[places]))
    questions = max(number * (number - 1) // 2, 1)
    difference, reach = scatter.each(np.full(len(places), one), places, 1 - (1 - LEVEL) / questions)
    return np.asarray((np.abs(difference) > reach) | np.isinf(reach))


def metrics(rows: pd.DataFrame) -> list[str]:
    """Return the figures that these rows have: a clock, and of the costs those that some row has."""
    return [clock(rows), *(name for name in COSTS if rows[name].notna().any())]


def sources(rows: pd.DataFrame) -> pd.Series:
    """Return the point whose calls were timed for each row."""
    return rows["timed_with"].fillna(rows["point_id"])


def measurements(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Group the rows by what was measured once: a point, and those that have its figures (`timed_with`)."""
    return [group for _, group in rows.groupby([rows["sweep_id"], sources(rows)], sort=False)]
