"""Pair points that differ in one axis only, and say what is known of the differences between their figures."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from trt_sweep.analysis.report import text
from trt_sweep.results import axes, ranking
from trt_sweep.results.axes import AXES, TABLE, going_with, null_is_false
from trt_sweep.results.stats import differences, ranks, shrinkage, visits
from trt_sweep.results.stats.estimates import Estimate

TIMES = ("gpu_ms", "latency_ms")


class Scatter:
    """Hold what is known of the times of `rows` by one clock, as arrays in the rows' order; NaN without a time.

    As for the ranks, spreads of points that are ranked together are drawn towards what they have in common, and rows
    that run one engine in one way are one measurement.
    """

    def __init__(self, rows: pd.DataFrame, clock: str) -> None:
        self.logs, self.spread, self.freedom = (np.full(len(rows), math.nan) for _ in range(3))
        self.measurement = np.arange(len(rows))  # equal for rows of one measurement
        self.visited: dict[int, Estimate] = {}  # of rows that were visited in turn with others
        values = rows[clock].astype(float)
        usable = np.flatnonzero((rows["status"] == "ok") & values.between(0, math.inf, inclusive="neither"))
        timed = rows.iloc[usable].reset_index(drop=True)
        keys = [*axes.COMPARABLE, *(["gpu_ms_method"] if clock == "gpu_ms" else [])]
        for places in map(np.asarray, timed.groupby(keys, dropna=False).indices.values()):
            estimates, runs = ranking.measured(timed.iloc[places], clock)
            members: dict[object, list[int]] = {}
            for index, run in enumerate(runs):
                members.setdefault(run, []).append(index)
            careful = shrinkage.moderated(estimates)
            for indices in members.values():
                one = careful[indices[0]] if len(indices) == 1 else ranks.pooled([careful[index] for index in indices])
                where = usable[places[indices]]
                self.measurement[where] = where[0]
                self.logs[where], self.spread[where], self.freedom[where] = math.log(one.value), one.spread, one.freedom
                if one.visits:
                    self.visited |= dict.fromkeys(where.tolist(), one)

    def mean(self, a: np.ndarray, b: np.ndarray) -> differences.Difference:
        """Return how much more `b` take than `a`, on average over these pairs; points of several pairs count once."""
        if self.visited.keys() & {*a.tolist(), *b.tolist()}:
            if len(a) == 1:
                return self._of_one(int(a[0]), int(b[0]))
            return self._of_rounds([*zip(a.tolist(), b.tolist(), strict=True)])
        return self._independent(a, b)

    def _independent(self, a: np.ndarray, b: np.ndarray) -> differences.Difference:
        """Return the mean over pairs of times that are independent but for points that they share."""
        rows, signs = np.concatenate([a, b]), np.repeat([-1 / len(a), 1 / len(a)], len(a))
        places, first, number = np.unique(self.measurement[rows], return_index=True, return_inverse=True)
        weights, used = np.bincount(number, signs, len(places)), rows[first]
        known = np.abs(weights) > 1e-9 / len(a)
        weights, used = weights[known], used[known]
        return differences.combined(weights, *(column[used] for column in (self.logs, self.spread, self.freedom)))

    def each(self, a: np.ndarray, b: np.ndarray, level: float = visits.LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """Return the difference of each pair, and how far its interval reaches either way; 0 within one measurement."""
        if self.visited.keys() & {*a.tolist(), *b.tolist()}:
            found = [self._of_one(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)]
            values = np.array([one.value for one in found])
            lows, highs = np.array([one.interval(level) for one in found]).T
            reach = np.fmax(highs - values, values - lows)
            return values, np.where(np.isnan(reach), math.inf, reach)
        variances = [self.spread[side] ** 2 for side in (a, b)]
        variance = variances[0] + variances[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = variances[0] ** 2 / self.freedom[a] + variances[1] ** 2 / self.freedom[b]
            freedom = np.minimum(np.where(loss > 0, variance**2 / loss, math.inf), 1e6)
        reach = special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)
        reach = np.where(np.isnan(reach), math.inf, reach)
        return self.logs[b] - self.logs[a], np.where(self.measurement[a] == self.measurement[b], 0.0, reach)

    def _of_one(self, a: int, b: int) -> differences.Difference:
        """Return how much more row b takes than row a, of which one at least was visited."""
        if self.measurement[a] == self.measurement[b]:
            return differences.Difference(0.0, 0.0)
        if a in self.visited and b in self.visited:
            return differences.difference((1, -1), (self.visited[b], self.visited[a]))
        return self._unknown([(a, b)])

    def _unknown(self, pairs: list[tuple[int, int]]) -> differences.Difference:
        """Return the mean over pairs where nothing is known of its scatter."""
        value = float(np.mean([self.logs[b] - self.logs[a] for a, b in pairs]))
        return differences.Difference(value, math.nan)

    def _of_rounds(self, pairs: list[tuple[int, int]]) -> differences.Difference:
        """Return the mean over pairs from its value in each round, so that pairs may have points in common.

        Of each pair the rounds count in which the host was at its fast level for both.
        """
        every = []
        for a, b in pairs:
            sides = [self.visited[place] for place in (b, a) if place in self.visited]
            if len(sides) == 2 and differences.together(sides):
                each = _by_round(sides[0], sides[1])
            elif len(sides) == 2 and differences.anchored(sides):
                one, other = (_by_round(side, side.anchor) for side in sides if side.anchor is not None)
                rounds = min(len(one), len(other))
                each = one[:rounds] - other[:rounds]
            else:
                return self._unknown(pairs)
            every.append(np.zeros(len(each)) if self.measurement[a] == self.measurement[b] else each)
        rounds = min(map(len, every))
        table = np.array([one[:rounds] for one in every])
        known = ~np.isnan(table).all(axis=0)
        if not known.any():
            return self._unknown(pairs)
        unseen = self._independent(*np.array(pairs).T)
        unseen = dataclasses.replace(unseen, variance=unseen.variance + self._of_anchors(pairs))
        return differences.by_rounds(np.nanmean(table[:, known], axis=0), unseen)

    def _of_anchors(self, pairs: list[tuple[int, int]]) -> float:
        """Return the variance that anchors add to a mean over pairs: each is a build of its own in each group."""
        weights: dict[object, float] = {}
        spreads: dict[object, float] = {}
        for a, b in pairs:
            sides = self.visited[b], self.visited[a]
            if differences.together(sides):
                continue
            for sign, side in zip((-1, 1), sides, strict=True):
                assert side.anchor is not None
                build = side.group, side.anchor.group
                weights[build] = weights.get(build, 0.0) + sign / len(pairs)
                spreads[build] = side.anchor.spread
        return float(sum((weights[build] * spreads[build]) ** 2 for build in weights))


def _by_round(more: Estimate, less: Estimate) -> np.ndarray:
    """Return by how much one takes more in each round; NaN where the host was not at its fast level for both."""
    sides = [np.array(side.visits) for side in (more, less)]
    rounds = min(map(len, sides))
    both = visits.fast(sides[0])[:rounds] & visits.fast(sides[1])[:rounds]
    return np.where(both, sides[0][:rounds] - sides[1][:rounds], math.nan)


@dataclass(frozen=True)
class Pairs:
    """Hold pairs of rows: `a[i]` has `base` and `b[i]` has `level` of the axis, and all else alike.

    They are positions in the table.
    """

    axis: str
    base: str
    level: str
    a: np.ndarray
    b: np.ndarray

    def where(self, keep: np.ndarray) -> Pairs:
        return Pairs(self.axis, self.base, self.level, self.a[keep], self.b[keep])


def levels(rows: pd.DataFrame, axis: str) -> pd.Series:
    """Return the values of an axis as text."""
    column = rows[axis].fillna(False) if null_is_false(axis) else rows[axis]
    numbers, found = pd.factorize(column.astype(object))
    names = np.array([*(text.level(value) for value in found), text.NONE], dtype=object)  # -1, the last, is null
    return pd.Series(names[numbers], index=rows.index, dtype=object)


def using(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return the rows whose backend uses the axis; null is a value of it there."""
    return rows[rows["backend"].isin(rows.loc[rows[axis].notna(), "backend"])]


