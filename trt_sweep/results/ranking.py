"""Rank the rows of a table as far as the data carry it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from trt_sweep.results.axes import COMPARABLE, RUNNING
from trt_sweep.results.stats import differences, estimates, ranks
from trt_sweep.results.stats.visits import QUARTER

VISITED = (
    *("sweep_id", "visit_group", "latency_ms_visits", "anchor_id", "anchor_ms_visits", "anchor_spread"),
    *("rounds", "builds", "batch_size", "streams", "throughput_per_s", "item_ms_visits"),
    *("gpu_ms", "gpu_ms_captures", *(f"gpu_ms_between_{name}" for name in ("captures", "rounds", "builds"))),
)
MOST_VISITS = 400  # that are compared: for exact intervals the work grows with the cube of their number
CLOCKS = {"latency": ("latency_ms", None), "gpu": ("gpu_ms", "gpu_ms_method")}


def estimate(row: pd.Series | Mapping[Hashable, Any], clock: str) -> estimates.Estimate:
    """Return the time of a row with what the record says of its scatter.

    `clock` is the column of the time: `latency_ms` has its visits, `gpu_ms` its captures. Older records have no visits,
    the oldest no captures: of their times nothing more is known.
    """
    value, gpu_ms = float(row[clock]), row["gpu_ms"]
    number, between = ("gpu_ms_captures", "gpu_ms_between_captures")
    if pd.isna(row[between]):
        number, between = ("rounds", "gpu_ms_between_rounds")  # of older records, by queued
    captures, of_captures, builds, of_builds = (
        None if pd.isna(row[name]) else float(row[name])
        for name in (number, between, "builds", "gpu_ms_between_builds")
    )
    work = estimates.of_captures(value, int(captures or 1), of_captures, int(builds or 1), of_builds)
    if clock == "gpu_ms":
        return work
    logs = _logs(row["latency_ms_visits"])
    if not logs:
        return estimates.Estimate(value)
    spread, freedom = estimates.LOADS, math.inf
    if work.known and not pd.isna(gpu_ms):
        spread, freedom = estimates.of_call(work.spread, float(gpu_ms), value), work.freedom
    anchor = None
    if isinstance(row["anchor_ms_visits"], list | tuple):
        medians = row["anchor_ms_visits"]
        group = (row["sweep_id"], row["anchor_id"])
        anchor = estimates.Estimate(
            float(np.quantile(medians, QUARTER)), float(row["anchor_spread"]), visits=_logs(medians), group=group
        )
    return estimates.Estimate(value, spread, freedom, logs, (row["sweep_id"], row["visit_group"]), anchor)


def per_item(row: pd.Series | Mapping[Hashable, Any]) -> estimates.Estimate:
    """Return the time of one item, as throughput is made of it, with what the record says of its scatter.

    Of older records it is the time of a call over its batch: one thread called.
    """
    call, size = estimate(row, "latency_ms"), int(row["batch_size"])
    visits = _logs(row.get("item_ms_visits"))
    if not visits and (pd.isna(row.get("streams")) or row["streams"] == 1):
        return call.per(size)
    return dataclasses.replace(call, value=1e3 / float(row["throughput_per_s"]), visits=visits)


def throughput_interval(row: pd.Series | Mapping[Hashable, Any]) -> tuple[float, float]:
    """Return the interval of `throughput_per_s`, NaN without one; that of older records follows from the latency's."""
    low, high = row.get("throughput_per_s_ci_low"), row.get("throughput_per_s_ci_high")
    if not (pd.isna(low) or pd.isna(high)):
        return float(low), float(high)
    low, high = row["latency_ms_ci_low"], row["latency_ms_ci_high"]
    older = pd.isna(row.get("streams")) or row["streams"] == 1
    if pd.isna(low) or pd.isna(high) or not older:
        return math.nan, math.nan
    return row["batch_size"] * 1e3 / high, row["batch_size"] * 1e3 / low


def _logs(visits: Any) -> tuple[float, ...]:
    """Return the logarithms of visits in ms, of very many those at even distances; empty where a row has none."""
    if not isinstance(visits, list | tuple):
        return ()
    return tuple(math.log(ms) for ms in visits[:: max(math.ceil(len(visits) / MOST_VISITS), 1)])


def ratio(
    a: Mapping[Hashable, Any], b: Mapping[Hashable, Any]
) -> tuple[float, float, float] | tuple[float, None, None]:
    """Return the latency of row a over that of row b and its interval.

    The ends are None where they were not visited in turn, nor with one anchor, or too seldom. `VISITED` are the columns
    that it needs beside `latency_ms`.
    """
    pair = [estimate(row, "latency_ms") for row in (a, b)]
    plain = pair[0].value / pair[1].value
    if not (differences.together(pair) or differences.anchored(pair)):
        return plain, None, None
    found = differences.difference((1, -1), pair)
    low, high = found.interval()
    if math.isnan(low):
        return math.exp(found.value), None, None
    return math.exp(found.value), math.exp(low), math.exp(high)


def cudnn_chose(row: pd.Series | Mapping[Hashable, Any]) -> bool:
    """Return whether cuDNN chose this row's algorithms by timing them; False where that is not known."""
    return not pd.isna(row["cudnn_benchmark"]) and bool(row["cudnn_benchmark"])


def measured(rows: pd.DataFrame, clock: str) -> tuple[list[estimates.Estimate], list[object]]:
    """Return the times of rows, and what each runs: equal for one engine run in one way.

    `clock` is `latency_ms`, `gpu_ms`, or `item_ms` for the time of one item.
    """
    # A row of all columns takes ten times as long to make as to judge.
    content = rows[["latency_ms", *VISITED]].to_dict("records")
    alike = rows.groupby(["engine_id", *RUNNING], dropna=False, sort=False).ngroup()
    runs: list[object] = [
        ("not known", index) if unknown else ("engine", number)
        for index, unknown, number in zip(rows.index, rows["engine_id"].isna(), alike, strict=True)
    ]
    return [per_item(row) if clock == "item_ms" else estimate(row, clock) for row in content], runs


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the best and the worst rank that each `ok` row can have, by latency and by the GPU's work.

    `latency_rank` and `latency_rank_worst` are 1 and 1 for a proved winner, 1 and 3 for one of three that nothing tells
    apart; `gpu_rank` likewise, between rows of one `gpu_ms_method`. Rows that run one and the same engine in the same
    way are never told apart. Null for a row that has no visits, or no captures, and where nothing comparable is beside.
    """
    table = table.copy()
    for name, (clock, method) in CLOCKS.items():
        for column in (f"{name}_rank", f"{name}_rank_worst"):
            table[column] = pd.array([pd.NA] * len(table), dtype="Int64")
        keys = [*COMPARABLE, *([method] if method else [])]
        scatter = ("latency_ms_visits",) if clock == "latency_ms" else VISITED[-3:]
        known = table[[*scatter]].notna().any(axis=1)
        timed = table[clock].astype(float).between(0, math.inf, inclusive="neither")
        usable = table[(table["status"] == "ok") & timed & known]
        for _, rows in usable.groupby(keys, dropna=False):
            if len(rows) < 2:
                continue
            found = ranks.rank_sets(*measured(rows, clock))
            table.loc[rows.index, f"{name}_rank"] = [best for best, _ in found]
            table.loc[rows.index, f"{name}_rank_worst"] = [worst for _, worst in found]
    return table
