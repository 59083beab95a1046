"""All points of a sweep: checked before any is built, run in interleaved rounds, recorded, tabled at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
import sys
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console

from trt_sweep.backends.engine_store import PRIVATE
from trt_sweep.config.sweep import OBJECTIVES, SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.machine import free_gpu
from trt_sweep.machine.output import LOG
from trt_sweep.points.phases import HARNESS, START
from trt_sweep.points.point import Plan, Point, Report, by_build
from trt_sweep.results import store, table
from trt_sweep.results.axes import varied
from trt_sweep.results.record import SUCCESS, Record
from trt_sweep.results.show import show
from trt_sweep.sweep import amend, preview, resume
from trt_sweep.sweep.interrupts import Interrupts
from trt_sweep.sweep.labels import _count, _outcome
from trt_sweep.sweep.phase_times import PhaseTimes
from trt_sweep.sweep.progress import Progress
from trt_sweep.sweep.rounds import MISHAPS
from trt_sweep.workers import child, protocol, spawn, standby
from trt_sweep.workers.ahead import BuildAheadPool
from trt_sweep.workers.host import start
from trt_sweep.workers.protocol import WorkerLost

Build = list[Point]
SPENT = "seconds.json"  # where the time of a sweep went


class Sweep:
    """A folder and the points that belong into it; leaving the context prints and writes the table.

    A sweeper that asks for jobs in batches `goes_on`: what an earlier batch has done is not done again. Where it is
    `one_of_many` in this process, the next one takes its process for the points over. Where points of another sweep are
    measured again, `like` are their records: raises SweepError where anything is other now.
    """

    def __init__(
        self,
        configs: dict[int, SweepConfig],
        folder: Path,
        *,
        goes_on: bool = False,
        one_of_many: bool = False,
        like: Sequence[Record] = (),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise SweepError(f"{folder} belongs to a sweep that is running: wait for it, or use another") from None
        self._settings = next(iter(configs.values()))
        self._held = contextlib.ExitStack()
        anywhere = all(config.device in ("auto", "cuda") for config in configs.values())
        goes_on = goes_on or self._settings.resume is not None
        before = resume.gpus_of(folder) if goes_on else [record.gpu_uuid for record in like if record.gpu_uuid]
        self._taken: child.WorkerProcess | None = None
        self._claimed = self._claim(before, anywhere)
        self._one_of_many, self._goes_on = one_of_many, goes_on
        self._host: protocol.WorkerHost | None = None
        self._ahead: BuildAheadPool | None = None
        self._beside: list[int] = []
        self._records: dict[str, Record] = {}
        self._reports: dict[str, Report] = {}
        self._at_work: str | None = None
        self._mishaps = 0
        self._progress: Progress | None = None
        self._interrupts = Interrupts()
        self._spent = PhaseTimes(spawn.prepared_since())
        self._plan = Plan([], {})
        try:
            wait = "" if self._taken else "; the process for the points imports torch and Torch-TensorRT, some 10 s"
            print(f"checking {_count(len(configs), 'job')}{wait}", file=sys.stderr)
            try:
                self._plan = self._planned(configs)
            except WorkerLost as lost:
                raise SweepError(f"the jobs cannot be checked: {lost.reason}; see {folder / LOG}") from lost
            resume.require_alike(like, self._plan)
            if goes_on:
                self._records = resume.finished(folder, self._plan, self._settings)
                self._count_jobs()
        except BaseException:
            self._close()
            raise
        if not self.only_shown:
            resume.keep_command(folder, self._settings)
        axes = pd.DataFrame([point.axes | {"jobs": point.jobs} for point in self._points()])
        self._axes = [axis for axis in varied(axes) if axis not in ("model", "backend", "precision", "device")]

    def _claim(self, before: list[str], anywhere: bool) -> Mapping[str, str]:
        """The environment that shows a GPU of our own, where there is a choice: that of the last sweep's process, if
        it fits, which is then ours as well.
        """
        kept = standby.take()
        if kept is not None and kept.fits(before if anywhere else None):
            self._held.enter_context(kept.claim)
            self._taken = kept.child
            return kept.child.environment
        if kept is not None:
            kept.end()
        return self._held.enter_context(free_gpu.a_free_gpu(before)) if anywhere else {}

    def _planned(self, configs: dict[int, SweepConfig]) -> Plan:
        """What the process makes of the jobs. One that was taken over may be lost to an earlier sweep's doing."""
        taken = self._taken is not None
        host = self._ready()
        self._spent.enter(START)
        try:
            found: Plan = host.call("plan", configs)
        except WorkerLost:
            if not taken:
                raise
            self._replace()
            found = self._ready().call("plan", configs)
        self._spent.enter(HARNESS)
        return found

    @property
    def only_shown(self) -> bool:
        """Whether the sweep is to say what it would do, and no more."""
        return self._settings.plan

    def __enter__(self) -> Sweep:
        todo = [point for build in self._todo() for point in build]
        self._progress = Progress([point.config.backend for point in todo])
        self._progress.expect(sum(p.config.measure.rounds - 1 for p in todo if not p.config.dryrun))
        self._progress.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._close(keep=kind is None and self._one_of_many and not self.only_shown)
        assert self._progress is not None
        self._progress.__exit__()
        if self.only_shown:
            return
        found = table.load(self.folder)
        if not found.empty:
            show(found, Console(file=sys.stdout))
            try:
                print("results:", ", ".join(map(str, table.write(found, self.folder))))
            except OSError as error:
                print(f"results.csv and results.parquet cannot be written: {error.strerror}", file=sys.stderr)
        missing = sum(point.id not in self._records or not self._records[point.id].final for point in self._points())
        if missing:
            total = len(list(self._points()))
            hint = f"; python -m trt_sweep resume={self.folder} does the rest" * (resume.called_with is not None)
            print(f"{total - missing} of {_count(total, 'point')} are complete{hint}", file=sys.stderr)
        print(self._spent.summary(), file=sys.stderr)
        with contextlib.suppress(OSError):
            store.write_json(self.folder / SPENT, self._seconds())

    def _seconds(self) -> dict[str, float]:
        """Where the time went by phase, on top of what an earlier part of the sweep took."""
        found = Counter(self._spent.seconds)
        if self._goes_on:
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.update(json.loads((self.folder / SPENT).read_text(encoding="utf-8")))
        return dict(found)

    def _close(self, keep: bool = False) -> None:
        if self._ahead is not None:
            self._ahead.end()
            self._ahead = None
        if keep and isinstance(self._host, child.WorkerProcess) and self._idle(self._host):
            standby.StandbyWorker(self._host, self._held.pop_all())
            self._host = None
        self._replace()
        shutil.rmtree(self.folder / PRIVATE, ignore_errors=True)
        self._held.close()
        self._lock.release()

    def run(self) -> None:
        """Build, check and time all points, then time them again in turn (A B C, A B C), so that a drift meets all.

        As many as the memory holds are kept for that at a time; the rest follows when they are done. A process that is
        lost takes the builds in hand with it: they are made again, apart from points not yet tried. The first
        interrupt lets the point at work finish; raises Interrupted then.
        """
        assert self._progress is not None
        if self.only_shown:
            preview.show(
                self._ready(), self._plan, self._todo(), label=self._label, spent=self._spent, folder=self.folder
            )
            return
        fresh, lost = deque(self._todo()), deque[Build]()
        number = sum(map(len, fresh))
        self._progress.say(f"{_count(number, 'point')} to do, results in {self.folder}")
        workers = self._settings.build_workers
        if workers and sum(build[0].stored for build in fresh) > 1:
            self._ahead = BuildAheadPool(workers, self.folder, self._claimed, self._progress.say)
        with self._interrupts:
            while (fresh or lost) and not self._interrupts.signal:
                self._group(lost or fresh, lost, fresh)
            self._agree()
            self._look()
        self._interrupts.check()

    def _group(self, queue: deque[Build], lost: deque[Build], fresh: deque[Build]) -> None:
        """Take builds from the queue for as long as there is room for them, and time them in rounds."""
        assert self._progress is not None
        held: list[Point] = []
        alone: list[Point] = []
        try:
            host = self._ready()
            fit = self._fill(host, queue, fresh, held, alone) and self._rounds(host, held)
            fit = fit and self._profiles(host, held)
        except WorkerLost as mishap:  # between points, so that none is to blame
            fit, self._mishaps = False, self._mishaps + 1
            if self._mishaps == MISHAPS:
                raise SweepError(f"the process for the points is lost again and again: {mishap.reason}") from mishap
        else:
            self._mishaps = 0
        over = not (alone or lost or fresh) and not self._one_of_many
        if over or not fit or alone or host.builds >= self._most or not self._closed(host):
            self._replace()
        # The point that took the process down is final; were it not, it would do so again.
        again = [p for p in held if not fit and not self._records[p.id].final and p.id != self._at_work] + alone
        if again:
            lost.extend(by_build(again))
            why = "their process is gone" if not fit else "memory ran out beside others"
            self._progress.say(f"{_count(len(again), 'point')} to be built again: {why}")
            self._progress.add([point.config.backend for point in again])

    def _fill(
        self, host: protocol.WorkerHost, queue: deque[Build], fresh: deque[Build], held: list[Point], alone: list[Point]
    ) -> bool:
        """Start builds while there is room, and note in `held` which points are to be timed again.

        Where memory runs out while other builds are in hand, the point is noted in `alone`, to be tried without them.
        """
        opened = 0
        while queue and host.builds < self._most and not self._interrupts.signal:
            if opened and not host.call("has_room", queue[0][0].config.device):
                break
            if self._ahead is not None:
                # Not the first, which is about to be built in any case.
                self._ahead.offer(itertools.islice(queue, 1, self._ahead.lead))
            host.call("open", queue[0])
            opened += 1
            build = queue.popleft()
            for index, point in enumerate(build):
                if self._interrupts.signal:
                    return True
                fit = self._start(host, point)
                host.builds += self._records[point.id].engine_reused_from is None
                if self._records[point.id].status == "ok":
                    held.append(point)
                if not fit:
                    if build[index + 1 :]:
                        fresh.appendleft(build[index + 1 :])
                    return False
                if self._records[point.id].status == "out_of_memory" and opened > 1:
                    alone.append(point)
            if alone:
                break
        return True

    def _idle(self, host: protocol.WorkerHost) -> bool:
        """Whether the process may be left to another sweep, now that nothing builds beside it."""
        try:
            host.call("beside", [])
        except WorkerLost:
            return False
        return self._closed(host)

    def _closed(self, host: protocol.WorkerHost) -> bool:
        """Whether the process has let go of all its points and may take more."""
        try:
            return host.call("close") is None
        except WorkerLost:
            return False

    @property
    def _most(self) -> int:
        return 1 if self._settings.isolation.mode == "job" else self._settings.isolation.max_jobs

    def _start(self, host: protocol.WorkerHost, point: Point) -> bool:
        assert self._progress is not None
        self._progress.begin(self._label(point), point.config.backend)
        if self._ahead is not None:
            self._hear("waiting for its engines")
            self._ahead.wait(point)
        fit = self._step(host, "start", point)
        self._progress.end(_outcome(self._records[point.id]))
        return fit

    def _rounds(self, host: protocol.WorkerHost, held: list[Point]) -> bool:
        assert self._progress is not None
        most = max((self._reports[point.id].rounds for point in held), default=1)
        for number in range(1, most):
            due = [point for point in held if self._reports[point.id].rounds > number]
            self._progress.expect(sum(self._reports[point.id].rounds - number for point in due))
            for point in due:
                if self._interrupts.signal:
                    return True
                self._progress.again(self._label(point), number + 1, self._reports[point.id].rounds)
                if not self._step(host, "again", point):
                    return False
        if most > 1:
            self._progress.say(f"timed in {most} {'interleaved ' * (len(held) > 1)}rounds")
        return True

    def _profiles(self, host: protocol.WorkerHost, held: list[Point]) -> bool:
        """Look into the engines of the points that ask for it, when nothing is to be timed any more."""
        assert self._progress is not None
        for point in held:
            if self._interrupts.signal or not self._reports[point.id].to_profile:
                continue
            self._progress.inside(self._label(point))
            if not self._step(host, "profile", point):
                return False
        return True

    def _look(self) -> None:
        """Look into the engines of points that were timed, and not looked into when they were in hand."""
        assert self._progress is not None
        for build in by_build(point for point in self._points() if amend.unseen(point, self._records.get(point.id))):
            try:
                host = self._ready()
                host.call("open", build)
            except WorkerLost:
                self._replace()
                continue
            host.builds += 1
            for point in build:
                if self._interrupts.signal:
                    return
                self._progress.inside(self._label(point))
                if not self._step(host, "look", point, self._records[point.id]):
                    self._replace()
                    break
            else:
                if host.builds >= self._most or not self._closed(host):
                    self._replace()

    def _step(self, host: protocol.WorkerHost, method: str, point: Point, *more: Any) -> bool:
        """Do something with a point and keep its record; false where the process can do no more."""
        folder = self.folder / "points" / point.id
        self._at_work = point.id
        if self._ahead is not None and self._ahead.pids != self._beside:
            self._beside = self._ahead.pids
            host.call("beside", self._beside)
        try:
            report = host.call(method, point.id, *more, limits=point.config.limits, log=folder / LOG)
        except WorkerLost as lost:
            if method in ("profile", "look"):  # what was timed stays
                record = dataclasses.replace(self._records[point.id], profile_reason=lost.reason)
                report = dataclasses.replace(self._reports.get(point.id, Report(record)), record=record, fit=False)
            else:
                environment = self._plan.environment(point)
                report = Report(amend.lost(point, folder, self.folder.name, environment, lost), fit=False)
            store.write(folder, report.record)
        self._spent.enter(HARNESS)
        if self._ahead is not None:
            self._ahead.hear("")
        self._records[point.id], self._reports[point.id] = report.record, report
        return bool(report.fit)

    def _agree(self) -> None:
        """Write the rows anew where that gives all ranked points that have a `gpu_ms` one method of it."""
        for key, record in amend.agreed(self._records, self._reports).items():
            self._keep(key, record)

    def _keep(self, key: str, record: Record) -> None:
        store.write(self.folder / "points" / key, record)
        self._records[key] = record

    def _ready(self) -> protocol.WorkerHost:
        if self._host is None:
            self._spent.enter(START)
            taken, self._taken = self._taken, None
            self._host = start(self._settings.isolation.mode, self.folder, self._hear, self._claimed, taken)
            if self._plan.builds:
                self._host.call("prepare", self._plan.builds)
            self._spent.enter(HARNESS)
        return self._host

    def _replace(self) -> None:
        if self._taken is not None:
            self._taken.end()
            self._taken = None
        if self._host is not None:
            self._host.end()
            self._host = None
        self._beside = []

    def _hear(self, phase: str) -> None:
        self._spent.enter(phase)
        if self._ahead is not None:
            self._ahead.hear(phase)
        if self._progress is not None:
            self._progress.phase(phase)

    def _count_jobs(self) -> None:
        """Note in rows that are there already which further jobs lead to them."""
        for point in self._points():
            record = self._records.get(point.id)
            if record is not None and not set(point.jobs) <= set(record.jobs):
                self._keep(point.id, dataclasses.replace(record, jobs=sorted({*record.jobs, *point.jobs})))

    @property
    def point_ids(self) -> set[str]:
        """Of all that belongs to the sweep, baselines too."""
        return {point.id for point in self._points()}

    def _points(self) -> Iterable[Point]:
        return (point for build in self._plan.builds for point in build)

    def _todo(self) -> list[Build]:
        left = ([point for point in build if point.id not in self._records] for build in self._plan.builds)
        return [build for build in left if build]

    def record(self, number: int) -> Record:
        """The record of the first point that a job has led to, whatever became of it."""
        return next(self._records[point.id] for point in self._points() if number in point.jobs)

    def job(self, number: int) -> Record:
        """The record of the first point that a job has led to; raises SweepError where one did not succeed."""
        found = [point for point in self._points() if number in point.jobs]
        for point in found:
            record = self._records[point.id]
            if record.status not in SUCCESS:
                raise SweepError(
                    f"job {number} ({self._label(point)}): {record.status} in {record.phase}: {record.reason}"
                )
        return self.record(number)

    def objective(self, number: int) -> float | None:
        """What a job returns to Hydra, likewise; null where nothing was timed."""
        value: float | None = getattr(self.job(number), OBJECTIVES[self._settings.objective])
        return value

    def _label(self, point: Point) -> str:
        values = point.axes
        swept = [f"{axis}={values[axis]}" for axis in self._axes if values[axis] is not None]
        return " ".join([values["model"], point.config.backend, point.config.precision, *swept])
