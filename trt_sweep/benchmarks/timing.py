"""Measure how repeatable each clock is, whether its intervals hold, and what the ranks claim (`judgement`)."""

from __future__ import annotations

import contextlib
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
from trt_sweep.benchmarks.windows import Table, Windows, medians, series
from trt_sweep.config import compose
from trt_sweep.config.options import SweepOptions
from trt_sweep.errors import SweepError
from trt_sweep.machine import devices, versions
from trt_sweep.machine.output import LOG, redirect_output
from trt_sweep.measure import clocks, measurement
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points.group import BuildGroup
from trt_sweep.points.plan import effective, point_of
from trt_sweep.points.run import PointRun
from trt_sweep.points.state import GroupContext
from trt_sweep.results import columns
from trt_sweep.results.stats import samples, unseen

ROUNDS = (1, 2, 3, 4, 5, 6)


def run(folder: Path, repeats: int, windows: int, points: int) -> None:
    """Measure, print the tables, and write each into `folder` as soon as it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    device = devices.resolve("auto")
    tables: dict[str, Any] = {
        "environment": vars(versions.environment(device)) | {"placement": unseen.PLACEMENT, "level": samples.LEVEL}
    }

    def keep(**found: Table) -> None:
        tables.update(found)
        (folder / "timing.json").write_text(json.dumps(tables, indent=1) + "\n")
        for name, rows in found.items():
            print(f"\n{name}\n{pd.DataFrame(rows).to_string(index=False)}", flush=True)

    with contextlib.ExitStack() as stack:
        # The points of the A/A test are builds of the first subject.
        first, *rest = _subjects(device)
        subjects = [_start(stack, folder, first, points), *(_start(stack, folder, each) for each in rest)]
        found: Windows = {}
        others = _windows(subjects, repeats, windows, found)
        medians(found).to_csv(folder / "windows.csv", index=False, float_format="%.6g")
        keep(clocks=_repeatability(found, others))
        keep(coverage=_coverage(found))
        judged = judgement.time_points(subjects[0])
        by_point = {f"point {index} +{100 * each.added:.0f} %": each.windows for index, each in enumerate(judged)}
        medians(by_point).to_csv(folder / "judgement.csv", index=False, float_format="%.6g")
        keep(added=judgement.added_work(judged), judgement=judgement.judge(judged))
        if device.type == "cuda":
            keep(trace=_trace(subjects))
    print("results:", folder)


def _subjects(device: torch.device) -> list[tuple[str, int, str]]:
    if device.type != "cuda":
        return [("resnet18", 1, "eager"), ("resnet18", 1, "inductor")]
    backend = "dynamo" if versions.flavor() else "inductor"
    return [("resnet18", 1, backend), ("resnet50", 32, backend), ("googlenet", 1, backend)]


def _start(stack: contextlib.ExitStack, folder: Path, subject: tuple[str, int, str], builds: int = 1) -> PointRun:
    """Return a point that was built `builds` times, checked and warmed up."""
    model, batch_size, backend = subject
    precision = "fp16" if torch.cuda.is_available() else "fp32"
    axes = [f"model={model}", f"batch_size={batch_size}", f"backend={backend}", f"precision={precision}"]
    found = compose.composed([*axes, f"measure.rebuilds={builds}"])
    point = point_of(effective(found.point)[0], SweepOptions())
    print(f"building {' '.join(axes)}, {builds} times", flush=True)
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


def _windows(
    subjects: list[PointRun], repeats: int, number: int, windows: Windows
) -> dict[tuple[str, str], list[float]]:
    """Time windows of each subject in turn into `windows`; return the times of other ways, in ms, by subject and way.

    The other ways run `repeats` times, spread evenly among the windows.
    """
    others: dict[tuple[str, str], list[float]] = {}
    beside = {round(index * number / repeats) for index in range(repeats)}
    for index, line in itertools.product(range(number), subjects):
        if index % 10 == 0:
            print(f"window {index}/{number} {_name(line)}", flush=True)
        windows.setdefault(_name(line), []).append(line.window())
        if index in beside:
            with line.running(), line.timers[0].on_stream():
                for way, measure in _others(line.timers[0].call).items():
                    others.setdefault((_name(line), way), []).append(measure())
    return others


def _repeatability(windows: Windows, others: dict[tuple[str, str], list[float]]) -> Table:
    """Return median, coefficient of variation and spread (max over min) over all windows, for each clock and way."""
    found: dict[tuple[str, str], list[float]] = {}
    for subject, listed in windows.items():
        for clock in series(listed[0]):
            found[subject, clock] = [float(np.median(series(window)[clock])) for window in listed]
    return [
        {
            "subject": subject,
            "clock": clock,
            "repeats": len(values),
            "median_ms": round(float(np.median(values)), 5),
            "cv_percent": round(100 * float(np.std(values, ddof=1) / np.mean(values)), 3),
            "spread_percent": round(100 * (max(values) / min(values) - 1), 2),
        }
        for (subject, clock), values in sorted(
            (found | others).items(), key=lambda item: list(windows).index(item[0][0])
        )
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


def _coverage(found: Windows) -> Table:
    """Return the share of repeats whose interval contains the median of all samples, by rounds in a repeat.

    A repeat is that many windows in a row, and one begins at each window. Its interval is that of a row made of it.
    """
    rows = []
    for subject, windows in found.items():
        for clock in (clock for clock in series(windows[0]) if clock != "enqueue_ms"):
            column, _, method = clock.partition(" ")
            truth = float(np.median(np.concatenate([series(window)[clock] for window in windows])))
            for rounds in ROUNDS:
                repeats = [windows[start : start + rounds] for start in range(len(windows) - rounds + 1)]
                points = [vars(measurement.Measurement([repeat], 1, 0.0).timing(method or None)) for repeat in repeats]
                ends = np.array([(point[f"{column}_ci_low"], point[f"{column}_ci_high"]) for point in points])
                rows.append(
                    {
                        "subject": subject,
                        "clock": clock,
                        "rounds": rounds,
                        "repeats": len(repeats),
                        "covered_percent": round(
                            100 * float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()), 1
                        ),
                        "half_width_percent": round(50 * float(np.nanmedian(ends[:, 1] / ends[:, 0] - 1)), 2),
                    }
                )
    return rows


def _trace(subjects: list[PointRun], calls: int = 20) -> Table:
    """Compare the clock with the profiler: sum and span (first start to last end) of the kernels of a replayed call."""
    from torch.profiler import ProfilerActivity, profile

    rows = []
    for line in subjects:
        alone = float(np.median(line.window().gpu_ms.get(columns.GRAPH, np.array([np.nan]))))
        with line.running(), line.timers[0].on_stream():
            replay = line.timers[0].capture_graph(alone / 1e3)
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
