"""All points of a sweep: checked before any is built, baselines added, run one after another, tabled at the end."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console

from trt_sweep import job, table
from trt_sweep.config import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.job import Point
from trt_sweep.progress import Progress, captured
from trt_sweep.records import SUCCESS, Record

LOG = "log.txt"


def plan(configs: dict[int, SweepConfig]) -> list[list[Point]]:
    """The points of these jobs in their order, each once, those of one build together, their eager baselines first.

    Raises SweepError, naming the job, where one cannot work.
    """
    points: dict[str, Point] = {}
    for number, config in configs.items():
        try:
            effective = job.effective(config)
        except SweepError as error:
            raise SweepError(f"job {number}: {error}") from error
        for single in effective:
            jobs = points.setdefault(single.point_id, Point(single)).jobs
            if number not in jobs:
                jobs.append(number)
    for point in points.values():
        point.merged.extend(_differences([configs[number] for number in point.jobs]))
    baselines: dict[str, Point] = {}
    for point in points.values():
        for config in _baselines(point.config):
            if config.point_id not in points:
                baselines.setdefault(config.point_id, Point(config))
    builds: dict[str, list[Point]] = {}
    for point in points.values():
        builds.setdefault(point.config.build_id, []).append(point)
    return [*([point] for point in baselines.values()), *builds.values()]


def _differences(configs: list[SweepConfig]) -> list[str]:
    first, *others = (config.to_dict() for config in configs)
    names = [name for name in first if any(other[name] != first[name] for other in others)]
    return [f"{name}.mode" if name in ("torchscript", "inductor") else name for name in names]


def _baselines(config: SweepConfig) -> list[SweepConfig]:
    """Eager in the precision of a point and in FP32; none for a point that is only planned."""
    if config.dryrun or (config.backend == table.BASELINE and not config.cuda_graphs):
        return []
    at_size = dataclasses.replace(config.timed, backend=table.BASELINE, cuda_graphs=False)
    precisions = dict.fromkeys((config.precision, "fp32"))
    return [found for name in precisions for found in job.effective(dataclasses.replace(at_size, precision=name))]


class Sweep:
    """A folder and the points that belong into it; leaving the context prints and writes the table."""

    def __init__(self, configs: dict[int, SweepConfig], folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Importing Torch-TensorRT talks to both streams and takes 10 s or more.
        print(f"checking {_count(len(configs), 'job')}", file=sys.stderr)
        with captured(folder / LOG):
            self.builds = plan(configs)
        self._records: dict[str, Record] = {}
        points = [point for build in self.builds for point in build]
        self._progress = Progress([point.config.backend for point in points])
        rows = pd.DataFrame([job.axes(point.config) | {"jobs": point.jobs} for point in points])
        self._axes = [axis for axis in table.varied(rows) if axis not in ("model", "backend", "precision", "device")]

    def __enter__(self) -> Sweep:
        self._progress.__enter__()
        number = sum(map(len, self.builds))
        self._progress.say(f"{_count(number, 'point')}, results in {self.folder}")
        try:
            for build in self.builds:
                if not build[0].jobs:
                    self._run(build)
        except BaseException:  # Python leaves a context that was not entered by itself
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()
        rows = table.load(self.folder)
        if rows.empty:
            return
        written = table.write(rows, self.folder)
        table.show(rows, Console(file=sys.stdout))
        print("results:", ", ".join(map(str, written)))

    def job(self, number: int) -> Record:
        """Run the points of a job that no earlier job has led to; returns the first of them.

        Raises SweepError where one did not succeed.
        """
        points = []
        for build in self.builds:
            mine = [point for point in build if number in point.jobs]
            if any(point.config.point_id not in self._records for point in mine):
                self._run(build)
            points += mine
        found = [self._records[point.config.point_id] for point in points]
        for point, record in zip(points, found, strict=True):
            if record.status not in SUCCESS:
                raise SweepError(
                    f"job {number} ({self._label(point.config)}): {record.status} in {record.phase}: {record.reason}"
                )
        return found[0]

    def _run(self, build: list[Point]) -> None:
        with job.Job(self.folder.name, self._progress.phase) as run:
            for point in build:
                folder = self.folder / "points" / point.config.point_id
                folder.mkdir(parents=True, exist_ok=True)
                self._progress.begin(self._label(point.config), point.config.backend)
                with captured(folder / LOG):
                    record = run.run(point, folder)
                    if point is build[-1]:
                        run.close()  # the libraries may have something to say
                self._records[record.point_id] = record
                self._progress.end(_outcome(record))

    def _label(self, config: SweepConfig) -> str:
        values = job.axes(config)
        swept = [f"{axis}={values[axis]}" for axis in self._axes if values[axis] is not None]
        return " ".join([values["model"], config.backend, config.precision, *swept])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _outcome(record: Record) -> str:
    if record.latency_ms is not None:
        interval = f"[{record.latency_ms_ci_low:.4g}, {record.latency_ms_ci_high:.4g}]"
        return f"{record.status}  {record.latency_ms:.4g} ms {interval}"
    if record.status == "dryrun" and record.engines is None:
        return "dryrun"
    if record.status == "dryrun":
        operators = f"{record.ops_supported}/{record.ops_total} operators"
        return f"dryrun  {operators} in {_count(record.engines or 0, 'engine')} {record.engine_ops}"
    return f"{record.status}  {record.reason}"
