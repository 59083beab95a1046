"""The records of a sweep's points, in memory and on the disk. Nothing else writes a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from trt_sweep.points.point import Plan, Point, Report
from trt_sweep.results import store
from trt_sweep.results.record import Record
from trt_sweep.sweep import amend
from trt_sweep.workers.protocol import WorkerLost


class SweepRecords:
    """Hold the records of a sweep by `point_id`, beside each what its last step reported."""

    def __init__(self, folder: Path, plan: Plan, *, profile: bool) -> None:
        self.folder, self.plan, self._profile = folder, plan, profile
        self._records: dict[str, Record] = {}
        self._reports: dict[str, Report] = {}

    def __getitem__(self, point: Point) -> Record:
        return self._records[point.id]

    def get(self, point: Point) -> Record | None:
        """Return the record of a point, None while there is none."""
        return self._records.get(point.id)

    @property
    def all(self) -> Mapping[str, Record]:
        """Return the records that there are, by `point_id`."""
        return self._records

    def forget_untried(self) -> None:
        """Take points without a record out of the plan: a race did not come to them."""
        left = ([point for point in build if point.id in self._records] for build in self.plan.builds)
        self.plan = Plan([build for build in left if build], self.plan.environments)

    def report(self, point: Point) -> Report:
        """Return what the last step of a point reported."""
        return self._reports[point.id]

    def final(self, point: Point) -> bool:
        """Return whether nothing more is to be done for a point."""
        return point.id in self._records and self._records[point.id].final

    def visited(self, point: Point) -> bool:
        """Return whether a point has been timed in turn with others, and all of its visits made."""
        record = self.get(point)
        return record is not None and record.status == "ok" and record.final and bool(record.latency_ms_visits)

    def take_over(self, found: dict[str, Record]) -> None:
        """Take over records that an earlier part of the sweep has written, with the further jobs that led to them."""
        self._records |= found
        for point in self.plan.points:
            record = self.get(point)
            if record is not None and not set(point.jobs) <= set(record.jobs):
                self.amend(dataclasses.replace(record, jobs=sorted({*record.jobs, *point.jobs})))

    def write(self, record: Record) -> None:
        """Write a record as it stands, so that what is known outlives a crash; OSError where the disk takes no more."""
        store.write(self._place(record.point_id), record)

    def amend(self, record: Record) -> None:
        """Replace the record of a point that is not at work."""
        self.write(record)
        self._records[record.point_id] = record

    def keep(self, report: Report) -> None:
        """Keep what a step of a point has reported; its record is written already."""
        self._records[report.record.point_id] = report.record
        self._reports[report.record.point_id] = report

    def write_lost(self, point: Point, why: WorkerLost) -> None:
        """Write the row of a point that took its worker down."""
        environment = self.plan.environment(point)
        row = amend.lost(point, self._place(point.id), self.folder.name, environment, why, profile=self._profile)
        self._report_loss(Report(row, fit=False))

    def write_lost_profile(self, point: Point, why: WorkerLost) -> None:
        """Write into the row of a timed point why it has no profile; what was timed stays."""
        row = dataclasses.replace(self._records[point.id], profile_reason=why.reason)
        before = self._reports.get(point.id, Report(row))
        self._report_loss(dataclasses.replace(before, record=row, fit=False))

    def agree(self) -> None:
        """Write the rows anew where that gives all ranked points that have a `gpu_ms` one method of it."""
        for record in amend.agreed(self._records, self._reports).values():
            self.amend(record)

    def unseen(self) -> list[Point]:
        """Return the points whose engines were to be looked into, and were not when they were in hand."""
        return [point for point in self.plan.points if self._profile and amend.unseen(self.get(point))]

    def _report_loss(self, report: Report) -> None:
        self.write(report.record)
        self.keep(report)

    def _place(self, point_id: str) -> Path:
        return self.folder / "points" / point_id
