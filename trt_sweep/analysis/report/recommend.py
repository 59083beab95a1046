"""Recommend a point under constraints, and say which others are as good and what the defaults cost."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from trt_sweep.analysis.report import pareto, text
from trt_sweep.config import options
from trt_sweep.errors import SweepError
from trt_sweep.results import axes, ranking
from trt_sweep.results.axes import PER_ITEM, SETTINGS, SIZES, TABLE
from trt_sweep.results.cells import size
from trt_sweep.results.stats import differences
from trt_sweep.results.stats.estimates import Estimate
from trt_sweep.results.stats.ranks import rank_sets

Row = dict[Hashable, Any]
# Whether more of it is better, and the unit; with the column before them below.
_BETTER = {"latency": (False, "ms"), "gpu": (False, "ms"), "throughput": (True, "/s"), "energy": (False, "mJ")}
OBJECTIVES = {name: (column, *_BETTER[name]) for name, column in options.OBJECTIVES.items()}


@dataclass(frozen=True)
class Wanted:
    """Hold what is asked for; None is no limit. `max_build` is in seconds, `max_memory` in bytes of the GPU."""

    objective: str = "latency"
    max_build: float | None = None
    max_error: float | None = None
    max_memory: float | None = None


@dataclass(frozen=True)
class Second:
    """Hold what a second measurement has shown: `rows` by how good they are, those that failed last.

    `group` are those that nothing proves to be worse than the best, the one to use first. `judged` says whether that
    could be told.
    """

    rows: pd.DataFrame
    group: pd.DataFrame
    judged: bool


@dataclass(frozen=True)
class Advice:
    """Hold what is recommended for one piece of work.

    `fit` are the rows that qualify, by the objective; `left_out` is how many do not, by reason. `limits` are the limits
    that were asked for, `idle` the options of those that leave nothing out. `ties` are the rows beside the winner that
    nothing proves to be worse than the best; `judged` says whether that could be told at all. `decided` is what chose
    the winner among them: `gpu`, `defaults` (the fewest departures, where the figure is the same), or None for the
    least figure. `sure` says whether the GPU's work proves it to be better than they are. `runner_up` is the best of
    the other measurements.
    `defaults` is the row that a user who sets nothing gets; `unfit` says why it does not qualify, None where it does;
    `cost` is how much more it takes, a difference of logarithms. `second` is None where nothing was measured again.
    `objective` is what was asked, or throughput where that could not compare the rows, see `tasks`.
    """

    rows: pd.DataFrame
    fit: pd.DataFrame
    left_out: dict[str, int]
    limits: list[str]
    idle: list[str]
    winner: Row | None
    ties: pd.DataFrame
    judged: bool
    decided: str | None = None
    sure: bool = False
    defaults: Row | None = None
    unfit: str | None = None
    cost: differences.Difference | None = None
    runner_up: Row | None = None
    second: Second | None = None
    objective: str = Wanted.objective

    @property
    def alike(self) -> list[pd.DataFrame]:
        """Group the winner and its ties by measurement, the winner's own first."""
        if self.winner is None:
            return []
        own = self.fit["point_id"] == self.winner["point_id"]
        found = pareto.measurements(self.fit[own | self.fit.index.isin(self.ties.index)])
        return sorted(found, key=lambda rows: not own[rows.index].any())

    @property
    def confirmed(self) -> bool:
        """Return whether no second measurement proves another point to be better than the winner, or saw it fail."""
        if self.winner is None or self.second is None:
            return True
        return self.winner["point_id"] in set(self.second.group["point_id"])

    @property
    def use(self) -> Row | None:
        """Return the row to use: the winner, or where it is not confirmed the first of the second's group."""
        if self.confirmed or self.second is None:
            return self.winner
        best = self.rows[self.rows["point_id"].isin(self.second.group["point_id"].head(1))]
        return best.iloc[0].to_dict() if len(best) else None


