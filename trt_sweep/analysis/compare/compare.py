"""Judge what became of a sweep's points from one night to another: slower, faster, unchanged, or not to be told."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.compare import matching, nights, times
from trt_sweep.analysis.compare.matching import Row, known
from trt_sweep.analysis.compare.times import GPU, Times
from trt_sweep.results import files
from trt_sweep.results.stats.differences import Difference
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

    `problems` say why the nights cannot be compared. `min_effect` is the share of a time that matters. `machine` is by
    how much the GPU's work of all points has changed alike; None where they are too few, or did not change alike.
    `common` is what else changed for every point.
    """

    points: list[Judged]
    min_effect: float
    machine: Difference | None = None
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


def compare(old: Path, new: Path, min_effect: float = MIN_EFFECT, history: Sequence[Path] = ()) -> Comparison:
    """Judge each point of the sweep in folder `new` by the same point in `old`.

    A time has regressed where it is proved to be longer by more than the share `min_effect` (`step_down` over all
    points and clocks); it is unchanged where it is shown to differ by less. The GPU's work is judged by its captures,
    once what all points have in common is taken out. Latency, and what cuDNN chose anew, is judged only by earlier
    nights in `history`: folders, or one above them. Where a row is not healthy, or its clocks are other ones, nothing
    is claimed. Points of other GPUs are not judged at all. Raises SweepError for a folder that cannot be read.
    """
    running = [matching.running(folder) for folder in (old, new)]  # asked first: what ends meanwhile is complete
    before, after = matching.read(old), matching.read(new)
    pairs, bad = matching.pairs(before, after), {**before.attrs["unreadable"], **after.attrs["unreadable"]}
    missing = [sum(pair[side] is None for pair in pairs) for side in (0, 1)]
    notes = _notes("OLD", old, before, missing[0], running[0]) + _notes("NEW", new, after, missing[1], running[1])
    notes += files.left_out(bad)[len(bad) :]
    machines = [matching.machines_of(rows) for rows in (before, after)]
    if all(machines) and machines[0] != machines[1]:
        where = f"OLD is of {machines[0][0]}, NEW of {machines[1][0]}"
        problem = f"{where}: times of two machines say nothing of a change; run both on one, as by device=cuda:0"
        return Comparison([], min_effect, problems=[problem], notes=notes)
    both = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not both:
        problem = "no point of OLD is in NEW: give two runs of one sweep"
        return Comparison([], min_effect, problems=[problem], notes=notes)
    timed = [(one, other) for one, other in both if one["status"] == other["status"] == "ok"]
    unreadable: dict[str, str] = {}
    earlier = [
        night
        for night in (nights.load(history, unreadable) if history else ())
        if night.created < str(after["created_utc"].min()) and matching.machines_of(night.rows) == machines[1]
    ]
    notes += files.left_out({path: why for path, why in unreadable.items() if path not in bad})
    found, machine = times.compared(timed, min_effect, times.between_nights(earlier))
    by_point = {other["point_id"]: listed for (_, other), listed in zip(timed, found, strict=True)}
    names = _labels(before, after)
    points = []
    for one, other in pairs:
        clocks = by_point.get(other["point_id"], []) if one is not None and other is not None else []
        points.append(_judged(names[_row_id(one, other)], one, other, clocks))
    points.sort(key=lambda point: VERDICTS.index(point.verdict))
    points, common = _without_common(points)
    return Comparison(points, min_effect, machine, common, _problems(points, min_effect), notes)


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


def _judged(label: str, old: Row | None, new: Row | None, clocks: list[Times]) -> Judged:
    if old is None or new is None:
        return Judged(label, GONE if new is None else NEW, [], {}, old, new)
    changed = matching.changed(old, new)
    if not clocks:
        return Judged(label, _by_status(old, new), [], changed, old, new, _untimed(old, new))
    unhealthy = _unhealthy(old, new, changed)
    regressed = any(item.side > 0 for item in clocks)
    if unhealthy:
        return Judged(label, NOT_APART, clocks, changed, old, new, unhealthy, suspect=regressed)
    first = clocks[0]
    verdict = REGRESSED if regressed else IMPROVED if first.side < 0 else UNCHANGED if first.within else NOT_APART
    return Judged(label, verdict, clocks, changed, old, new, _blind(first) if verdict == NOT_APART else None)


def _blind(times: Times) -> str | None:
    """Return why equal times would not have been shown to be equal; None where they would."""
    if not times.blind:
        return None
    if math.isfinite(times.reach):
        return f"{times.clock} is known to ±{times.reach:.1%} only"
    if times.by_history:
        why = "which cuDNN chose anew" if times.clock == GPU else "which the host moves"
        return f"{times.clock}, {why}, is judged by earlier nights: give three or more as --history"
    return f"{times.clock} was timed once: nothing is known of its scatter"


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
        if not matching.healthy(row)
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


def steady(points: list[Judged]) -> list[Judged]:
    """Return the timed points that can show something: without those that only history judges, where there are others.

    Those are noisy on any machine.
    """
    timed = [point for point in points if point.times or point.blind]
    return [point for point in timed if not (point.times and point.times[0].by_history)] or timed


def _problems(points: list[Judged], effect: float) -> list[str]:
    """Return why the absence of findings is no good news: most points could not show any, or one may have moved."""
    timed = steady(points)
    blind = [point for point in timed if point.blind]
    found = []
    if len(blind) * 2 > len(timed):
        found.append(
            f"too noisy for --min-effect={effect:g}: {len(blind)} of {len(timed)} points could not have shown it, "
            f"such as {blind[0].label} ({blind[0].blind}); use an idle machine, measure.rebuilds, earlier nights as "
            "--history, or a larger --min-effect"
        )
    for point in points:
        if point.suspect:
            found.append(
                f"{point.label} took {point.times[0].ratio:.3f} times as long, but {point.blind}: time it again with "
                "clocks and machine as before"
            )
    return found


def _notes(side: str, folder: Path, rows: pd.DataFrame, missing: int, running: bool) -> list[str]:
    found = files.named(rows.attrs["unreadable"])
    early = int(rows["final"].eq(False).sum())  # old records have none
    if running:
        found.append(
            f"{side} is still being written: of the other's points {missing} are missing in {folder}, and of its own "
            f"{early} are not final"
        )
    elif rows.attrs["unfinished"] + early:
        found.append(f"{folder}: {rows.attrs['unfinished'] + early} points are not finished (resume={folder})")
    if rows.attrs["older"]:
        found.append(
            f"{folder} holds several sweeps: of each point the newest record counts, {rows.attrs['older']} do not"
        )
    return found