def follows(rows: pd.DataFrame, axis: str) -> bool:
    """Return whether this axis only goes with the quantization method.

    That is so where in no sweep and backend one method, or none, has two values of it. Two precisions of eager
    baselines, or of points without a method, make precision an axis of its own. A method is then compared with the
    points in the precision that stands beside its quantized parts.
    """
    if axis not in going_with("quantization_method") or rows["quantization_method"].isna().all():
        return False
    values = rows.groupby(["sweep_id", "backend", "quantization_method"], dropna=False)[axis]
    return bool((values.nunique(dropna=False) <= 1).all())


def bases(rows: pd.DataFrame, axis: str) -> list[str]:
    """Return the values to compare others with, the best first: the default where it is known, null, the least."""
    found = list(dict.fromkeys(levels(rows, axis)))
    row = TABLE[axis]
    first = row.default if row.base is None else row.base
    if row.default_column and (defaults := Counter(rows[row.default_column].dropna())):
        first = defaults.most_common(1)[0][0]
    least = sorted(found, key=lambda value: (value == text.NONE, order(value)))[:1]
    return [value for value in dict.fromkeys((text.level(first), text.NONE, *least)) if value in found]


def order(value: str) -> tuple[float, str]:
    """Return a key that sorts values of an axis, numbers by their size."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def codes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return all that must be alike in rows that are compared, as numbers; null is -1."""
    rows = rows.assign(base_precision=rows["base_precision"].fillna(rows["precision"]))  # null in older records
    keys = dict.fromkeys((*axes.COMPARABLE, *AXES, "base_precision", "status"))
    return pd.DataFrame({key: _codes(rows, key) for key in keys if key != "model"})  # task_id says it better