@dataclass(frozen=True)
class _Limit:
    """Hold the most that a figure may be, in its unit, the figures by row, and the flag that asks for it."""

    flag: str
    name: str
    unit: str
    figures: pd.Series
    most: float | None

    @property
    def option(self) -> str:
        return f"{self.flag} {self._shown(self.most).replace(' ', '')}"

    def said(self, relation: str) -> str:
        return f"{self.name} {relation} {self._shown(self.most)}"

    def figure(self, index: int) -> str:
        """Return what a row has of it."""
        figure = float(self.figures[index])
        return f"{self.name} not known" if math.isnan(figure) else f"{self.name} {self._shown(figure, '.3g')}"

    def _shown(self, figure: float | None, form: str = "g") -> str:
        return size(figure) if self.unit == "B" else f"{figure:{form}} {self.unit}".rstrip()


def check(wanted: Wanted, rows: pd.DataFrame) -> None:
    """Raise SweepError for what these records cannot be asked."""
    if wanted.max_memory is not None and rows[pareto.MEMORY].isna().all():
        raise SweepError(f"--max-memory cannot be judged: these records have no {pareto.MEMORY}; leave it out")
    column = OBJECTIVES[wanted.objective][0]
    ok = rows[rows["status"] == "ok"]
    # What nobody asked for may be missing: the report then says so.
    if wanted.objective != Wanted.objective and len(ok) and ok[column].isna().all():
        raise SweepError(f"--objective={wanted.objective} cannot be judged: no successful record has {column}")


def tasks(rows: pd.DataFrame, objective: str) -> list[pd.DataFrame]:
    """Split the rows by what may be compared: one sweep, model and device; for throughput any batch size.

    Where several batch sizes or numbers of streams have one swept point each, latency has nothing to compare. These
    stay together, for throughput.
    """
    found: list[pd.DataFrame] = []
    for task in _comparable(rows, (*SIZES, *PER_ITEM)):
        parts = [task] if objective == "throughput" else _comparable(task)
        alone = objective == "latency" and all(part["jobs"].map(bool).sum() < 2 for part in parts)
        found += [task] if alone and 1 < len(parts) == _numbers_of_items(task) else parts
    return found


def _numbers_of_items(task: pd.DataFrame) -> int:
    """Return how many numbers of items were timed, and have a throughput."""
    ok = task[(task["status"] == "ok") & task["throughput_per_s"].notna()]
    return len(ok[[*PER_ITEM]].drop_duplicates())


def _comparable(rows: pd.DataFrame, free: tuple[str, ...] = ()) -> list[pd.DataFrame]:
    """Split the rows by what must be alike, but for the axes that are `free`; leave out where nothing was timed."""
    keys = [key for key in axes.COMPARABLE if key not in free]
    groups = rows.groupby(keys, dropna=False, sort=False)
    return [group for _, group in groups if (group["status"] == "ok").any()]


def loads(task: pd.DataFrame) -> list[str]:
    """Return the axes by which the rows of a task differ in how many items are worked on at a time."""
    return [name for name in PER_ITEM if task[name].nunique() > 1]


def _limits(rows: pd.DataFrame, wanted: Wanted) -> list[_Limit]:
    every = (
        _Limit("--max-build", "build", "s", rows["build"].astype(float), wanted.max_build),
        _Limit("--max-error", "rel. error", "", rows["rel_l2_error"].astype(float), wanted.max_error),
        _Limit("--max-memory", "memory", "B", rows[pareto.MEMORY].astype(float), wanted.max_memory),
    )
    return [limit for limit in every if limit.most is not None]


