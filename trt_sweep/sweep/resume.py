"""Find which points of a sweep are done, and whether they may be mixed with what is done now."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from trt_sweep.config.options import SweepOptions
from trt_sweep.errors import SweepError
from trt_sweep.points.point import Plan
from trt_sweep.results import files, store
from trt_sweep.results.columns import Environment
from trt_sweep.results.record import RECORD, Record, columns


def finished(folder: Path, plan: Plan, options: SweepOptions) -> dict[str, Record]:
    """Return the final records of these points by `point_id`, without those that are to be tried again.

    Raises SweepError where they were made by other code, with other versions or on another GPU, unless
    `allow_changed`.
    """
    found: dict[str, Record] = {}
    for point in plan.points:
        path = folder / "points" / point.id / RECORD
        if not files.exists(path):
            continue
        try:
            record = store.read(path)
        except (ValueError, TypeError, OSError) as error:
            print(f"{path} cannot be read ({error}): the point is done again", file=sys.stderr)
            continue
        if record.final is False or record.status == "interrupted" or record.status in options.retry:
            continue
        changed = {} if options.allow_changed else _changed(record, plan.environment(point))
        if changed:
            raise SweepError(
                f"resume={folder} is refused: {_words(changed)}; start a new sweep, or mix them with allow_changed=true"
            )
        found[point.id] = record
    return found


def require_alike(known: Iterable[Record], plan: Plan) -> None:
    """Raise SweepError where the plan lacks one of these points, or would run it on another GPU or other versions."""
    points = {point.id: point for point in plan.points}
    for record in known:
        if record.point_id not in points:
            raise SweepError(f"the configuration of point {record.point_id} leads to another point here")
        changed = _changed(record, plan.environment(points[record.point_id]))
        if changed:
            raise SweepError(f"of point {record.point_id} {_words(changed)}")


def _words(changed: dict[str, tuple[object, object]]) -> str:
    return ", ".join(f"{name} was {old} and is {new}" for name, (old, new) in changed.items())


def gpus_of(folder: Path) -> list[str]:
    """Return the UUIDs of the GPUs that the records of a sweep name."""
    found: dict[str, None] = {}
    for path in files.records_below([folder])[0]:
        with contextlib.suppress(OSError, ValueError, TypeError, SweepError):
            uuid = store.read(path).gpu_uuid
            if uuid is not None:
                found[uuid] = None
    return list(found)


def _changed(record: Record, now: Environment) -> dict[str, tuple[object, object]]:
    # A point that failed early did not come to the GPU; a machine may be renamed, and code_id says more than a commit.
    names = [item for item in columns(Environment) if item not in ("hostname", "git_sha", "trt_sweep")]
    before = {name: getattr(record, name) for name in names}
    after = {name: getattr(now, name) for name in names}
    return {
        name: (before[name], after[name])
        for name in names
        if None not in (before[name], after[name]) and before[name] != after[name]
    }
