"""Judge what became of a sweep's points from one night to another: slower, faster, unchanged, or not to be told."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.compare import matching, times
from trt_sweep.analysis.compare.matching import Row, known
from trt_sweep.analysis.compare.times import GPU, Times
from trt_sweep.results import ranking
from trt_sweep.results.thresholds import MIN_EFFECT

REGRESSED, FAILING, FIXED, IMPROVED = "regressed", "newly failing", "fixed", "improved"
UNCHANGED, NOT_APART, STILL_FAILING = "unchanged", "not told apart", "still failing"
NOT_TIMED, NEW, GONE = "not timed", "new", "gone"
# The gravest first.
VERDICTS = (REGRESSED, FAILING, NOT_APART, GONE, NEW, STILL_FAILING, FIXED, IMPROVED, NOT_TIMED, UNCHANGED)
ALARMS = (REGRESSED, FAILING)
FINE, ALARM, NOT_COMPARABLE = range(3)  # exit codes


@dataclass(frozen=True)
class Judged:
    """Hold a point and what became of it.

    `times` are by clock, the deciding one first; `old` and `new` are its rows. `changed` names what else is different
    (engine, versions, clocks), with both values. `blind` says why its times would not show an effect of the size asked
    for, `suspect` whether it seems to have moved by that all the same.
    """

    label: str
    verdict: str
    times: list[Times]
    changed: dict[str, tuple[object, object]]
    old: Row | None
    new: Row | None
    blind: str | None = None
    suspect: bool = False

    @property
    def row(self) -> Row:
        """Return the newer of its rows."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


