"""Compare the times of one point in two nights: by which clock and method, and by what factor they differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trt_sweep.analysis.compare.matching import Row, differs, is_time, known
from trt_sweep.results import columns, ranking, record
from trt_sweep.results.stats import differences, estimates, shrinkage, unseen

GPU, LATENCY = CLOCKS = ("gpu_ms", "latency_ms")  # the first that a point has decides
CONTROLS = 5  # points whose latency the host bounds, from which its drift between the two nights is told
QUARTILE = 0.6745  # of a normal distribution, in standard deviations: half of all lies nearer


@dataclass(frozen=True)
class Times:
    """Hold a clock's two times, in ms; `ratio` is new over old, between `low` and `high` with 95 % confidence.

    `apart` says whether they are proved to differ, all questions of the comparison together. `host` says whether the
    host may have moved them.
    """

    clock: str
    method: str | None
    old_ms: float
    new_ms: float
    ratio: float
    low: float
    high: float
    apart: bool
    host: bool

    def longer(self, effect: float) -> bool:
        """Return whether the new time is proved to be longer, by at least the share `effect`."""
        return self.apart and self.ratio >= 1 + effect

    def shorter(self, effect: float) -> bool:
        """Return whether the new time is proved to be shorter, by at least the share `effect`."""
        return self.apart and self.ratio <= 1 / (1 + effect)

    def within(self, effect: float) -> bool:
        """Return whether the two are shown to differ by less than the share `effect`, either way.

        These are two one-sided tests (D. J. Schuirmann, 1987), by an interval that is wider than they need.
        """
        return self.low > 1 / (1 + effect) and self.high < 1 + effect

    def blind(self, effect: float) -> bool:
        """Return whether even equal times would not have shown that."""
        return self.reach > effect

    @property
    def reach(self) -> float:
        """Return half of the interval, as a share."""
        return math.sqrt(self.high / self.low) - 1 if self.low > 0 else math.inf


@dataclass(frozen=True)
class Pair:
    """Hold a clock of one point in two nights, not judged yet; `drift` and `delays` are of the hosts, 0 without."""

    clock: str
    method: str | None
    old: estimates.Estimate
    new: estimates.Estimate
    drift: float = 0.0
    delays: tuple[float, float] = (0.0, 0.0)


def compared(pairs: Sequence[tuple[Row, Row]]) -> tuple[list[list[Times]], float | None]:
    """Return the times of each pair of rows by each clock that both have, and the host's drift that was allowed for."""
    found = [_pairs(old, new) for old, new in pairs]
    judged, drift = judge([pair for pairs_of_point in found for pair in pairs_of_point])
    times = iter(judged)
    return [[next(times) for _ in pairs_of_point] for pairs_of_point in found], drift


def judge(pairs: Sequence[Pair]) -> tuple[list[Times], float | None]:
    """Answer all questions of a comparison together; return the times and the host's drift that was allowed for.

    Spreads are drawn towards those of their night and clock (`moderated`). What several points share, since they were
    timed once for all of them, is one question.
    """
    drifts = _drifts(pairs)
    careful = _careful(pairs, drifts)
    distinct = list(dict.fromkeys(careful))
    apart = dict(zip(distinct, differences.step_down(distinct), strict=True))
    times = []
    for pair, (old, new) in zip(pairs, careful, strict=True):
        ratio, (low, high) = new.value / old.value, differences.ratio_interval(old, new)
        # Without the delays of one night, and with those of the other.
        low, high = low / math.exp(pair.delays[1]), high * math.exp(pair.delays[0])
        proved = apart[old, new] and not low <= 1 <= high
        times.append(Times(pair.clock, pair.method, old.value, new.value, ratio, low, high, proved, pair.drift > 0))
    return times, max(drifts, default=0.0) or None


def _careful(pairs: Sequence[Pair], drifts: Sequence[float]) -> list[tuple[estimates.Estimate, estimates.Estimate]]:
    found: list[tuple[estimates.Estimate, estimates.Estimate]] = [(pair.old, pair.new) for pair in pairs]
    for clock in CLOCKS:
        where = [index for index, pair in enumerate(pairs) if pair.clock == clock]
        nights = [shrinkage.moderated([found[index][side] for index in where]) for side in (0, 1)]
        for index, old, new in zip(where, *nights, strict=True):
            found[index] = (old, new)
    return [(_wider(old, drift), _wider(new, drift)) for (old, new), drift in zip(found, drifts, strict=True)]


