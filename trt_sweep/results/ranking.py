"""Rank the rows of a table as far as the data carry it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from trt_sweep.results.axes import COMPARABLE, RUNNING
from trt_sweep.results.stats import differences, estimates, ranks, unseen

ENDS = ("low", "high")
VISITED = ("sweep_id", "visit_group", "latency_ms_visits")
CLOCKS = {"latency": ("latency_ms", None), "gpu": ("gpu_ms", "gpu_ms_method")}


def estimate(row: pd.Series | Mapping[Hashable, Any], clock: str) -> estimates.Estimate:
    """Return the time of a row that was timed more than once, with what the record says of its scatter.

    `clock` is the column of the time, `latency_ms` or `gpu_ms`.
    """
    value, rounds, builds = float(row[clock]), row["rounds"], row["builds"]
    if isinstance(row["visit_group"], str):
        return _visited(row, clock)
    between_builds, between_rounds = row[f"{clock}_between_builds"], row[f"{clock}_between_rounds"]
    rounds_alone = math.nan if pd.isna(between_rounds) else float(between_rounds)
    of_builds = None if pd.isna(between_builds) else float(between_builds)
    allowed = allowances(row, clock)
    return estimates.of_rounds(
        value, int(rounds), rounds_alone, builds=int(builds), between_builds=of_builds, **allowed
    )


def _visited(row: pd.Series | Mapping[Hashable, Any], clock: str) -> estimates.Estimate:
    """Return the time of a row whose point was visited in turn with others."""
    between = {name: row[f"{clock}_between_{name}"] for name in ("builds", "rounds")}
    known = {name: None if pd.isna(value) else float(value) for name, value in between.items()}
    if clock == "gpu_ms":
        captures = row["gpu_ms_between_captures"]
        return estimates.of_captures(
            float(row[clock]),
            _count(row["gpu_ms_captures"]),
            None if pd.isna(captures) else float(captures),
            _count(row["builds"]),
            known["builds"],
            cudnn_benchmark=cudnn_chose(row),
        )
    spread = math.nan if known["rounds"] is None else known["rounds"]
    logs = visits(row)
    return estimates.Estimate(float(row[clock]), spread, len(logs) or 1, max(len(logs) - 1, 0), 0.0, logs, _group(row))


def _count(value: Any) -> int:
    return 1 if pd.isna(value) else int(value)


def visits(row: pd.Series | Mapping[Hashable, Any]) -> tuple[float, ...]:
    """Return the logarithms of a row's visits, empty where it has none."""
    found = row["latency_ms_visits"]
    return tuple(math.log(ms) for ms in found) if isinstance(found, list | tuple) else ()


def ratio(
    a: Mapping[Hashable, Any], b: Mapping[Hashable, Any]
) -> tuple[float, float, float] | tuple[float, None, None]:
    """Return the latency of row a over that of row b and its interval.

    The ends are None where they were not visited in turn. `VISITED` are the columns that it needs beside `latency_ms`.
    """
    pair = [
        estimates.Estimate(float(row["latency_ms"]), math.nan, 1, 0, 0.0, visits(row), _group(row)) for row in (a, b)
    ]
    plain = pair[0].value / pair[1].value
    if not differences.together(pair):
        return plain, None, None
    found = differences.difference((1, -1), pair)
    low, high = found.interval()
    return math.exp(found.value), math.exp(low), math.exp(high)


def _group(row: pd.Series | Mapping[Hashable, Any]) -> tuple[object, object]:
    return row["sweep_id"], row["visit_group"]


def allowances(row: pd.Series | Mapping[Hashable, Any], clock: str) -> dict[str, float]:
    """Return `unseen` and `drift` of `stats.estimates.of_rounds` for a row: what its rounds cannot show."""
    choice = unseen.choice(cudnn_chose(row))
    if clock == "gpu_ms":
        captures, number = row["gpu_ms_between_captures"], row["gpu_ms_captures"]
        between = None if pd.isna(captures) else float(captures)
        return {"unseen": unseen.unseen_gpu(between, None if pd.isna(number) else int(number)), "drift": choice}
    return {"drift": math.hypot(host_drift(row), choice)}


def cudnn_chose(row: pd.Series | Mapping[Hashable, Any]) -> bool:
    """Return for how many kinds of convolutions cuDNN chose algorithms in this row's process; 1 where it is unknown."""
    return not pd.isna(row["cudnn_benchmark"]) and bool(row["cudnn_benchmark"])


