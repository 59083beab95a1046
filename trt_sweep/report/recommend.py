"""Which point to use under constraints, which others are as good as far as is known, and what the defaults cost."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trt_sweep import config, ranking, stats
from trt_sweep.errors import SweepError
from trt_sweep.report import pareto, text

Row = dict[Hashable, Any]
# Whether more of it is better, and the unit; with the column before them below.
_BETTER = {"latency": (False, "ms"), "gpu": (False, "ms"), "throughput": (True, "/s"), "energy": (False, "mJ")}
OBJECTIVES = {name: (column, *_BETTER[name]) for name, column in config.OBJECTIVES.items()}
DEFAULT_LEVEL = 3  # TensorRT's builder optimization level where none is set


@dataclass(frozen=True)
class Wanted:
    """What is asked for; null is no limit. `max_memory` in GiB of the GPU, `max_error` of `rel_l2_error`."""

    objective: str = "latency"
    max_build_s: float | None = None
    max_error: float | None = None
    max_memory: float | None = None


@dataclass(frozen=True)
class Second:
    """What a second measurement has shown: `rows` by how good they are, those that failed last.

    `group` are those that nothing proves to be worse than the best, `judged` whether that could be told.
    """

    rows: pd.DataFrame
    group: pd.DataFrame
    judged: bool


@dataclass(frozen=True)
class Advice:
    """What is recommended for one piece of work.

    `winner` is the best row as measured, `runner_up` the next, `ties` the others that nothing proves to be worse,
    `judged` whether that could be told at all, `left_out` how many rows do not qualify, by reason. `defaults` is the
    row that a user who sets nothing gets, and `cost` how much more it takes: a difference of logarithms. `second` is
    null where nothing was measured again.
    """

    rows: pd.DataFrame
    winner: Row | None
    ties: pd.DataFrame
    judged: bool
    left_out: dict[str, int]
    defaults: Row | None = None
    cost: stats.Difference | None = None
    runner_up: Row | None = None
    second: Second | None = None

    @property
    def confirmed(self) -> bool:
        """Whether no second measurement proves another point to be better than the winner, or saw it fail."""
        if self.winner is None or self.second is None:
            return True
        return self.winner["point_id"] in set(self.second.group["point_id"])

    @property
    def use(self) -> Row | None:
        """The row to go by: the winner, or where that is not confirmed the best of the second measurement's group."""
        if self.confirmed or self.second is None:
            return self.winner
        best = self.rows[self.rows["point_id"].isin(self.second.group["point_id"].head(1))]
        return best.iloc[0].to_dict() if len(best) else None


def check(wanted: Wanted, rows: pd.DataFrame) -> None:
    """Raise SweepError for what these records cannot be asked."""
    for name in ("max_build_s", "max_error", "max_memory"):
        value = getattr(wanted, name)
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise SweepError(f"--{name.replace('_', '-')}={value} is not allowed: use a number of at least 0")
    if wanted.max_memory is not None and rows[pareto.MEMORY].isna().all():
        raise SweepError(f"--max-memory={wanted.max_memory} cannot be judged: these records have no {pareto.MEMORY}")
    column = OBJECTIVES[wanted.objective][0]
    ok = rows[rows["status"] == "ok"]
    # What nobody asked for may be missing: the report then says so.
    if wanted.objective != Wanted.objective and len(ok) and ok[column].isna().all():
        raise SweepError(f"--objective={wanted.objective} cannot be judged: no successful record has {column}")


def tasks(rows: pd.DataFrame, objective: str) -> list[pd.DataFrame]:
    """The rows by what may be set against each other: one sweep, model and device; for throughput any batch size."""
    free = ("batch_size", "input_shapes") if objective == "throughput" else ()
    keys = [key for key in ranking.COMPARABLE if key not in free]
    groups = rows.groupby(keys, dropna=False, sort=False)
    return [group for _, group in groups if (group["status"] == "ok").any()]


