"""Visit points in turn for as long as they are in a race."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from trt_sweep.points.point import Point, by_build
from trt_sweep.results import race
from trt_sweep.results.record import BASELINE, Record
from trt_sweep.results.stats import racing
from trt_sweep.sweep import tuning
from trt_sweep.sweep.labels import count
from trt_sweep.sweep.rounds import Build, Rounds
from trt_sweep.sweep.tuning import LONGEST, LOOKS, VISITS, Tuning
from trt_sweep.workers.client import WorkerClient

LEAST_S = 1.0  # that a build has, however little of the budget is left


class RaceRounds(Rounds):
    """Rounds whose points are dropped when a race says so, and that end when the race has ended.

    `more` gives further builds that are worth a try, once the race is decided between those in hand. All in hand then
    begin their visits anew, so that every two points are compared by visits of the same rounds. The anchor of each
    model is visited to the end, for what was dropped is compared through it.
    """

    def __init__(self, *given: Any, race: Tuning, more: Callable[[], list[Build]], **named: Any) -> None:
        super().__init__(*given, **named)
        self._tuning, self._more = race, more
        self._cut_short = False  # whether the last visits were only to find what to try next
        self._decided: dict[str, Record] = {}  # as of the last wave, should the next take their process down
        if race.seed is not None:
            self._draw = random.Random(race.seed)

    def run(self, builds: list[Build]) -> None:
        """Race all points of these builds; what a lost process had timed, and was not built again, stays as it was."""
        super().run(builds)
        for point_id, record in self._decided.items():
            if not self._records.all[point_id].final and not self._goes_on_later:
                self._records.amend(dataclasses.replace(record, final=True))

    @property
    def _goes_on_later(self) -> bool:
        """Return whether an interrupt leaves the points in hand to be done when the sweep is resumed."""
        return self._interrupts.signal is not None and self._tuning.search is None

    def _may_build(self, queue: deque[Build]) -> bool:
        while queue and not self._tuning.may_build(queue[0][0].config.backend):
            queue.popleft()
        return super()._may_build(queue)

    def _fill(self, worker: WorkerClient, queue: deque[Build], held: list[Point], alone: list[Point]) -> bool:
        worker.race()
        for build in queue:
            for point in build:
                self._tuning.enter(point, self._label(point))
        return super()._fill(worker, queue, held, alone)

    def _start(self, worker: WorkerClient, point: Point) -> bool:
        state, limits = self._tuning, worker.assignment.options.limits
        began, whole = state.elapsed_s, limits.total_s
        if state.budget_s is not None:
            limits.total_s = min(whole or math.inf, max(state.budget_s - began, LEAST_S))
        try:
            fit = super()._start(worker, point)
        finally:
            limits.total_s = whole
        state.built(point.config.backend, state.elapsed_s - began)
        record = self._records[point]
        if record.status != "ok":
            cut = record.status == "timeout" and state.spent
            state.out(
                point.id, tuning.FAILED, tuning.CUT if cut else f"{record.status} in {record.phase}: {record.reason}"
            )
        return fit

    def _time(self, worker: WorkerClient, held: list[Point]) -> bool:
        while True:
            made = self._race(worker, held)
            if made is None:
                return False
            if self._fresh or self._lost or self._interrupts.signal or self._tuning.spent:
                break
            more = deque(self._more())
            for point in (point for build in more for point in build):
                self._tuning.enter(point, self._label(point))
            if not self._may_build(more):
                break
            before, alone, ended = len(held), list[Point](), self._tuning.ended
            left = [point.id for point in held if not self._records.final(point)]
            self._decided |= {key: found.record for key, found in worker.standing(left, None).items()}
            self._tuning.ended = None  # what is new is not raced yet
            if not self._fill(worker, more, held, alone):
                return False
            self._fresh.extend([*more, *by_build(alone)])
            self._progress.add([point.config.backend for point in alone])
            if len(held) == before:
                self._tuning.ended = ended
                break
            if self._interrupts.signal or self._tuning.spent:
                break
            again = [point.id for point in held if not self._records.final(point)]
            worker.restart([key for key in again if key not in self._tuning.aside])
        if self._goes_on_later:
            return True
        if made and self._cut_short and self._tuning.ended == VISITS and self._race(worker, held, made) is None:
            return False
        for point in sorted(held, key=lambda point: self._records[point].timed_with is not None):
            if not self._finish(worker, point):
                return False
        return True

    def _race(self, worker: WorkerClient, held: list[Point], since: int = 0) -> int | None:
        """Visit those in hand that are in the race, until it is decided, or time is up; return how often.

        They are visited no more often, all together, than a sweep would visit them: what those that are dropped leave
        goes to the others. A limit for a share of calls may take more. While a search goes on they are visited less;
        what that leaves undecided goes on at its end, `since` so many visits. Return None where the process is lost.
        """
        state, most = self._tuning, self._most(held)
        state.ended = None
        inside, made, visits = self._inside(held), since, 0
        enough = math.inf if since or state.search is None else state.search.enough_visits
        self._cut_short = enough < math.inf
        grid = sum(min(max(self._records.report(point).rounds, racing.FIRST), enough) for point in inside)
        if state.over_ms is not None and not self._cut_short:
            grid = math.inf
        if not since:
            self._tie(worker, held)
            state.race.begin(sum(fate.what == tuning.IN for fate in state.fates.values()))
        for number in range(since + 1, most + 1):
            if not inside or state.ended is not None or visits >= grid:
                break
            anchors = [anchor for anchor in self._anchors_of(held) if anchor not in inside]
            self._progress.expect(len(inside + anchors) * (most + 1 - number))
            for point in self._order(inside + anchors):
                if self._interrupts.signal or state.spent:
                    fit = bool(self._interrupts.signal) or not made or self._look(worker, held, made)
                    return made if fit else None
                self._progress.again(self._label(point), number, most)
                if point in anchors and point not in held:
                    self._visit_anchor(worker, point)
                elif not self._step(worker, point, functools.partial(worker.visit, point.id)):
                    return None
            for point in [point for point in inside if self._records[point].status != "ok"]:
                state.out(point.id, tuning.FAILED, str(self._records[point].reason), number)
            made, visits = number, visits + len(inside)
            if (racing.is_look(number) or number == most or visits >= grid) and not self._look(worker, held, number):
                return None
            inside = self._inside(held)
        if state.ended is None:
            state.ended = VISITS
        self._progress.say(f"visited at most {count(made, 'time')}: {state.ended}")
        return made

    def _look(self, worker: WorkerClient, held: list[Point], number: int) -> bool:
        """Have the race look at those in hand, and visit no more whom it drops."""
        inside = self._inside(held)
        standing = worker.standing([point.id for point in inside], self._tuning.over_ms)
        rows = {
            key: (vars(found.record) | {"build_s": self._build_s(found.record)}, found.over)
            for key, found in standing.items()
        }
        out = self._tuning.look(rows, number)
        anchors = self._anchors_of(held)
        for point in [point for point in inside if point.id in out]:
            self._progress.say(f"[round {number}] {self._label(point)}  out: {out[point.id]}")
            if point not in anchors and not self._finish(worker, point):
                return False
        self._tuning.keep(self._records.folder)
        return True

    def _build_s(self, record: Record) -> float | None:
        """Return how long the build of a row takes: nothing for eager, and what another point's took that it runs."""
        other = self._records.all.get(record.engine_reused_from or "")
        if record.build_s is None and other is not None:
            return other.build_s
        return 0.0 if record.backend == BASELINE else record.build_s

    def _finish(self, worker: WorkerClient, point: Point) -> bool:
        """Make the record of a point final; those that it was timed for are as it is."""
        if self._records.final(point):
            return True
        return self._step(worker, point, functools.partial(worker.finish, point.id))

    def _anchors_of(self, held: list[Point]) -> list[Point]:
        """Return the anchors that can be visited: those of an earlier group, and those in hand that have not failed."""
        return [
            anchor for anchor, _ in self._anchors.values() if anchor not in held or self._records[anchor].status == "ok"
        ]

    def _inside(self, held: list[Point]) -> list[Point]:
        """Return the points in hand that are in the race; not those whose visits are another point's."""
        followers = [point for point in held if self._records[point].timed_with is not None]
        for point in followers:
            fate, leader = (self._tuning.fates.get(key) for key in (point.id, str(self._records[point].timed_with)))
            if fate is not None and leader is not None and fate.same is None:
                fate.same = leader.label
            if leader is not None and self._tuning.inside(point) and leader.what != tuning.IN:
                self._tuning.out(point.id, leader.what, leader.why, leader.visits)
        visited = [point for point in held if point.id not in self._tuning.aside and point not in followers]
        return [point for point in visited if self._tuning.inside(point)]

    def _most(self, held: list[Point]) -> int:
        """Return how often a point is visited at most.

        More visits help only where the objective, or a limit, is known by visits. A limit for nearly all calls takes
        very many of them, or nothing can ever be proved.
        """
        visits = max((point.config.measure.visits for point in held), default=0)
        goal, state = self._tuning.goal, self._tuning.race
        limited = any(limit.column == "latency_ms" for limit in goal.limits)
        most = LONGEST * visits if goal.objective in race.VISITED or limited else max(visits, racing.FIRST)
        shares = [1 - limit.percentile / 100 for limit in goal.limits if limit.percentile is not None]
        level = racing.level(state.number + LOOKS, race.KINDS * max(len(held), 1) * max(len(goal.limits), 1))
        return max(most, *(math.ceil(math.log(2 / (1 - level)) / share) for share in shares), 0)