def advise(rows: pd.DataFrame, wanted: Wanted) -> Advice:
    """Return the recommendation for the rows of one task."""
    if loads(rows):
        wanted = replace(wanted, objective="throughput")
    column, more_is_better, _ = OBJECTIVES[wanted.objective]
    left_out: dict[str, int] = {}
    unfit: dict[int, str] = {}
    ok = rows[rows["status"] == "ok"].assign(build=pareto.build_seconds(rows))
    fit = ok

    def without(keep: pd.Series, why: str) -> None:
        nonlocal fit
        keep = keep.reindex(fit.index).fillna(False).astype(bool)
        if not keep.all():
            left_out[why] = int((~keep).sum())
            unfit.update(dict.fromkeys(fit.index[~keep], why))
            fit = fit[keep]

    without(ok[column].astype(float) > 0, f"no {column}")
    cold = ok["runtime_cache"].eq("cold").fillna(False)
    if not cold.all():
        without(~cold, "runtime_cache=cold")  # it shows what a first start costs: nobody wants to pay it
    if wanted.objective == "throughput":
        without(ok["latency_ms"].astype(float) > 0, "no latency_ms")
    if wanted.objective == "gpu" and fit["gpu_ms_method"].nunique() > 1:
        method = fit["gpu_ms_method"].value_counts().index[0]
        without(ok["gpu_ms_method"] == method, f"gpu_ms not by {method}")
    limits, idle = _limits(ok, wanted), []
    for limit in limits:
        before = len(fit)
        without(limit.figures <= limit.most, f"{limit.said('above')} or not known")
        if before == len(fit):
            idle.append(limit.option)
    asked = [limit.said("≤") for limit in limits]
    if fit.empty:
        return Advice(rows, fit, left_out, asked, idle, None, fit, False, objective=wanted.objective)
    fit = fit.sort_values(column, ascending=not more_is_better, kind="stable")
    group, known, decided, sure = _best(fit, wanted.objective)
    winner: Row = group.iloc[0].to_dict()
    others = fit.drop(group.index[0])
    source = pareto.sources(fit)
    rivals = fit[source != source[group.index[0]]]
    runner_up: Row | None = rivals.iloc[0].to_dict() if len(rivals) else None
    place = _defaults(ok, winner)
    defaults: Row | None = None
    why = cost = None
    if place is not None:
        defaults = ok.loc[place].to_dict()
        above = [limit.figure(place) for limit in limits if not limit.figures[place] <= limit.most]
        why = ", ".join(above) or unfit.get(place)
        if not text.missing(defaults[column]):
            cost = more(defaults, winner, wanted.objective)
    ties = others[others.index.isin(group.index)]
    found = rows, fit, left_out, asked, idle, winner, ties, known, decided, sure, defaults, why, cost, runner_up
    return Advice(*found, objective=wanted.objective)


def judged(rows: pd.DataFrame, objective: str) -> Second:
    """Judge the points of one task that were measured again, among themselves."""
    column, more, _ = OBJECTIVES[objective]
    rows = rows.sort_values(column, ascending=not more, kind="stable")
    fit = rows[(rows["status"] == "ok") & (rows[column].astype(float) > 0)]
    if objective == "gpu" and fit["gpu_ms_method"].nunique() > 1:
        fit = fit[fit["gpu_ms_method"] == fit["gpu_ms_method"].value_counts().index[0]]
    rows = pd.concat([fit, rows.drop(fit.index)])
    if fit.empty:
        return Second(rows, fit, False)
    group, known, *_ = _best(fit, objective)
    return Second(rows, group, known)