def _wider(estimate: estimates.Estimate, drift: float) -> estimates.Estimate:
    return dataclasses.replace(estimate, placement=max(estimate.placement, drift))


def _drifts(pairs: Sequence[Pair]) -> list[float]:
    """Return what is allowed each pair for its nights' hosts: what is known of such, or more where all moved by more.

    It is the median of how far they moved, with no common factor taken off: a common factor is what a host causes. One
    point that became slower does not change a median; all of them becoming slower is not told from the host.
    """
    moved = [abs(math.log(pair.new.value / pair.old.value)) for pair in pairs if pair.drift]
    seen = float(np.median(moved)) / QUARTILE / math.sqrt(2) if len(moved) >= CONTROLS else 0.0
    return [max(seen, pair.drift) if pair.drift else 0.0 for pair in pairs]


def _pairs(old: Row, new: Row) -> list[Pair]:
    rows = [(row, samples(Path(row["place"]))) for row in (old, new)]
    found = []
    for clock in CLOCKS:
        if not all(is_time(row[clock]) for row, _ in rows) or (clock == LATENCY and differs(old, new, "clock")):
            continue
        method = None
        if clock == GPU:
            by = [_methods(*item) for item in rows]
            # The one that both records have their figure by, whose captures are known.
            own = [name for name in columns.METHODS if name == old["gpu_ms_method"] == new["gpu_ms_method"]]
            method = next((name for name in (*own, *columns.METHODS) if all(name in have for have in by)), None)
            if method is None:
                continue
        before, after = (_estimate(row, kept, clock, method) for row, kept in rows)
        drift = max(host_drift(row) for row, _ in rows) if clock == LATENCY else 0.0
        delays = (delay(old), delay(new)) if drift else (0.0, 0.0)
        found.append(Pair(clock, method, before, after, drift, delays))
    return found


def host_drift(row: Row) -> float:
    """Return how far a night's host may have moved this latency: a relative standard deviation. A CPU is the host."""
    if row["clock"] == "wall":
        return unseen.HOST_DRIFT
    return unseen.NIGHT_DRIFT if ranking.host_drift(row) else 0.0


def delay(row: Row) -> float:
    """Return by how much the host may have delayed all of a row's calls: from fastest to median, as a logarithm.

    On a busy machine the rounds of a night may be delayed alike, by three times what a call takes; nothing hurries one.
    """
    return math.log(row[LATENCY] / row["latency_ms_min"]) if is_time(row["latency_ms_min"]) else 0.0


def _methods(row: Row, kept: dict[str, Any]) -> set[str]:
    return {name for name in columns.METHODS if f"{GPU}_{name}" in kept} | {row["gpu_ms_method"]}


def _estimate(row: Row, kept: dict[str, Any], clock: str, method: str | None) -> estimates.Estimate:
    """Estimate from the samples; where they cannot be read, from the record, in which one round tells no spread."""
    series = pd.Series(row)
    windows = kept.get(f"{clock}_{method}" if method else clock)
    if windows:
        allowed = ranking.allowances(series, clock)
        if clock == GPU and method != row["gpu_ms_method"]:
            # How far captures lay apart is not on record: as little is known as of one.
            allowed |= {"unseen": unseen.unseen_gpu(None, 1 if method == columns.GRAPH else None)}
        return estimates.estimate(windows, **allowed)
    if known(row["rounds"]) and known(row["builds"]):
        return ranking.estimate(series, clock)
    return estimates.Estimate(float(row[clock]), math.nan, 1, math.inf, 0.0)


def samples(folder: Path) -> dict[str, list[list[np.ndarray]]]:
    """Return the series of a point by clock, `[build][round]`, in ms; empty where the file is missing or damaged."""
    try:
        with np.load(folder / record.SAMPLES) as kept:
            arrays = {name: kept[name] for name in kept.files}
        clocks = [name for name in arrays if not name.endswith(("_build", "_round"))]
        return {name: _windows(arrays, name) for name in clocks}
    except Exception:  # numpy, zipfile, zlib and struct each have errors of their own for a damaged file
        return {}


def _windows(arrays: dict[str, np.ndarray], clock: str) -> list[list[np.ndarray]]:
    values = arrays[clock].astype(float)
    if not len(values) or not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"{clock} holds what is no time")
    zeros = np.zeros(len(values), dtype=int)  # records of schema 1 hold one window
    builds, rounds = (arrays.get(f"{clock}_{what}", zeros) for what in ("build", "round"))
    return [
        [values[(builds == build) & (rounds == number)] for number in np.unique(rounds[builds == build])]
        for build in np.unique(builds)
    ]