def host_drift(row: pd.Series | Mapping[Hashable, Any]) -> float:
    """Return how far the host may have moved a row's latency within its sweep, as a relative standard deviation."""
    bound = None if pd.isna(row["launch_bound"]) else bool(row["launch_bound"])
    return unseen.host_drift(bound, row["clock"] == "cuda_events")


def _estimate(row: Mapping[Hashable, Any], clock: str) -> estimates.Estimate:
    """Return the time of any row with its scatter: one window has its interval to go by, if there is one."""
    if isinstance(row["visit_group"], str):
        return _visited(row, clock)
    scatter = row[f"{clock}_between_rounds"], row[f"{clock}_between_builds"]
    if not all(map(pd.isna, scatter)) and not pd.isna(row["rounds"]) and not pd.isna(row["builds"]):
        return estimate(row, clock)
    low, high = (math.nan if pd.isna(row[f"{clock}_ci_{end}"]) else float(row[f"{clock}_ci_{end}"]) for end in ENDS)
    allowed, value = allowances(row, clock), float(row[clock])
    # Older records hold the interval of the window's median, later ones where another run is expected.
    of_run = not pd.isna(row["rounds"])
    return (estimates.of_interval if of_run else estimates.of_window)(value, low, high, **allowed)


def measured(rows: pd.DataFrame, clock: str) -> tuple[list[estimates.Estimate], list[object]]:
    """Return the times of rows by `latency_ms` or `gpu_ms`, and what each runs: equal for one engine run in one way."""
    scatter = [f"{clock}_{name}" for name in ("between_rounds", "between_builds", *(f"ci_{end}" for end in ENDS))]
    if clock == "gpu_ms":
        scatter += ["gpu_ms_between_captures", "gpu_ms_captures"]
    else:
        scatter += ["latency_ms_visits"]
    # A row of all columns takes ten times as long to make as to judge.
    content = rows[
        [clock, "clock", "sweep_id", "visit_group", "rounds", "builds", *scatter, "launch_bound", "cudnn_benchmark"]
    ].to_dict("records")
    alike = rows.groupby(["engine_id", *RUNNING], dropna=False, sort=False).ngroup()
    runs: list[object] = [
        ("not known", index) if unknown else ("engine", number)
        for index, unknown, number in zip(rows.index, rows["engine_id"].isna(), alike, strict=True)
    ]
    return [_estimate(row, clock) for row in content], runs


def renewed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the intervals of what cuDNN chose algorithms for as they are judged now.

    Older records hold narrower ones.
    """
    table = table.copy()
    old = table["visit_group"].isna()
    rows = table[old & (table["status"] == "ok") & table["cudnn_benchmark"].fillna(False).astype(bool)]
    for clock, _ in CLOCKS.values():
        scatter = rows[[f"{clock}_between_rounds", f"{clock}_between_builds"]].notna().any(axis=1)
        for index, row in rows[scatter & rows[["rounds", "builds"]].notna().all(axis=1)].iterrows():
            table.loc[index, [f"{clock}_ci_{end}" for end in ENDS]] = estimate(row, clock).interval()
    return table


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the best and the worst rank that each `ok` row can have, by latency and by the GPU's work.

    `latency_rank` and `latency_rank_worst` are 1 and 1 for a proved winner, 1 and 3 for one of three that nothing tells
    apart; `gpu_rank` likewise, between rows of one `gpu_ms_method`. Rows that run one and the same engine in the same
    way are never told apart. Null for a row that was timed once, or that nothing comparable stands beside.
    """
    table = table.copy()
    for name, (clock, method) in CLOCKS.items():
        for column in (f"{name}_rank", f"{name}_rank_worst"):
            table[column] = pd.array([pd.NA] * len(table), dtype="Int64")
        keys = [*COMPARABLE, *([method] if method else [])]
        known = table[f"{clock}_between_rounds"].notna() | table[f"{clock}_between_builds"].notna()
        known |= table["visit_group"].notna() & table[f"{clock}_ci_low"].notna()
        timed = table[clock].astype(float).between(0, math.inf, inclusive="neither")
        usable = table[(table["status"] == "ok") & timed & known]
        for _, rows in usable.groupby(keys, dropna=False):
            if len(rows) < 2:
                continue
            found = ranks.rank_sets(*measured(rows, clock))
            table.loc[rows.index, f"{name}_rank"] = [best for best, _ in found]
            table.loc[rows.index, f"{name}_rank_worst"] = [worst for _, worst in found]
    return table
