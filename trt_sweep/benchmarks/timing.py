"""Measure how repeatable each clock is, how long a switch disturbs, and what ranks and intervals claim."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trt_sweep.backends.engine_store import Store
from trt_sweep.benchmarks import judgement
from trt_sweep.benchmarks.judgement import Table
from trt_sweep.config import compose
from trt_sweep.config.options import SweepOptions
from trt_sweep.errors import SweepError
from trt_sweep.machine import devices, versions
from trt_sweep.machine.output import LOG, redirect_output
from trt_sweep.measure import clocks
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points.group import BuildGroup
from trt_sweep.points.plan import effective, point_of
from trt_sweep.points.run import PointRun
from trt_sweep.points.state import GroupContext
from trt_sweep.results import columns

SETTLED_MS = (2, 5, 10, 20, 40, 80)  # ends of the spans after a switch to another point
SWITCHES = 40


def run(folder: Path, repeats: int, number: int, names: int) -> None:
    """Measure, print the tables, and write each into `folder` as soon as it is there.

    `number` sweeps of one engine under `names` names are made. Those that are in the folder are not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = devices.resolve("auto")
    tables: dict[str, Any] = {"environment": vars(versions.environment(device))}

    def keep(**found: Table) -> None:
        tables.update(found)
        (folder / "timing.json").write_text(json.dumps(tables, indent=1) + "\n")
        for name, rows in found.items():
            print(f"\n{name}\n{pd.DataFrame(rows).T.to_string(header=False)}", flush=True)

    with contextlib.ExitStack() as stack:
        subjects = [_start(stack, folder, each) for each in _subjects(device)]
        keep(settle=_settle(subjects), clocks=_repeatability(subjects, repeats))
        if device.type == "cuda":
            keep(trace=_trace(subjects))
        found = judgement.sweeps(subjects[0], number, names, folder / "sweeps.json")
    keep(claims=judgement.claims(found), coverage=judgement.coverage(found), widths=judgement.widths(found))
    print("results:", folder)


def _subjects(device: torch.device) -> list[tuple[str, int, str]]:
    if device.type != "cuda":
        return [("resnet18", 1, "eager"), ("resnet18", 1, "inductor")]
    backend = "dynamo" if versions.flavor() else "inductor"
    return [("resnet18", 1, backend), ("resnet50", 32, backend), ("googlenet", 1, backend)]


def _start(stack: contextlib.ExitStack, folder: Path, subject: tuple[str, int, str]) -> PointRun:
    """Return a point that was built, checked and warmed up."""
    model, batch_size, backend = subject
    precision = "fp16" if torch.cuda.is_available() else "fp32"
    axes = [f"model={model}", f"batch_size={batch_size}", f"backend={backend}", f"precision={precision}"]
    found = compose.composed(axes)
    point = point_of(effective(found.point)[0], SweepOptions())
    print(f"building {' '.join(axes)}", flush=True)
    place = folder / "points" / point.config.point_id
    place.mkdir(parents=True, exist_ok=True)
    context = GroupContext("bench", SweepOptions(), lambda phase: None, lambda record: None, ProcessCache(), Store())
    with redirect_output(place / LOG):
        line = stack.enter_context(BuildGroup([point], lambda _: place, context)).runs[0]
        record = line.start()
    if record.status not in ("ok", "inaccurate"):
        raise SweepError(f"{' '.join(axes)}: {record.status}: {record.reason}")
    return line


def _name(line: PointRun) -> str:
    return f"{line.config.model.name} b{line.config.batch_size} {line.config.backend}"