@dataclass(frozen=True)
class Comparison:
    """Hold all points of two nights, the gravest verdict first.

    `problems` say why the nights cannot be compared. `min_effect` is the share of a time that matters. `host_drift` is
    the relative standard deviation of a night's host that was allowed for, None where no time depends on it. `common`
    is what changed for every point.
    """

    points: list[Judged]
    min_effect: float
    host_drift: float | None
    common: dict[str, tuple[object, object]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many points have each verdict that any has."""
        found = Counter(point.verdict for point in self.points)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def exit_code(self) -> int:
        """Return 0; 1 where a point is proved to have regressed or newly fails; 2 where else too little was seen."""
        if any(point.verdict in ALARMS for point in self.points):
            return ALARM
        return NOT_COMPARABLE if self.problems else FINE


def compare(old: Path, new: Path, min_effect: float = MIN_EFFECT) -> Comparison:
    """Judge each point of the sweep in folder `new` by the same point in `old`.

    A time has regressed where it is proved to be longer (`stats.step_down` over all points and clocks) and by at least
    the share `min_effect`; it is unchanged where it is shown to differ by less. Where a row is not healthy, or its
    clocks are other ones, neither is claimed. Points of other GPUs are not judged at all. Raises SweepError for a
    folder that cannot be read.
    """
    before, after = matching.read(old), matching.read(new)
    notes = _notes(old, before) + _notes(new, after)
    machines = [matching.machines_of(rows) for rows in (before, after)]
    if all(machines) and machines[0] != machines[1]:
        where = f"OLD is of {machines[0][0]}, NEW of {machines[1][0]}"
        problem = f"{where}: times of two machines say nothing of a change; run both on one, as by device=cuda:0"
        return Comparison([], min_effect, None, problems=[problem], notes=notes)
    pairs = matching.pairs(before, after)
    both = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not both:
        problem = "no point of OLD is in NEW: give two runs of one sweep"
        return Comparison([], min_effect, None, problems=[problem], notes=notes)
    timed = [(one, other) for one, other in both if one["status"] == other["status"] == "ok"]
    found, drift = times.compared(timed)
    by_point = {other["point_id"]: listed for (_, other), listed in zip(timed, found, strict=True)}
    names = _labels(before, after)
    points = []
    for one, other in pairs:
        clocks = by_point.get(other["point_id"], []) if one is not None and other is not None else []
        points.append(_judged(names[_row_id(one, other)], one, other, clocks, min_effect))
    points.sort(key=lambda point: VERDICTS.index(point.verdict))
    points, common = _without_common(points)
    return Comparison(points, min_effect, drift, common, _problems(points, min_effect), notes)


def _row_id(old: Row | None, new: Row | None) -> str:
    row = new if new is not None else old
    assert row is not None
    return str(row["point_id"])


def _labels(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, str]:
    missing = old[~old["point_id"].isin(new["point_id"])]
    rows = pd.concat([new, missing], ignore_index=True) if len(missing) else new
    # Each night alone: a point whose identity only code changed would stand beside itself.
    named = [*zip(new["point_id"], matching.labels(new), strict=True)]
    gone = [*zip(rows["point_id"], matching.labels(rows), strict=True)] if len(missing) else []
    return dict(gone) | dict(named)


def _judged(label: str, old: Row | None, new: Row | None, clocks: list[Times], effect: float) -> Judged:
    if old is None or new is None:
        return Judged(label, GONE if new is None else NEW, [], {}, old, new)
    changed = matching.changed(old, new)
    if not clocks:
        return Judged(label, _by_status(old, new), [], changed, old, new, _untimed(old, new))
    unhealthy = _unhealthy(old, new, changed)
    regressed = any(item.longer(effect) for item in clocks)
    improved = clocks[0].shorter(effect)
    if unhealthy:
        return Judged(label, NOT_APART, clocks, changed, old, new, unhealthy, suspect=regressed)
    verdict = REGRESSED if regressed else IMPROVED if improved else UNCHANGED if clocks[0].within(effect) else NOT_APART
    blind = _blind(clocks[0], _chosen(old, new)) if clocks[0].blind(effect) and verdict == NOT_APART else None
    return Judged(label, verdict, clocks, changed, old, new, blind)


def _blind(times: Times, chosen: bool) -> str:
    if not math.isfinite(times.reach):
        return f"{times.clock} was timed once: nothing is known of its scatter"
    why = ", as cuDNN chooses its algorithms anew in each process" if chosen and times.clock == GPU else ""
    return f"{times.clock} is known to ±{times.reach:.1%} only{why}"


def _by_status(old: Row, new: Row) -> str:
    was, now = (row["status"] == "ok" for row in (old, new))
    if was and now:
        return NOT_APART
    if {old["status"], new["status"]} & {"dryrun"} or old["status"] == new["status"] == "unsupported":
        return NOT_TIMED
    return FAILING if was else FIXED if now else STILL_FAILING


def _untimed(old: Row, new: Row) -> str | None:
    if old["status"] != "ok" or new["status"] != "ok":
        return None
    return f"no clock in common: {_clock(old)} and {_clock(new)}"


def _clock(row: Row) -> str:
    clock, method = (row[name] if known(row[name]) else "none" for name in ("clock", "gpu_ms_method"))
    return f"{clock}, gpu_ms by {method}"


def _unhealthy(old: Row, new: Row, changed: dict[str, tuple[object, object]]) -> str | None:
    """Return why the times of these rows are no evidence; None where nothing speaks against them."""
    found = [
        f"{side} was {row['health']} ({row['health_reason']})"
        for side, row in (("OLD", old), ("NEW", new))
        if known(row["health"]) and row["health"] != "ok"
    ]
    if "sm_clock_mhz" in changed:
        found.append("the SM clock was {:.0f} MHz and is {:.0f}".format(*changed["sm_clock_mhz"]))
    return "; ".join(found) or None


def _without_common(points: list[Judged]) -> tuple[list[Judged], dict[str, tuple[object, object]]]:
    """Split off what changed for every point in the same way, so that it is said once."""
    matched = [point for point in points if point.old is not None and point.new is not None]
    first = matched[0].changed
    common = {
        name: values
        for name, values in first.items()
        if name in matching.VERSIONS and all(point.changed.get(name) == values for point in matched)
    }
    return [
        dataclasses.replace(
            point, changed={name: values for name, values in point.changed.items() if name not in common}
        )
        for point in points
    ], common


def _chosen(*rows: Row | None) -> bool:
    return any(ranking.cudnn_chose(row) for row in rows if row is not None)


def steady(points: list[Judged]) -> list[Judged]:
    """Return the timed points that can show something: without those that cuDNN chooses for, where there are others.

    Those are noisy on any machine.
    """
    timed = [point for point in points if point.times or point.blind]
    return [point for point in timed if not _chosen(point.old, point.new)] or timed


def _problems(points: list[Judged], effect: float) -> list[str]:
    """Return why the absence of findings is no good news: most points could not show any, or one may have moved."""
    timed = steady(points)
    blind = [point for point in timed if point.blind]
    found = []
    if len(blind) * 2 > len(timed):
        chosen = _chosen(blind[0].old, blind[0].new)
        better = "time a compiled backend" if chosen else "use an idle machine, more measure.visits"
        found.append(
            f"too noisy for --min-effect={effect:g}: {len(blind)} of {len(timed)} points could not have shown it, "
            f"such as {blind[0].label} ({blind[0].blind}); {better}, or a larger --min-effect"
        )
    for point in points:
        if point.suspect:
            found.append(
                f"{point.label} took {point.times[0].ratio:.3f} times as long, but {point.blind}: time it again with "
                "clocks and machine as before"
            )
    return found


def _notes(folder: Path, rows: pd.DataFrame) -> list[str]:
    found = [f"unreadable: {path} ({why})" for path, why in rows.attrs["unreadable"].items()]
    if rows.attrs["unfinished"]:
        found.append(f"{folder}: {rows.attrs['unfinished']} points are not finished (resume={folder})")
    if rows.attrs["older"]:
        found.append(
            f"{folder} holds several sweeps: of each point the newest record counts, {rows.attrs['older']} do not"
        )
    return found
