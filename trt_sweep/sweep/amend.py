"""Change rows without the process that timed the point. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_sweep.errors import SweepError
from trt_sweep.points.point import Point, Report
from trt_sweep.results import columns, store
from trt_sweep.results.axes import Axes
from trt_sweep.results.columns import Environment
from trt_sweep.results.record import RECORD, Record
from trt_sweep.workers.protocol import WorkerLost


def lost(
    point: Point, folder: Path, sweep_id: str, environment: Environment, why: WorkerLost, *, profile: bool
) -> Record:
    """Return the row of a point that took its worker down, with what its record in `folder` says already.

    `profile` says whether its engines were to be looked into.
    """
    ends: dict[str, Any] = {"status": why.status, "phase": why.phase, "reason": why.reason, "final": True}
    ends |= vars(environment)
    try:
        known = store.read(folder / RECORD)
    except (OSError, ValueError, TypeError, SweepError):
        known = Record(
            point_id=point.id,
            sweep_id=sweep_id,
            jobs=point.jobs,
            merged_axes=point.merged,
            created_utc=store.now(),
            **vars(Axes(**point.axes)),
        )
    no_profile = point.no_profile(why.status, None, tensorrt=True) if profile else None
    return dataclasses.replace(known, **ends, profile_reason=no_profile)


def unseen(record: Record | None) -> bool:
    """Return whether a row has engines that were not looked into, and no word on why not."""
    if record is None or record.status != "ok" or record.engines is None:
        return False
    seen = (record.profile_engine_id, record.profile_reason, record.traced_span_ms)
    return (record.device or "").startswith("cuda") and all(value is None for value in seen)


def agreed(rows: Mapping[str, Record], reports: Mapping[str, Report]) -> dict[str, Record]:
    """Return the rows that must change for all ranked points to have one method of `gpu_ms`, as far as they can."""
    found = {key: report.by_method for key, report in reports.items() if report.by_method}
    # What an earlier batch of the sweep was measured by comes first, as its rows hold that alone.
    before = {row.gpu_ms_method for key, row in rows.items() if key not in found}
    order = sorted(columns.METHODS, key=lambda name: name not in before)
    common = [name for name in order if all(name in methods for methods in found.values())]
    return {
        key: dataclasses.replace(rows[key], **vars(methods[common[0]]))
        for key, methods in found.items()
        if common and rows[key].gpu_ms_method != common[0]
    }
