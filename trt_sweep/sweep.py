"""All points of a sweep: checked before any is built, baselines added, run one after another, tabled at the end."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from trt_sweep import job, table
from trt_sweep.config import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.job import Point
from trt_sweep.progress import Progress, captured
from trt_sweep.records import SUCCESS, Record

LOG = "log.txt"


def plan(configs: dict[int, SweepConfig]) -> list[Point]:
    """The points of these jobs in their order, each once, the eager baselines that they need first.

    Raises SweepError, naming the job, where one cannot work.
    """
    points: dict[str, Point] = {}
    for number, config in configs.items():
        point = Point(job.effective(config))
        points.setdefault(point.config.point_id, point).jobs.append(number)
    baselines: dict[str, Point] = {}
    for point in points.values():
        for config in _baselines(point.config):
            if config.point_id not in points:
                baselines.setdefault(config.point_id, Point(config))
    return [*baselines.values(), *points.values()]


def _baselines(config: SweepConfig) -> list[SweepConfig]:
    """Eager in the precision of a point and in FP32; none for a point that is only planned."""
    if config.dryrun or config.backend == table.BASELINE:
        return []
    return [
        job.effective(dataclasses.replace(config, backend=table.BASELINE, precision=precision))
        for precision in dict.fromkeys((config.precision, "fp32"))
    ]


class Sweep:
    """A folder and the points that belong into it; leaving the context prints and writes the table."""

    def __init__(self, configs: dict[int, SweepConfig], folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Importing Torch-TensorRT talks to both streams and takes 10 s or more.
        print(f"checking {_count(len(configs), 'job')}", file=sys.stderr)
        with captured(folder / LOG):
            self.points = plan(configs)
        self._records: dict[str, Record] = {}
        self._progress = Progress([point.config.backend for point in self.points])
        rows = pd.DataFrame([{**_axes(point.config), "jobs": point.jobs} for point in self.points])
        self._axes = [axis for axis in table.varied(rows) if axis not in ("model", "backend", "precision", "device")]

    def __enter__(self) -> Sweep:
        self._progress.__enter__()
        self._progress.say(f"{_count(len(self.points), 'point')}, results in {self.folder}")
        try:
            for point in self.points:
                if not point.jobs:
                    self._run(point)
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
        """Run the point of a job, unless an earlier job has led to it; raises SweepError where it did not succeed."""
        point = next(point for point in self.points if number in point.jobs)
        record = self._records.get(point.config.point_id) or self._run(point)
        if record.status not in SUCCESS:
            raise SweepError(
                f"job {number} ({self._label(point.config)}): {record.status} in {record.phase}: {record.reason}"
            )
        return record

    def _run(self, point: Point) -> Record:
        folder = self.folder / "points" / point.config.point_id
        folder.mkdir(parents=True, exist_ok=True)
        self._progress.begin(self._label(point.config), point.config.backend)
        with captured(folder / LOG):
            record = job.run(point, folder, self.folder.name, self._progress.phase)
        self._records[record.point_id] = record
        self._progress.end(_outcome(record))
        return record

    def _label(self, config: SweepConfig) -> str:
        values = _axes(config)
        swept = [f"{axis}={values[axis]}" for axis in self._axes if values[axis] is not None]
        return " ".join([values["model"], config.backend, config.precision, *swept])


def _axes(config: SweepConfig) -> dict[str, Any]:
    return {axis: config.model.name if axis == "model" else getattr(config, axis) for axis in table.AXES}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _outcome(record: Record) -> str:
    if record.latency_ms is not None:
        interval = f"[{record.latency_ms_ci_low:.4g}, {record.latency_ms_ci_high:.4g}]"
        return f"{record.status}  {record.latency_ms:.4g} ms {interval}"
    if record.status == "dryrun":
        operators = f"{record.ops_supported}/{record.ops_total} operators"
        return f"dryrun  {operators} in {_count(record.engines or 0, 'engine')} {record.engine_ops}"
    return f"{record.status}  {record.reason}"