def pairs(
    rows: pd.DataFrame, axis: str, numbers: pd.DataFrame | None = None, among: pd.Series | None = None
) -> list[Pairs]:
    """Return all pairs of successful points of one sweep that differ in this axis only, by its values.

    The base is in each pair. An axis that a backend does not use may differ between backends, and so may calibration
    and skip between a quantization method and none. With a method goes its precision: it is compared with points in the
    precision that stands beside its quantized parts (`base_precision`). `numbers` are `codes(rows)`, where they are at
    hand. `among` says which rows count, all where left out.
    """
    numbers = codes(rows) if numbers is None else numbers
    row = TABLE[axis]
    needed = ("status", "backend", axis, *([row.default_column] if row.default_column else []))
    good = rows[list(dict.fromkeys(needed))]
    good = good.reset_index(drop=True)
    keep = good["status"].isin(("ok", "dryrun"))
    good = using(good[keep if among is None else keep & among.to_numpy()], axis)
    if good.empty:
        return []
    values, alike = levels(good, axis), _others(numbers.iloc[good.index], good["backend"], axis)
    by_value = {value: alike[(values == value).to_numpy()] for value in dict.fromkeys(values)}
    for base in bases(good, axis):
        found = [
            pair
            for value in sorted(set(by_value) - {base}, key=order)
            if len((pair := _pairs(axis, (base, value), by_value[base], by_value[value])).a)
        ]
        if found:
            return found
    return []


def _pairs(axis: str, ends: tuple[str, str], left: pd.DataFrame, right: pd.DataFrame) -> Pairs:
    """Pair rows of one value with rows of the other, given as the numbers of all that must be alike."""
    unused = {key for key in going_with(axis) for side in (left, right) if key in side and (side[key] == _NULL).all()}
    on = [key for key in left if key not in unused]
    both = left[on].reset_index().merge(right[on].reset_index(), on=on, suffixes=("_a", "_b"))
    return Pairs(axis, *ends, *(both[f"index_{side}"].to_numpy(dtype=int) for side in "ab"))


def contexts(rows: pd.DataFrame, axis: str) -> list[np.ndarray]:
    """Return the positions of rows that are alike in all but this axis, group by group."""
    if rows.empty:
        return []
    alike = _others(codes(rows), rows["backend"], axis)
    groups = alike.groupby(list(alike), sort=False).indices.values()
    return [np.asarray(places) for places in groups]


def _others(numbers: pd.DataFrame, backends: pd.Series, axis: str) -> pd.DataFrame:
    """Return what of `codes` must be alike in rows that differ in this axis only."""
    row = TABLE[axis]
    alike = numbers.drop(columns=[axis, *row.moves])
    if row.moves_on:
        backend, column = row.moves_on
        alike[column] = np.where(backends == backend, _NULL, alike[column])
    return alike


_NULL = -1


def _codes(rows: pd.DataFrame, key: str) -> np.ndarray:
    """Return a number for each value, -1 for null."""
    column = rows[key].fillna(False) if key in TABLE and null_is_false(key) else rows[key]
    return np.asarray(pd.factorize(column.astype(object))[0])