def _best(fit: pd.DataFrame, objective: str) -> tuple[pd.DataFrame, bool, str | None, bool]:
    """Return those of `fit`, sorted by the objective, that nothing proves to be worse than the best.

    The one to use is first: of these the one with the least work of the GPU as far as that is proved, then the least
    figure, then the fewest departures from the defaults. With them return whether the objective could be told, what
    chose the first, and whether that is sure, as in `Advice`.
    """
    estimates, runs = _estimates(fit, objective)
    known = all(item.known for item in estimates)
    group = fit[[best == 1 for best, _ in rank_sets(estimates, runs)]]
    first, sure = group, False
    if objective in ("latency", "throughput") and known:
        group = first = group[~_excluded(group, objective)]
        if group["gpu_ms_method"].nunique(dropna=False) == 1 and (group["gpu_ms"].astype(float) > 0).all():
            ranks = rank_sets(*_estimates(group, objective, "gpu_ms"))
            first = group[[best == 1 for best, _ in ranks]]
            worst = min(worst for best, worst in ranks if best == 1)
            sure = len(first) < len(group) and len(pareto.measurements(first)) == 1 and worst == len(first)
    column = OBJECTIVES[objective][0]
    least = first[first[column] == first[column].iloc[0]]
    chosen = departures(least).sum(axis=1).sort_values(kind="stable").index[0]
    decided = "gpu" if len(first) < len(group) else "defaults" if chosen != group.index[0] else None
    return pd.concat([group.loc[[chosen]], group.drop(chosen)]), known, decided, sure


def more(row: Row, other: Row, objective: str) -> differences.Difference:
    """Return how much more a row takes of what is to be little than another does."""
    return differences.difference((1, -1), _estimates(pd.DataFrame([row, other]), objective)[0])


def _excluded(rows: pd.DataFrame, objective: str) -> pd.Series:
    """Return whether a row's GPU work alone takes longer than some other's call: no call takes less than its work.

    Of calls on several streams the GPU may do some at the same time.
    """
    work, call = (rows[name].astype(float) for name in ("gpu_ms_ci_low", "latency_ms_ci_high"))
    if objective == "throughput":
        work = (work / rows["batch_size"].astype(float)).where(rows["streams"].eq(1))
        call = pd.Series([1e3 / ranking.throughput_interval(row)[0] for row in rows.to_dict("records")], rows.index)
    return (work > call.min()) & (call != call.min())


def _estimates(rows: pd.DataFrame, objective: str, clock: str | None = None) -> tuple[list[Estimate], list[object]]:
    """Return what is to be little, with its scatter, and what each row runs; energy is recorded without scatter.

    `clock` is another than the objective's.
    """
    if objective == "energy":
        return [Estimate(value) for value in rows["energy_mj_per_call"]], list(rows.index)
    clock = clock or {"gpu": "gpu_ms", "throughput": "item_ms"}.get(objective, "latency_ms")
    found, runs = ranking.measured(rows, clock)
    if objective == "throughput":
        if clock == "gpu_ms":
            found = [item.per(size) for item, size in zip(found, rows["batch_size"].astype(int), strict=True)]
        runs = list(zip(runs, *(rows[name].astype(int) for name in PER_ITEM), strict=True))
    return found, runs


def departures(rows: pd.DataFrame) -> pd.DataFrame:
    """Return which axes of each row are not at what a user gets who sets nothing."""
    found = {}
    for axis in SETTINGS:
        row, values = TABLE[axis], rows[axis]
        own = values.isin([value for value in (row.default, *row.unasked) if value is not None])
        if row.default_column:
            own = own | values.eq(rows[row.default_column]).fillna(False)
        found[axis] = values.notna() & ~own
    return pd.DataFrame(found, index=rows.index).astype(bool)


def _defaults(rows: pd.DataFrame, winner: Row) -> int | None:
    """Return the place of `dynamo` with nothing set: in fp32, as a model comes, or else in the winner's precision."""
    departs = departures(rows)[["backend", "optimization_level", "cuda_graphs", "compile", "runtime_cache"]]
    least = (rows["min_block_size"] == rows["default_min_block_size"]).fillna(False)
    same = rows["batch_size"].eq(winner["batch_size"]) & rows["streams"].eq(winner["streams"])
    if not text.missing(winner["factory"]):
        same &= rows["factory"].eq(winner["factory"])
    plain = rows[least & ~departs.any(axis=1) & same]
    for precision in ("fp32", winner["precision"]):
        found = plain[plain["precision"] == precision].sort_values("runtime", kind="stable")  # cpp first
        if len(found):
            return int(found.index[0])
    return None
