"""What a sweep would do, before anything is built: its points, the builds they need, and how long that may take."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from heapq import nlargest
from pathlib import Path
from statistics import mean

from rich import box
from rich.console import Console
from rich.table import Table

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.sweep import DETAILED, SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.points.phases import HARNESS
from trt_sweep.points.point import Plan, Point, Preview
from trt_sweep.results import store
from trt_sweep.results.columns import Environment
from trt_sweep.results.record import BASELINE, RECORD, Record
from trt_sweep.sweep.phase_times import PhaseTimes, clock
from trt_sweep.workers.protocol import WorkerHost

EARLIER = 1000  # records that are looked at, the newest first
PROFILE_S = (3.0, 30.0)  # to look into engines that are built
CLOCKS = 4  # what a window reads at most: latency, the GPU's work in two ways, the host's


def show(
    host: WorkerHost,
    plan: Plan,
    todo: list[list[Point]],
    *,
    label: Callable[[Point], str],
    spent: PhaseTimes,
    folder: Path,
) -> None:
    """Print a line for each point and the estimate.

    What a build takes is known from records beside the sweep's folder: of the same partition, or else of the same
    model, backend and precision, always on the same kind of GPU with the same TensorRT.
    """
    known = _earlier(folder)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("build", "point", "operators", "engines", "build s"):
        shown.add_column(name, justify="left" if name == "point" else "right", no_wrap=True)
    builds: dict[str, float | None] = {}
    timed: list[Point] = []
    reasons: list[str] = []
    for point in (point for build in todo for point in build):
        found: Preview = host.call("preview", point)
        if found.reason:
            reasons.append(f"{label(point)} cannot be built: {found.reason}")
            shown.add_row("–", label(point), "–", "–", "–")
            continue
        first = found.key not in builds
        if first:
            once = _build_s(point, found, plan.environment(point), known)
            builds[found.key] = None if once is None else once * _times(point.config)
        if first or found.key == point.config.build_id:  # several sizes of one build are timed each
            timed.append(point)
        seconds, number = builds[found.key], list(builds).index(found.key) + 1
        part = found.partition
        operators = "–" if part.ops_total is None else f"{part.ops_supported}/{part.ops_total}"
        engines = "–" if part.engines is None else f"{part.engines} {part.engine_ops}"
        takes = "shared" if not first else "?" if seconds is None else f"{seconds:.1f}" if seconds else "–"
        shown.add_row(str(number), label(point), operators, engines, takes)
    spent.enter(HARNESS)
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = 500
    console.print(shown)
    for reason in reasons:
        print(f"· {reason}")
    print(estimate(sum(map(len, todo)), timed, list(builds.values()), spent))


def estimate(points: int, timed: list[Point], builds: list[float | None], spent: PhaseTimes) -> str:
    """How many points and builds, and how long they may take: `builds` in seconds, None where that is not known.

    What starting a process and planning take was measured just now, and the sweep does it again. A window takes between
    its least and its most.
    """
    unknown = builds.count(None)
    fixed = sum(spent.seconds.values()) + sum(each or 0.0 for each in builds)
    low, high = (sum(side) for side in zip((0.0, 0.0), *map(_windows, timed), strict=True))
    most = max((point.config.build_workers for point in timed), default=0)
    times = dict.fromkeys((clock(fixed + low), clock(fixed + high)))
    return (
        f"{_count(points, 'point')}, {_count(len(builds), 'build')}: about {' to '.join(times)}"
        + (f", and {_count(unknown, 'build')} of which nothing is known yet" if unknown else "")
        + (", less what build_workers build meanwhile" if most else "")
    )


def _times(config: SweepConfig) -> int:
    """How often a build is made: for each rebuild, before that to fill a timing cache, and to be looked into."""
    again = config.profile and not (config.profiling_verbosity == DETAILED and not config.cuda_graphs)
    return config.measure.rebuilds * (2 if config.cache == "warm" else 1) + again


def _windows(point: Point) -> tuple[float, float]:
    measure: MeasureConfig = point.config.measure
    if point.config.dryrun:
        return 0.0, 0.0
    warmup = measure.rounds * measure.rebuilds * measure.warmup_s
    least = measure.rounds * measure.rebuilds * CLOCKS * measure.min_s
    most = measure.rebuilds * CLOCKS * measure.max_s
    inside = PROFILE_S if point.config.profile and point.config.backend != BASELINE else (0.0, 0.0)
    return warmup + min(least, most) + inside[0], warmup + most + inside[1]


def _build_s(point: Point, found: Preview, here: Environment, known: list[Record]) -> float | None:
    if point.config.dryrun:
        return 0.0
    if point.config.backend == BASELINE:
        return 0.0  # nothing is compiled
    same = [row for row in known if _alike(row, point, here)]
    exact = [row.build_s for row in same if row.partition_id and row.partition_id == found.partition.partition_id]
    times = [seconds for seconds in exact or [row.build_s for row in same] if seconds is not None]
    return mean(times) if times else None


def _alike(row: Record, point: Point, here: Environment) -> bool:
    of_point = (point.config.model.name, point.config.backend, point.config.precision)
    machine = ("gpu_name", "tensorrt", "tensorrt_flavor", "torch")
    return (row.model, row.backend, row.precision) == of_point and all(
        getattr(row, name) == getattr(here, name) for name in machine
    )


def _earlier(folder: Path) -> list[Record]:
    """Records of builds, of this sweep and of those beside it: below outputs/<date>/ in all, where it is there."""
    below = [f"points/*/{RECORD}", f"*/points/*/{RECORD}", f"*/*/points/*/{RECORD}"]
    found: list[tuple[float, Path]] = []
    for place, pattern in zip((folder, folder.parent, folder.parent.parent), below, strict=True):
        with contextlib.suppress(OSError):
            found += [(path.stat().st_mtime, path) for path in place.glob(pattern)]
    read = []
    for _, path in nlargest(EARLIER, dict.fromkeys(found)):
        with contextlib.suppress(OSError, ValueError, TypeError, SweepError):
            record = store.read(path)
            if record.build_s is not None:
                read.append(record)
    return read


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
