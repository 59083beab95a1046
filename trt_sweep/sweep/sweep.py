"""All points of a sweep: checked before any is built, run in interleaved rounds, recorded, tabled at the end."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from trt_sweep.backends.engine_store import PRIVATE
from trt_sweep.config.options import OBJECTIVES
from trt_sweep.config.point import PointConfig
from trt_sweep.config.sweep import SweepConfig, common_options
from trt_sweep.errors import SweepError
from trt_sweep.machine.locks import SWEEP_LOCK
from trt_sweep.machine.output import LOG
from trt_sweep.points.point import Point
from trt_sweep.results import files, store, table
from trt_sweep.results.console import Console
from trt_sweep.results.record import SUCCESS, Record
from trt_sweep.results.show import show
from trt_sweep.sweep import command, preview, resume, waves
from trt_sweep.sweep.interrupts import Interrupts
from trt_sweep.sweep.labels import Labels, count, place
from trt_sweep.sweep.phase_times import PhaseTimes
from trt_sweep.sweep.process import SweepWorker
from trt_sweep.sweep.progress import Progress
from trt_sweep.sweep.race_rounds import RaceRounds
from trt_sweep.sweep.records import SweepRecords
from trt_sweep.sweep.rounds import Build, Rounds
from trt_sweep.sweep.tuning import Tuning
from trt_sweep.workers import spawn
from trt_sweep.workers.ahead import BuildAheadPool
from trt_sweep.workers.protocol import Assignment, WorkerLost

SECONDS = "seconds.json"  # where the time of a sweep went


class Sweep:
    """A folder and the points that belong into it; leaving the context prints and writes the table.

    A sweeper that asks for jobs in batches `goes_on`: what an earlier batch has done is not done again. Where it is
    `one_of_many` in this process, the next one takes its worker over. Where points of another sweep are measured again,
    `like` are their records. With a `race` points are dropped as soon as they are proved worse. Raises SweepError where
    anything is other now, and where a job asks for what cannot be.
    """

    def __init__(
        self,
        configs: Mapping[int, SweepConfig],
        folder: Path,
        *,
        goes_on: bool = False,
        one_of_many: bool = False,
        like: Sequence[Record] = (),
        race: Tuning | None = None,
    ) -> None:
        self.folder, self._options = folder, common_options(configs)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / SWEEP_LOCK)
        try:
            self._lock.acquire(timeout=1)  # who only asks whether it is held, holds it for a moment
        except Timeout:
            raise SweepError(f"{folder} belongs to a sweep that is running: wait for it, or use another") from None
        self._one_of_many, self._goes_on = one_of_many, goes_on or self._options.resume is not None
        self._progress: Progress | None = None
        self._race = race
        self.table: pd.DataFrame | None = None  # once the sweep has been left
        self.taken_over: set[int] = set()  # jobs of a sweep that is resumed, of which nothing was left to do
        self._ahead: BuildAheadPool | None = None
        self._interrupts = Interrupts()
        self._phase_times = PhaseTimes(spawn.started_at())
        self._keep_worker = False
        self._stack = contextlib.ExitStack()  # what must be undone, whatever happens
        self._stack.callback(self._lock.release)
        try:
            self._prepare(configs, like)
        except BaseException:
            self._stack.close()
            raise

    def _prepare(self, configs: Mapping[int, SweepConfig], like: Sequence[Record]) -> None:
        """Claim a GPU, have the jobs checked, and write down what the sweep begins with."""
        folder = self.folder
        named = resume.gpus_of(folder) if self._goes_on else [record.gpu_uuid for record in like if record.gpu_uuid]
        self._worker = SweepWorker(
            Assignment(folder, self._options, self._on_phase, self._write),
            self._phase_times,
            gpus=named,
            anywhere=all(config.device in ("auto", "cuda") for config in configs.values()),
        )
        self._stack.callback(shutil.rmtree, folder / PRIVATE, ignore_errors=True)
        self._stack.callback(lambda: self._worker.close(self._keep_worker))
        self._check(configs, like)
        if not self.only_shown:
            command.keep(folder, self._options)
        self._label = Labels(self._points)

    def _check(self, configs: Mapping[int, SweepConfig], like: Sequence[Record]) -> None:
        """Plan all points before the first is built, and find those that are done already."""
        wait = "; the process for the points imports torch and Torch-TensorRT, some 10 s" if self._worker.cold else ""
        print(f"checking {count(len(configs), 'job')}{wait}", file=sys.stderr, flush=True)
        try:
            if self._race is not None and self._race.search is not None:
                plan = waves.first(self._worker, self._race, self._race.search)
            else:
                plan = self._worker.plan({number: config.point for number, config in configs.items()})
        except WorkerLost as lost:
            raise SweepError(f"the jobs cannot be checked: {lost.reason}; see {self.folder / LOG}") from lost
        resume.require_alike(like, plan)
        self._records = SweepRecords(self.folder, plan, profile=self._options.profile)
        if self._goes_on:
            self._records.take_over(resume.finished(self.folder, plan, self._options))
            if self._options.resume is not None:
                self.taken_over = {*configs} - {number for build in self._todo() for p in build for number in p.jobs}
        if self._race is not None:
            self._race.take_over([*plan.points], self._records.all, Labels([*plan.points]))

    @property
    def only_shown(self) -> bool:
        """Return whether the sweep is to say what it would do, and no more."""
        return self._options.plan

    @property
    def point_ids(self) -> set[str]:
        """Return the ids of all that belongs to the sweep, baselines too."""
        return {point.id for point in self._points}

    @property
    def _points(self) -> list[Point]:
        return list(self._records.plan.points)

    def __enter__(self) -> Sweep:
        todo = [point for build in self._todo() for point in build]
        self._progress = Progress([point.config.backend for point in todo])
        self._progress.expect(sum(p.config.measure.visits for p in todo if not p.config.dryrun))
        self._progress.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._keep_worker = kind is None and self._one_of_many and not self.only_shown
        self._close()
        assert self._progress is not None
        self._progress.__exit__()
        if not self.only_shown:
            self._conclude()

    def _conclude(self) -> None:
        """Print and write the table, say what is missing, and where the time went."""
        if self._race is not None:
            self._race.finish(self._records.all, self._interrupts.signal is not None)
            self._race.keep(self.folder)
            self._records.forget_untried()
        self.table = found = table.load(self.folder)
        told = self._race is not None and self._race.search is not None  # by who has called
        if not found.empty or found.attrs["unreadable"]:
            if not told:
                show(found, Console(file=sys.stdout), objective=OBJECTIVES[self._options.objective])
            try:
                print("results:", ", ".join(map(place, table.write(found, self.folder))))
            except OSError as error:
                print(f"results.csv and results.parquet cannot be written: {error.strerror}", file=sys.stderr)
        points = self._points
        missing = sum(not self._records.final(point) for point in points)
        if missing:
            hint = f"; python -m trt_sweep resume={self.folder} does the rest" * (command.called_with is not None)
            print(f"{len(points) - missing} of {count(len(points), 'point')} are complete{hint}", file=sys.stderr)
        print(self._phase_times.summary(), file=sys.stderr)
        with contextlib.suppress(OSError):
            store.write_json(self.folder / SECONDS, self._seconds())

    def _seconds(self) -> dict[str, float]:
        """Return where the time went by phase, on top of what an earlier part of the sweep took."""
        found = Counter(self._phase_times.seconds)
        if self._goes_on:
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.update(files.read_json(self.folder / SECONDS))
        return dict(found)

    def _close(self) -> None:
        if self._ahead is not None:
            self._ahead.end()
            self._ahead = None
        self._stack.close()

    def run(self) -> None:
        """Build, check and time all points, see `Rounds`; or only show the plan where that is asked for.

        The first interrupt lets the point at work finish; raises Interrupted then.
        """
        assert self._progress is not None
        todo = self._todo()
        if self.only_shown:
            preview.show(self._worker.ready(), todo, self._label)
            return
        self._progress.say(f"{count(sum(map(len, todo)), 'point')} to do, results in {place(self.folder)}")
        if self._options.build_workers and sum(build[0].stored for build in todo) > 1:
            self._ahead = BuildAheadPool(self.folder, self._options, self._worker.environment, self._progress.say)
        given = self._worker, self._records, self._name, self._progress
        how: dict[str, Any] = {"on_phase": self._on_phase, "interrupts": self._interrupts, "ahead": self._ahead}
        how |= {"over": not self._one_of_many}
        rounds = Rounds(*given, **how)
        if self._race is not None:
            rounds = RaceRounds(*given, race=self._race, more=self._more, **how)
        with self._interrupts:
            rounds.run(todo)
            self._records.agree()
            rounds.look()
        self._interrupts.check()

    def _name(self, point: Point) -> str:
        return self._label(point)

    def _more(self) -> list[Build]:
        """Return the builds that the race's search proposes now."""
        assert self._race is not None and self._progress is not None
        configs, known = waves.following(self._records.plan, self._race), self.point_ids
        self._records.plan = waves.merged(self._records.plan, waves.planned(self._worker, configs, self._race))
        self._label = Labels(self._points)
        found = ([point for point in build if point.id not in known] for build in self._records.plan.builds)
        new = [build for build in found if build]
        self._progress.add([point.config.backend for build in new for point in build])
        return new

    def _on_phase(self, phase: str) -> None:
        self._phase_times.enter(phase)
        if self._ahead is not None:
            self._ahead.on_phase(phase)
        if self._progress is not None:
            self._progress.phase(phase)

    def _write(self, record: Record) -> None:
        self._records.write(record)

    def _todo(self) -> list[Build]:
        left = ([p for p in build if self._records.get(p) is None] for build in self._records.plan.builds)
        return [build for build in left if build]

    @property
    def records(self) -> Mapping[str, Record]:
        """Return the records that there are, by `point_id`."""
        return self._records.all

    def came_to(self, number: int) -> bool:
        """Return whether some point of a job has a record: a race may end before it came to it."""
        return any(number in record.jobs for record in self.records.values())

    def config(self, point_id: str) -> PointConfig:
        """Return the configuration of a point."""
        return next(point.config for point in self._points if point.id == point_id)

    def record(self, number: int) -> Record:
        """Return the record of the first point that a job has led to, whatever became of it."""
        return next(self._records[point] for point in self._points if number in point.jobs)

    def job(self, number: int) -> Record:
        """Return the record of the first point that a job has led to; raise SweepError where one did not succeed."""
        for point in (point for point in self._points if number in point.jobs):
            record = self._records[point]
            if record.status not in SUCCESS:
                raise SweepError(
                    f"job {number} ({self._label(point)}): {record.status} in {record.phase}: {record.reason}"
                )
        return self.record(number)

    def objective(self, number: int) -> float | None:
        """Return what a job gives back to Hydra; null where nothing was timed. Raises as `job` does."""
        value: float | None = getattr(self.job(number), OBJECTIVES[self._options.objective])
        return value