def advise(rows: pd.DataFrame, wanted: Wanted) -> Advice:
    """The recommendation for the rows of one task."""
    column, more, _ = OBJECTIVES[wanted.objective]
    left_out: dict[str, int] = {}
    ok = rows[rows["status"] == "ok"].assign(build=pareto.build_seconds(rows))
    fit = ok

    def without(keep: pd.Series, why: str) -> None:
        nonlocal fit
        keep = keep.reindex(fit.index).fillna(False).astype(bool)
        if not keep.all():
            left_out[why] = int((~keep).sum())
            fit = fit[keep]

    without(ok[column].astype(float) > 0, f"no {column}")
    if wanted.objective == "throughput":
        without(ok["latency_ms"].astype(float) > 0, "no latency_ms")
    if wanted.objective == "gpu" and fit["gpu_ms_method"].nunique() > 1:
        method = fit["gpu_ms_method"].value_counts().index[0]
        without(ok["gpu_ms_method"] == method, f"gpu_ms not by {method}")
    for name, limit in (("build", wanted.max_build_s), ("rel_l2_error", wanted.max_error)):
        if limit is not None:
            without(ok[name].astype(float) <= limit, f"{name.replace('build', 'build s')} above {limit:g} or not known")
    if wanted.max_memory is not None:
        allowed = ok[pareto.MEMORY].astype(float) <= wanted.max_memory * 2**30
        without(allowed, f"memory above {wanted.max_memory:g} GiB or not known")
    if fit.empty:
        return Advice(rows, None, fit, False, left_out)
    fit = fit.sort_values(column, ascending=not more, kind="stable")
    estimates, runs = _estimates(fit, wanted.objective)
    judged = [math.isfinite(item.variance) for item in estimates]
    winner: Row = fit.iloc[0].to_dict()
    ties = fit[[best == 1 for best, _ in stats.rank_sets(estimates, runs)]].iloc[1:]
    defaults = _defaults(ok, winner)
    cost = None
    if defaults is not None and not text.missing(defaults[column]):
        pair = _estimates(pd.DataFrame([defaults, winner]), wanted.objective)[0]
        cost = stats.difference((1, -1), pair)
    runner_up: Row | None = fit.iloc[1].to_dict() if len(fit) > 1 else None
    return Advice(rows, winner, ties, all(judged), left_out, defaults, cost, runner_up)


def judged(rows: pd.DataFrame, objective: str) -> Second:
    """The points of one task that were measured again, among themselves."""
    column, more, _ = OBJECTIVES[objective]
    rows = rows.sort_values(column, ascending=not more, kind="stable")
    fit = rows[(rows["status"] == "ok") & (rows[column].astype(float) > 0)]
    if objective == "gpu" and fit["gpu_ms_method"].nunique() > 1:
        fit = fit[fit["gpu_ms_method"] == fit["gpu_ms_method"].value_counts().index[0]]
    rows = pd.concat([fit, rows.drop(fit.index)])
    if fit.empty:
        return Second(rows, fit, False)
    estimates, runs = _estimates(fit, objective)
    group = fit[[best == 1 for best, _ in stats.rank_sets(estimates, runs)]]
    return Second(rows, group, all(math.isfinite(item.variance) for item in estimates))


def _estimates(rows: pd.DataFrame, objective: str) -> tuple[list[stats.Estimate], list[object]]:
    """What is to be little, with its scatter, and what each row runs; energy is recorded without scatter."""
    if objective == "energy":
        return [stats.Estimate(value, math.nan, 1, math.inf, 0.0) for value in rows["energy_mj_per_call"]], list(
            rows.index
        )
    found, runs = ranking.measured(rows, "gpu_ms" if objective == "gpu" else "latency_ms")
    if objective == "throughput":
        sizes = rows["batch_size"].astype(int)
        found = [
            stats.Estimate(item.value / size, item.spread, item.units, item.freedom, item.placement)
            for item, size in zip(found, sizes, strict=True)
        ]
        runs = list(zip(runs, sizes, strict=True))
    return found, runs


def _defaults(rows: pd.DataFrame, winner: Row) -> Row | None:
    """The row of `dynamo` with nothing set: in fp32, as a model comes, or else in the winner's precision."""
    plain = rows[
        (rows["backend"] == "dynamo")
        & (rows["min_block_size"] == rows["default_min_block_size"]).fillna(False)
        & rows["optimization_level"].fillna(DEFAULT_LEVEL).eq(DEFAULT_LEVEL)
        & ~rows["cuda_graphs"].fillna(False).astype(bool)
        & rows["compile"].isna()
        & rows["runtime_cache"].isin((None, "cold"))
        & rows["batch_size"].eq(winner["batch_size"])
    ]
    for precision in ("fp32", winner["precision"]):
        found = plain[plain["precision"] == precision].sort_values("runtime", kind="stable")  # cpp first
        if len(found):
            row: Row = found.iloc[0].to_dict()
            return row
    return None
