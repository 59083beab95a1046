"""All points of a sweep: checked before any is built, baselines added, run one after another, tabled at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console

from trt_sweep import gpu, job, table, timing
from trt_sweep.config import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.job import Line
from trt_sweep.point import Point, axes, effective
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
            leads_to = effective(config)
        except SweepError as error:
            raise SweepError(f"job {number}: {error}") from error
        for single in leads_to:
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
    return [found for name in precisions for found in effective(dataclasses.replace(at_size, precision=name))]


class Sweep:
    """A folder and the points that belong into it; leaving the context prints and writes the table."""

    def __init__(self, configs: dict[int, SweepConfig], folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Importing Torch-TensorRT talks to both streams and takes 10 s or more.
        print(f"checking {_count(len(configs), 'job')}", file=sys.stderr)
        with captured(folder / LOG):
            self.builds = plan(configs)
        self._lines: list[Line] = []
        points = [point for build in self.builds for point in build]
        self._progress = Progress([point.config.backend for point in points])
        self._progress.expect(sum(p.config.measure.rounds - 1 for p in points if not p.config.dryrun))
        rows = pd.DataFrame([axes(point.config) | {"jobs": point.jobs} for point in points])
        self._axes = [axis for axis in table.varied(rows) if axis not in ("model", "backend", "precision", "device")]

    def __enter__(self) -> Sweep:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()
        rows = table.load(self.folder)
        if rows.empty:
            return
        written = table.write(rows, self.folder)
        table.show(rows, Console(file=sys.stdout))
        print("results:", ", ".join(map(str, written)))

    def run(self) -> None:
        """Build, check and time all points, then time them again in turn (A B C, A B C), so that a drift meets all.

        As many as the memory holds are kept for that at a time; the rest follows when they are done.
        """
        number = sum(map(len, self.builds))
        self._progress.say(f"{_count(number, 'point')}, results in {self.folder}")
        todo = list(self.builds)
        while todo:
            held, group = contextlib.ExitStack(), list[Line]()
            try:
                while todo and (not group or gpu.has_room(gpu.resolve(todo[0][0].config.device))):
                    group += self._start(held, todo.pop(0))
                self._again(group)
            finally:
                with captured(self.folder / LOG):  # the libraries may have something to say
                    held.close()
        self._agree()

    def _agree(self) -> None:
        """Write the records anew where that gives all ranked points that have a `gpu_ms` one method of it."""
        found = {
            line: line.measurement.methods
            for line in self._lines
            if line.record is not None and line.record.status == "ok" and line.measurement and line.measurement.methods
        }
        common = [name for name in timing.METHODS if all(name in methods for methods in found.values())]
        for line, methods in found.items():
            if common and methods[0] != common[0]:
                line.write(common[0])

    def _start(self, held: contextlib.ExitStack, build: list[Point]) -> list[Line]:
        with captured(self.folder / LOG):
            run = held.enter_context(job.Job(build, self.folder.name, self._folder, self._progress.phase))
        for line in run.lines:
            self._progress.begin(self._label(line.config), line.config.backend)
            line.folder.mkdir(parents=True, exist_ok=True)
            with captured(line.folder / LOG):
                record = line.start()
            self._lines.append(line)
            self._progress.end(_outcome(record))
        return run.lines

    def _again(self, lines: list[Line]) -> None:
        most = max((line.rounds for line in lines), default=1)
        for number in range(1, most):
            due = [line for line in lines if line.rounds > number]
            self._progress.expect(sum(line.rounds - number for line in due))
            for line in due:
                self._progress.again(self._label(line.config), number + 1, line.rounds)
                with captured(line.folder / LOG):
                    line.again()
        if most > 1:
            self._progress.say(f"timed in {most} interleaved rounds")

    def _folder(self, point: Point) -> Path:
        return self.folder / "points" / point.config.point_id

    def job(self, number: int) -> Record:
        """The record of the first point that a job has led to; raises SweepError where one did not succeed."""
        lines = [line for line in self._lines if number in line.point.jobs]
        for line in lines:
            record = line.record
            if record is not None and record.status not in SUCCESS:
                raise SweepError(
                    f"job {number} ({self._label(line.config)}): {record.status} in {record.phase}: {record.reason}"
                )
        assert lines and lines[0].record is not None
        return lines[0].record

    def _label(self, config: SweepConfig) -> str:
        values = axes(config)
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
