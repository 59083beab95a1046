"""Show what a sweep would do, before anything is built: its points, and the builds that they need."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich import box
from rich.table import Table

from trt_sweep.points.point import Point
from trt_sweep.results.console import Console
from trt_sweep.sweep.labels import count
from trt_sweep.workers.client import WorkerClient


def show(worker: WorkerClient, todo: list[list[Point]], label: Callable[[Point], str]) -> None:
    """Print a line for each point, with the number of its build, and how many of both there are."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("build", "point", "operators", "engines"):
        shown.add_column(name, justify="left" if name == "point" else "right", no_wrap=True)
    builds: list[str] = []
    reasons: list[str] = []
    for point in (point for build in todo for point in build):
        found = worker.preview(point)
        if found.reason:
            reasons.append(f"{label(point)} cannot be built: {found.reason}")
            shown.add_row("–", label(point), "–", "–")
            continue
        if found.key not in builds:
            builds.append(found.key)
        part = found.partition
        operators = "–" if part.ops_total is None else f"{sum(part.engine_ops or [])}/{part.ops_total}"
        engines = "–" if part.engines is None else f"{part.engines} {part.engine_ops}"
        shown.add_row(str(builds.index(found.key) + 1), label(point), operators, engines)
    console = Console(file=sys.stdout)
    console.print(shown)
    for reason in reasons:
        console.say(f"· {reason}")
    print(f"{count(sum(map(len, todo)), 'point')}, {count(len(builds), 'build')}")
