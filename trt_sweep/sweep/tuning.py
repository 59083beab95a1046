"""Keep what a race within a sweep has come to: who is in, who is out and why, and how much of the budget is left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError
from trt_sweep.points.point import Point
from trt_sweep.results import race, store
from trt_sweep.results.limits import Verdict
from trt_sweep.results.race import Contestant, Goal, Race
from trt_sweep.results.record import Record
from trt_sweep.sweep.search import Search, overrides

FILE = "race.json"
BUILDING = 2 / 3  # of the budget, after which no build begins: the rest is for visits
LONGEST = 4  # times measure.visits, which is how often a point is visited at most
LOOKS = 16  # that visits in turn have at most: the last is after 1536
IN, DROPPED, FAILED, UNTRIED = "in", "dropped", "failed", "not tried"
BUDGET, INTERRUPTED, VISITS = "the budget is spent", "it was interrupted", "no more visits are due"
NO_TIME = "too little of the budget was left for its build"
CUT = "the budget was spent before it was built"


@dataclass
class Fate:
    """Hold what became of a point: `what`, and why; the visits that were judged, and after how many seconds.

    `same` names the point that runs the same engine in the same way, and was visited for both. A point that cannot
    be what `wins` is there to compare with.
    """

    point_id: str
    label: str
    settings: str
    what: str = IN
    why: str = ""
    visits: int = 0
    after_s: float = 0.0
    same: str | None = None
    wins: bool = True


@dataclass
class Tuning:
    """Hold a race: its goal, its budget in seconds since `began` (of `time.monotonic`), and the fate of each point.

    With a `search` points are proposed wave by wave, else those of the sweep are all. `refused` has the settings that
    cannot be a point here, with the reason. `free` tells which baselines may win: those that the user could mean.
    """

    goal: Goal
    budget_s: float | None = None
    began: float = field(default_factory=time.monotonic)
    search: Search | None = None
    named: Mapping[int, Sequence[str]] = field(default_factory=dict)  # overrides of jobs, where there is no search
    free: Callable[[PointConfig], bool] = lambda config: True
    seed: int | None = None  # of the order of visits; that of any sweep is drawn from its name
    fates: dict[str, Fate] = field(default_factory=dict)
    jobs: dict[str, list[int]] = field(default_factory=dict)  # that lead to each point; none to a baseline
    refused: dict[str, str] = field(default_factory=dict)
    aside: set[str] = field(default_factory=set)  # points that are visited only if no better one keeps the limits
    seen: dict[str, Contestant] = field(default_factory=dict)  # as of the last look
    best: str | None = None
    ended: str | None = None
    took_s: dict[str, float] = field(default_factory=dict)  # until the first visit, by backend, at most

    def __post_init__(self) -> None:
        self.race = Race(self.goal)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    @property
    def spent(self) -> bool:
        """Return whether the budget is spent."""
        return self.budget_s is not None and self.elapsed_s >= self.budget_s

    def may_build(self, backend: str) -> bool:
        """Return whether a build by this backend may begin: it has to end while there is time for visits.

        It is taken to last as long as the longest by that backend so far. The first build of all may begin at any time.
        """
        if self.budget_s is None or not self.took_s:
            return not self.spent
        return self.elapsed_s + self.took_s.get(backend, 0.0) <= BUILDING * self.budget_s

    def built(self, backend: str, seconds: float) -> None:
        """Note how long a point took until its first visit was made."""
        self.took_s[backend] = max(self.took_s.get(backend, 0.0), seconds)

    @property
    def over_ms(self) -> float | None:
        """Return the limit that single calls are judged by; None where there is none."""
        return next((limit.most for limit in self.goal.limits if limit.percentile is not None), None)

    def take_over(self, points: list[Point], records: Mapping[str, Record], label: Callable[[Point], str]) -> None:
        """Enter all points; those whose visits are made, as in a race that goes on, are compared through the anchor."""
        level = self.race.next_level()
        self._require_alike(points)
        for point in points:
            fate = self.enter(point, label(point))
            if point.id in records and records[point.id].status == "ok":
                found = race.contestant(vars(records[point.id]), None, self.goal, level)
                self.seen[point.id] = dataclasses.replace(found, wins=fate.wins)

    def _require_alike(self, points: list[Point]) -> None:
        """Raise SweepError for points that do other work than each other: that is no difference between settings."""
        work = {name: {str(point.axes.get(name)) for point in points} for name in ("model", "task_id", "batch_size")}
        if len(work["model"]) > 1:
            raise SweepError(f"model={','.join(sorted(work['model']))} is not allowed: a race is of one model")
        if len(work["task_id"]) > 1 or (len(work["batch_size"]) > 1 and self.goal.objective != "throughput"):
            allowed = "give one size, as by time_at=SIZE; objective=throughput compares batch sizes"
            raise SweepError(f"the points have several sizes, which a race cannot compare: {allowed}")

    def enter(self, point: Point, label: str) -> Fate:
        """Note that a point is to be raced; a baseline only to compare with, where `free` does not allow it."""
        settings, self.jobs[point.id] = "", point.jobs
        if point.jobs:
            named = (
                overrides(self.search.tried[point.jobs[0]]) if self.search else self.named.get(point.jobs[0], [label])
            )
            settings = " ".join(named)
        settings = settings or f"backend={point.config.backend} precision={point.config.precision}"
        wins = bool(point.jobs) or self.free(point.config)
        return self.fates.setdefault(point.id, Fate(point.id, label, settings, wins=wins))

    def out(self, point_id: str, what: str, why: str, visits: int = 0) -> None:
        """Note that a point is out."""
        fate = self.fates[point_id]
        fate.what, fate.why, fate.visits, fate.after_s = what, why, visits, round(self.elapsed_s, 1)

    def inside(self, point: Point) -> bool:
        """Return whether a point is still in the race."""
        return point.id in self.fates and self.fates[point.id].what == IN

    def look(self, rows: Mapping[str, tuple[Mapping[str, Any], list[float] | None]], visits: int) -> dict[str, str]:
        """Look at points, given their rows and what limits of calls are judged by; return who is out and why.

        Points that left the hand while they were in the race are looked at as they were last seen.
        """
        level = self.race.next_level()
        now = {
            key: dataclasses.replace(race.contestant(row, over, self.goal, level), wins=self.fates[key].wins)
            for key, (row, over) in rows.items()
        }
        now = {key: found.after(self.seen.get(key)) for key, found in now.items()}
        self.seen |= now
        inside = {
            key: dataclasses.replace(self.seen[key], wins=fate.wins and key not in self.aside)
            for key, fate in self.fates.items()
            if fate.what == IN and key in self.seen
        }
        found = self.race.look(inside, {key: self.fates[key].label for key in inside})
        self.best, self.ended = found.best, found.ended
        if found.ended == race.NONE_LEFT and self.aside:
            self.ended = None
            self.aside.clear()
        for key in now:
            self.fates[key].visits = visits
        for key, why in found.out.items():
            self.out(key, DROPPED, why, self.fates[key].visits)
        return found.out

    def keep(self, folder: Path) -> None:
        """Write the race into the sweep's folder."""
        goal = {"objective": self.goal.objective, "delta": self.goal.delta, "budget_s": self.budget_s}
        nearest = self.nearest
        store.write_json(
            folder / FILE,
            {
                **goal,
                "limits": [dataclasses.asdict(limit) for limit in self.goal.limits],
                "ended": self.ended,
                "best": self.best,
                "looks": self.race.number,
                "took_s": round(self.elapsed_s, 1),
                "tried": sum(fate.what != UNTRIED and bool(self.jobs[key]) for key, fate in self.fates.items()),
                "combinations": self.search.combinations if self.search else sum(map(bool, self.jobs.values())),
                "axes": self.search.axes if self.search else {},
                "nearest": nearest and f"{self.fates[nearest[0]].settings}: {nearest[1]}",
                "refused": self.refused,
                "road": [vars(fate) | self._told(fate) for fate in self.fates.values()],
            },
        )

    @property
    def nearest(self) -> tuple[str, Verdict] | None:
        """Return which point comes nearest to keeping all limits, and what speaks against it."""
        return race.nearest({key: seen.verdicts for key, seen in self.seen.items() if seen.wins})

    def _told(self, fate: Fate) -> dict[str, Any]:
        """Return what the last look told of the limits."""
        seen = self.seen.get(fate.point_id)
        return {
            "keeps": seen is not None and seen.keeps,
            "likely": seen is not None and seen.likely,
            "limits": [str(found) for found in seen.verdicts] if seen else [],
        }

    def finish(self, records: Mapping[str, Record], interrupted: bool) -> None:
        """Note why the race has ended, and what became of points that never were in it."""
        for key, fate in self.fates.items():
            record = records.get(key)
            if record is None:
                self.out(key, UNTRIED, INTERRUPTED if interrupted else BUDGET if self.spent else NO_TIME)
            elif record.status != "ok" and fate.what == IN:
                self.out(key, FAILED, f"{record.status} in {record.phase}: {record.reason}")
        if interrupted or self.ended is None:
            self.ended = INTERRUPTED if interrupted else BUDGET

    def require_some(self, records: Mapping[str, Record]) -> None:
        """Raise SweepError where nothing was timed: the budget is too short, or the model fails in every way."""
        if any(record.status == "ok" for record in records.values()):
            return
        tried = [fate for fate in self.fates.values() if fate.what == FAILED]
        if records and all(record.status == "dryrun" for record in records.values()):
            backend = next(iter(records.values())).backend
            raise SweepError(f"backend={backend} needs a GPU to be timed, and there is none here: use another backend")
        if self.budget_s is not None and self.spent and len(tried) <= 1:
            which = tried[0].label if tried else next((fate.label for fate in self.fates.values()), "the first point")
            longer = f"{10 * max(self.elapsed_s, 6) // 60 + 1:.0f}m"
            raise SweepError(
                f"budget={self.budget_s:g}s is shorter than one build: {which} was not built after "
                f"{self.elapsed_s:.0f} s; use a longer one, such as {longer}"
            )
        if not tried and self.refused:
            name, why = next(iter(self.refused.items()))
            raise SweepError(f"no settings are possible here; {name}: {why}")
        first = tried[0] if tried else None
        why = f"; the first, {first.label}: {first.why}" if first else ""
        raise SweepError(f"the model fails in every way that was tried, {len(tried)} of them{why}")