def _settle(subjects: list[PointRun]) -> Table:
    """Return how much longer calls take after a switch from another point, by the ms since then.

    Each is set against the calls after the last of `SETTLED_MS`, in the same visit. So `max_s` and `settle_s` of a
    visit can be judged.
    """
    device = devices.resolve("auto")
    found: dict[str, list[list[float]]] = {_name(line): [[] for _ in SETTLED_MS] for line in subjects}
    timed = functools.partial(clocks.time_by_events, flush=None) if device.type == "cuda" else clocks.time_by_wall_clock
    each = {_name(line): float(np.median(line.window().latency_ms)) for line in subjects}
    for _, line in itertools.product(range(SWITCHES), subjects):
        name = _name(line)
        size = max(int(1.6 * SETTLED_MS[-1] / each[name]), 2)
        with line.running(), line.timers[0].on_stream():
            took, _ = timed(line.timers[0].call, size)
        since = np.cumsum(took) - took
        level = float(np.median(took[since >= SETTLED_MS[-1]])) if (since >= SETTLED_MS[-1]).any() else float(took[-1])
        for place, (start, end) in enumerate(itertools.pairwise((0, *SETTLED_MS))):
            inside = took[(since >= start) & (since < end)]
            if len(inside):
                found[name][place].append(float(np.median(inside)) / level)
    return [
        {"subject": name, "switches": SWITCHES}
        | {
            f"until_{end}_ms_percent": round(100 * float(np.median(ratios)) - 100, 1) if ratios else None
            for end, ratios in zip(SETTLED_MS, spans, strict=True)
        }
        for name, spans in found.items()
    ]


def _repeatability(subjects: list[PointRun], repeats: int) -> Table:
    """Return median, coefficient of variation and spread (max over min) of repeats by each clock, and by other ways.

    A repeat of `latency_ms` is one visit. The subjects take turns.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for number, line in itertools.product(range(repeats), subjects):
        window = line.window(0, 3 * number * line.config.measure.visits)
        series = {"latency_ms": window.latency_ms} | {f"gpu_ms {name}": each for name, each in window.gpu_ms.items()}
        for clock, samples in series.items():
            found.setdefault((_name(line), clock), []).append(float(np.median(samples)))
        with line.running(), line.timers[0].on_stream():
            for way, measure in _others(line.timers[0].call).items():
                found.setdefault((_name(line), way), []).append(measure())
    return [
        {
            "subject": subject,
            "clock": clock,
            "repeats": len(values),
            "median_ms": round(float(np.median(values)), 5),
            "cv_percent": round(100 * float(np.std(values, ddof=1) / np.mean(values)), 3),
            "spread_percent": round(100 * (max(values) / min(values) - 1), 2),
        }
        for (subject, clock), values in found.items()
    ]


def _others(call: clocks.Call) -> dict[str, Callable[[], float]]:
    """Return what a user would run instead: functions that time the call, in ms."""

    def wall() -> float:
        clocks.synchronize(devices.resolve("auto"))
        start = time.perf_counter()
        for _ in range(100):
            call()
        clocks.synchronize(devices.resolve("auto"))
        return (time.perf_counter() - start) * 10

    def do_bench() -> float:
        do_bench = importlib.import_module("triton.testing").do_bench

        return float(do_bench(call, return_mode="median"))

    def timer() -> float:
        from torch.utils.benchmark import Timer

        timed = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        return float(timed.blocked_autorange(min_run_time=0.1).median * 1e3)

    ways = {"wall clock + synchronize, 100 calls": wall, "torch.utils.benchmark": timer}
    return ways | {"triton.testing.do_bench": do_bench} if torch.cuda.is_available() else ways


def _trace(subjects: list[PointRun], calls: int = 20) -> Table:
    """Compare the clock with the profiler: sum and span (first start to last end) of the kernels of a replayed call."""
    from torch.profiler import ProfilerActivity, profile

    rows = []
    for line in subjects:
        alone = float(np.median(line.window().gpu_ms.get(columns.GRAPH, np.array([np.nan]))))
        with line.running(), line.timers[0].on_stream():
            replay = line.timers[0].capture_graph()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            inside = []
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                for _ in range(calls):
                    start.record()
                    replay()
                    end.record()
                    end.synchronize()
                    inside.append(start.elapsed_time(end))
        kernels = [event for event in profiler.events() if event.device_type.name == "CUDA"]
        times = np.array([(event.time_range.start, event.time_range.end) for event in kernels])
        times = times[np.argsort(times[:, 0])].reshape(calls, -1, 2) / 1e3
        span = float(np.median(times[:, :, 1].max(axis=1) - times[:, :, 0].min(axis=1)))
        rows.append(
            {
                "subject": _name(line),
                "kernels": times.shape[1],
                "gpu_ms graph": round(alone, 5),
                "trace_span_ms": round(span, 5),
                "trace_sum_ms": round(float(np.median((times[:, :, 1] - times[:, :, 0]).sum(axis=1))), 5),
                "gpu_ms over span": round(alone / span, 4),
                "inflation by the profiler": round(float(np.median(inside)) / alone, 4),
            }
        )
    return rows
