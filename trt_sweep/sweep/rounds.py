"""Build as many points as the memory holds, and visit them in turn, so that what the host does meets all of them."""

from __future__ import annotations

import functools
import itertools
import random
from collections import deque
from collections.abc import Callable

from trt_sweep.errors import SweepError
from trt_sweep.points.phases import HARNESS
from trt_sweep.points.point import Point, Report, by_build
from trt_sweep.results.record import BASELINE
from trt_sweep.sweep.interrupts import Interrupts
from trt_sweep.sweep.labels import count, outcome
from trt_sweep.sweep.process import SweepWorker
from trt_sweep.sweep.progress import Progress
from trt_sweep.sweep.records import SweepRecords
from trt_sweep.workers.ahead import BuildAheadPool
from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.protocol import OnPhase, WorkerLost

Build = list[Point]
MISHAPS = 3  # in a row, after which it is no use to go on


class Rounds:
    """Take builds in hand, as many as there is room for, and visit their points round after round.

    Each round has an order of its own, drawn from the name of the sweep: models one after the other, and in each its
    points, so that those that will be compared are near each other. Where points do not all fit, each group visits one
    point of each model that the first one had, its anchor: points of two groups are compared through that.

    A worker that is lost takes the builds in hand with it: they are made again, apart from points not yet tried.
    `on_phase` hears what goes on beside the worker, and `ahead` builds what is to come. `over` says that no sweep will
    follow in this process.
    """

    def __init__(
        self,
        worker: SweepWorker,
        records: SweepRecords,
        labels: Callable[[Point], str],
        progress: Progress,
        *,
        on_phase: OnPhase,
        interrupts: Interrupts,
        ahead: BuildAheadPool | None,
        over: bool,
    ) -> None:
        self._worker, self._records, self._label, self._progress = worker, records, labels, progress
        self._on_phase, self._interrupts, self._ahead, self._over = on_phase, interrupts, ahead, over
        self._fresh, self._lost = deque[Build](), deque[Build]()
        self._beside: list[int] = []
        self._at_work: Point | None = None
        self._mishaps = 0
        self._anchors: dict[str, tuple[Point, int]] = {}  # of the group, by model, with their visits to come
        self._anchorless: set[str] = set()  # models whose anchor took the process down
        self._tried_alone: set[str] = set()  # points that did not fit beside others, nor beside an anchor
        self._draw = random.Random(records.folder.name)

    def run(self, builds: list[Build]) -> None:
        """Time all points of these builds, until they are done or an interrupt came."""
        self._fresh.extend(builds)
        while self._may_build(self._lost or self._fresh):
            self._group(self._lost or self._fresh)

    def _may_build(self, queue: deque[Build]) -> bool:
        return bool(queue) and not self._interrupts.signal

    def _group(self, queue: deque[Build]) -> None:
        """Take builds from the queue for as long as there is room for them, and time them in rounds."""
        held: list[Point] = []
        alone: list[Point] = []
        self._anchors.clear()
        try:
            worker = self._worker.ready()
            fit = self._fill(worker, queue, held, alone) and self._time(worker, held) and self._profile(worker, held)
        except WorkerLost as mishap:  # between points, so that none is to blame
            fit, self._mishaps = False, self._mishaps + 1
            if self._mishaps == MISHAPS:
                raise SweepError(f"the process for the points is lost again and again: {mishap.reason}") from mishap
        else:
            self._mishaps = 0
        done = not (alone or self._lost or self._fresh) and self._over
        if done or not fit or alone or self._worker.full or not self._worker.release_points():
            self._replace()
        # The point that took the process down is final; were it not, it would do so again.
        again = [p for p in held if not fit and not self._records.final(p) and p is not self._at_work] + alone
        if again:
            self._lost.extend(by_build(again))
            why = "their process is gone" if not fit else "memory ran out beside others"
            self._progress.say(f"{count(len(again), 'point')} to be built again: {why}")
            self._progress.add([point.config.backend for point in again])

    def _fill(self, worker: WorkerClient, queue: deque[Build], held: list[Point], alone: list[Point]) -> bool:
        """Start builds while there is room, and note in `held` which points are to be timed again.

        Where memory runs out while other builds are in hand, the point is noted in `alone`, to be tried without them.
        """
        opened = 0
        while not self._worker.full and self._may_build(queue):
            if opened and not worker.has_room(queue[0][0].config.device):
                break
            if self._ahead is not None:
                # Not the first, which is about to be built in any case.
                self._ahead.offer(itertools.islice(queue, 1, self._ahead.lead))
            self._at_work = None
            self._anchor(worker, queue[0][0])
            worker.open(queue[0])
            opened += 1
            build = queue.popleft()
            for index, point in enumerate(build):
                if self._interrupts.signal:
                    return True
                fit = self._start(worker, point)
                record = self._records[point]
                worker.builds += record.engine_reused_from is None
                if record.status == "ok":
                    held.append(point)
                if not fit:
                    if build[index + 1 :]:
                        self._fresh.appendleft(build[index + 1 :])
                    return False
                if record.status == "out_of_memory" and (opened > 1 or self._anchors):
                    alone.append(point)
                    self._tried_alone.add(point.id)
            if alone:
                break
        return True

    def _anchor(self, worker: WorkerClient, point: Point) -> None:
        """Build the anchor of a point's model again, where an earlier group had one."""
        model = _model(point)
        if model in self._anchors or model in self._anchorless or point.id in self._tried_alone:
            return
        earlier = [each for each in self._records.plan.points if _model(each) == model and self._records.visited(each)]
        known = {self._records[each].anchor_id for each in earlier}
        anchor = next((each for each in earlier if each.id in known), None)
        if anchor is None:
            return
        self._progress.say(f"{self._label(anchor)}: built again, to compare what follows with what was timed")
        limits = worker.assignment.options.limits
        report = self._with_anchor(worker, model, functools.partial(worker.anchor, anchor, limits))
        if report is not None and report.record.status == "ok":
            self._anchors[model] = anchor, report.rounds

    def _with_anchor(self, worker: WorkerClient, model: str, step: Callable[[], Report | None]) -> Report | None:
        """Take a step with an anchor, whose record stays as it is; the model has none any more where that is fatal."""
        self._at_work = None
        self._before_step(worker)
        self._anchorless.add(model)
        report = step()
        self._on_phase(HARNESS)
        if report is not None and not report.fit:
            raise WorkerLost("crashed", None, "CUDA is in error after a point was built again")
        self._anchorless.remove(model)
        return report

    def _tie(self, worker: WorkerClient, held: list[Point]) -> None:
        """Have the points of each model keep the visits of its anchor: of eager, if it is there, else of the first."""
        models: dict[str, list[Point]] = {}
        for point in held:
            if self._records.report(point).rounds:
                models.setdefault(_model(point), []).append(point)
        for model, points in models.items():
            eager = [point for point in points if point.config.backend == BASELINE]
            anchor, visits = self._anchors.setdefault(model, ((eager or points)[0], 0))
            if visits or anchor in points:
                worker.tie(anchor.id, [point.id for point in points])

    def _start(self, worker: WorkerClient, point: Point) -> bool:
        self._progress.begin(self._label(point), point.config.backend)
        if self._ahead is not None:
            self._on_phase("waiting for its engines")
            self._ahead.wait(point)
        fit = self._step(worker, point, functools.partial(worker.start, point.id))
        self._progress.end(outcome(self._records[point]))
        return fit

    def _time(self, worker: WorkerClient, held: list[Point]) -> bool:
        """Visit the points in hand in turn, as often as each is to be."""
        rounds = {point.id: self._records.report(point).rounds for point in held}
        most = max(rounds.values(), default=0)
        self._tie(worker, held)
        for number in range(1, most + 1):
            due = [point for point in held if rounds[point.id] >= number]
            models = {_model(point) for point in due}
            visited = {name: anchor for name, (anchor, visits) in self._anchors.items() if visits >= number}
            anchors = [anchor for name, anchor in visited.items() if name in models]
            due = self._order(due + anchors)
            self._progress.expect(sum(rounds.get(point.id, most) + 1 - number for point in due))
            for point in due:
                if self._interrupts.signal:
                    return True
                self._progress.again(self._label(point), number, rounds.get(point.id, most))
                if point in anchors:
                    self._visit_anchor(worker, point)
                elif not self._step(worker, point, functools.partial(worker.visit, point.id)):
                    return False
        if most:
            self._progress.say(f"visited {most} times{', in turn' * (len(held) > 1)}")
        return True

    def _visit_anchor(self, worker: WorkerClient, anchor: Point) -> None:
        report = self._with_anchor(worker, _model(anchor), functools.partial(worker.visit, anchor.id))
        if report is not None and report.record.status != "ok":
            del self._anchors[_model(anchor)]

    def _order(self, points: list[Point]) -> list[Point]:
        """Return the points in a new order. Those whose visits are another point's come last."""
        models: dict[str, list[Point]] = {}
        for point in self._draw.sample(points, len(points)):
            models.setdefault(_model(point), []).append(point)
        order = [point for model in self._draw.sample(list(models), len(models)) for point in models[model]]
        return sorted(order, key=lambda point: self._records[point].timed_with is not None)

    def _profile(self, worker: WorkerClient, held: list[Point]) -> bool:
        """Look into the engines of the points that ask for it, when nothing is to be timed any more."""
        for point in held:
            if self._interrupts.signal or not self._records.report(point).to_profile:
                continue
            self._progress.inside(self._label(point))
            if not self._step(worker, point, functools.partial(worker.profile, point.id), profiles=True):
                return False
        return True

    def look(self) -> None:
        """Look into the engines of points that were timed, and not looked into when they were in hand."""
        for build in by_build(self._records.unseen()):
            try:
                worker = self._worker.ready()
                worker.open(build)
            except WorkerLost:
                self._replace()
                continue
            worker.builds += 1
            for point in build:
                if self._interrupts.signal:
                    return
                self._progress.inside(self._label(point))
                look = functools.partial(worker.look, point.id, self._records[point])
                if not self._step(worker, point, look, profiles=True):
                    self._replace()
                    break
            else:
                if self._worker.full or not self._worker.release_points():
                    self._replace()

    def _step(
        self, worker: WorkerClient, point: Point, step: Callable[[], Report | None], *, profiles: bool = False
    ) -> bool:
        """Take a step with a point and keep its record; return whether the worker can go on."""
        self._at_work = point
        self._before_step(worker)
        try:
            report = step()
            if report is not None:
                self._records.keep(report)
        except WorkerLost as why:
            lost = self._records.write_lost_profile if profiles else self._records.write_lost
            lost(point, why)
        self._on_phase(HARNESS)
        return self._records.report(point).fit

    def _before_step(self, worker: WorkerClient) -> None:
        """Tell the worker who builds beside it."""
        if self._ahead is not None and self._ahead.pids != self._beside:
            self._beside = self._ahead.pids
            worker.beside(self._beside)

    def _replace(self) -> None:
        self._worker.replace()
        self._beside = []


def _model(point: Point) -> str:
    return point.config.unsized.source_key
