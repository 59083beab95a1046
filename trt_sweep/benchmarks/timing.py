"""How repeatable each clock is, whether its intervals hold, and whether the ranks claim what is not there."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trt_sweep.config import compose, groups
from trt_sweep.errors import SweepError
from trt_sweep.machine import devices, locks, nvml, versions
from trt_sweep.machine.output import LOG, redirect_output
from trt_sweep.measure import clocks, measurement
from trt_sweep.measure import timer as measure_timer
from trt_sweep.points.plan import effective, point_of
from trt_sweep.points.run import BuildGroup, PointRun
from trt_sweep.results import columns, ranking
from trt_sweep.results.stats import ranks, samples, unseen

ADDED = (0.01, 0.03)  # of the GPU's time, as real work, for the points that must be found
ROUNDS = (1, 2, 3, 4, 5, 6)
Table = list[dict[str, Any]]
Windows = dict[str, list[measurement.Window]]  # by subject


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
        _medians(found).to_csv(folder / "windows.csv", index=False, float_format="%.6g")
        keep(clocks=_repeatability(found, others))
        keep(coverage=_coverage(found))
        judged = _judged(subjects[0])
        by_point = {f"point {index} +{100 * each.added:.0f} %": each.windows for index, each in enumerate(judged)}
        _medians(by_point).to_csv(folder / "judgement.csv", index=False, float_format="%.6g")
        keep(added=_added(judged), judgement=_judgement(judged))
        if device.type == "cuda":
            keep(trace=_trace(subjects))
    print("results:", folder)


def _medians(windows: Windows) -> pd.DataFrame:
    rows = [
        {"subject": subject, "window": index, "clock": clock, "median_ms": float(np.median(series))}
        for subject, listed in windows.items()
        for index, window in enumerate(listed)
        for clock, series in _series(window).items()
    ]
    return pd.DataFrame(rows)


def _subjects(device: torch.device) -> list[tuple[str, int, str]]:
    if device.type != "cuda":
        return [("resnet18", 1, "eager"), ("resnet18", 1, "inductor")]
    backend = "dynamo" if versions.flavor() else "inductor"
    return [("resnet18", 1, backend), ("resnet50", 32, backend), ("googlenet", 1, backend)]


def _start(stack: contextlib.ExitStack, folder: Path, subject: tuple[str, int, str], builds: int = 1) -> PointRun:
    """A point of the sweep, built so many times, checked and warm."""
    model, batch_size, backend = subject
    precision = "fp16" if torch.cuda.is_available() else "fp32"
    axes = [f"model={model}", f"batch_size={batch_size}", f"backend={backend}", f"precision={precision}"]
    found = compose.composed([*axes, f"measure.rebuilds={builds}"])
    point = point_of(effective(found)[0])
    print(f"building {' '.join(axes)}, {builds} times", flush=True)
    place = folder / "points" / point.config.point_id
    place.mkdir(parents=True, exist_ok=True)
    with redirect_output(place / LOG):
        line = stack.enter_context(BuildGroup([point], "bench", lambda _: place)).lines[0]
        record = line.start()
    if record.status not in ("ok", "inaccurate"):
        raise SweepError(f"{' '.join(axes)}: {record.status}: {record.reason}")
    return line


def _name(line: PointRun) -> str:
    return f"{line.config.model.name} b{line.config.batch_size} {line.config.backend}"


def _series(window: measurement.Window) -> dict[str, np.ndarray]:
    """The samples of a window by clock."""
    found = {"latency_ms": window.latency_ms} | {f"gpu_ms {name}": each for name, each in window.gpu_ms.items()}
    return found if window.enqueue_ms is None else found | {"enqueue_ms": window.enqueue_ms}


def _windows(
    subjects: list[PointRun], repeats: int, number: int, windows: Windows
) -> dict[tuple[str, str], list[float]]:
    """Collect windows of each subject in turn; what other ways find, by subject and way, spread evenly among them."""
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
    """Median, coefficient of variation and spread (max over min) of each clock over all windows, and of other ways."""
    found: dict[tuple[str, str], list[float]] = {}
    for subject, listed in windows.items():
        for clock in _series(listed[0]):
            found[subject, clock] = [float(np.median(_series(window)[clock])) for window in listed]
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
    """What a user would run instead, each a time in ms."""

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
    """Share of repeats whose interval contains the median of all samples, by the number of rounds in a repeat.

    A repeat is so many windows in a row, one begins at each window; its interval is the one that a row would have.
    """
    rows = []
    for subject, windows in found.items():
        for clock in (clock for clock in _series(windows[0]) if clock != "enqueue_ms"):
            column, _, method = clock.partition(" ")
            truth = float(np.median(np.concatenate([_series(window)[clock] for window in windows])))
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
    """The profiler's kernels as an independent truth: sum and span (first start to last end) of a replayed call."""
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


@dataclasses.dataclass
class _Judged:
    """A point of the A/A test: the call of a build, with so much work added."""

    build: int
    timer: measure_timer.Timer
    added: float
    windows: list[measurement.Window] = dataclasses.field(default_factory=list)

    def row(self, clock: str, windows: Sequence[Sequence[measurement.Window]] | None = None) -> pd.Series:
        """The row that a record of it would be."""
        listed = [list(build) for build in windows or [self.windows]]
        found = measurement.Measurement(listed, 1, 0.0).timing(clock.partition(" ")[2] or None)
        return pd.Series(vars(columns.Build()) | vars(found) | {"added": self.added})


def _judged(line: PointRun) -> list[_Judged]:
    """Builds of one engine, and some of them with work added, timed in rounds as a sweep does."""
    device, settings = devices.resolve("auto"), line.config.measure
    points = [_Judged(build, timer, 0.0) for build, timer in enumerate(line.timers)]
    few = max(len(line.timers) // 4, 1)
    for number, share in enumerate(ADDED):
        print(f"adding {100 * share:.0f} %", flush=True)
        with line.running():
            work = _work(line.timers[0].call, share, device)
        for build in range(number * few, min((number + 1) * few, len(line.timers))):
            slower = measure_timer.Timer(_then(line.timers[build].call, work), device, settings)
            points.append(_Judged(build, slower, share))
    monitor = nvml.monitor(device)
    for number in range(settings.rounds):
        print(f"judgement, round {number + 1}/{settings.rounds} of {len(points)} points", flush=True)
        for point in points:
            with line.running(point.build), locks.device_lock(device):
                point.windows.append(point.timer.window(monitor))
    return points


def _clocks(points: list[_Judged]) -> list[str]:
    return [clock for clock in _series(points[0].windows[0]) if clock != "enqueue_ms"]


def _added(points: list[_Judged]) -> Table:
    """What the added work came to, each call against itself without it."""
    rows = []
    for clock in _clocks(points):
        column = clock.partition(" ")[0]
        alone = {point.build: point.row(clock)[column] for point in points if not point.added}
        for share in ADDED:
            slower = [point for point in points if point.added == share]
            now = float(np.mean([point.row(clock)[column] / alone[point.build] for point in slower]) - 1)
            rows.append({"clock": clock, "asked_percent": 100 * share, "measured_percent": round(100 * now, 2)})
    return rows


def _judgement(points: list[_Judged]) -> Table:
    """What is claimed of points of one engine, and what is found of those with work added; no `engine_id` is seen.

    "single" takes each build as a point, as measure.rebuilds=1 does; "rebuilt" takes the builds in groups of five.
    Found is counted by pairs; not first are the points with work added that are proved not to be the fastest.
    """
    table = []
    for clock in _clocks(points):
        table.append(_claims(clock, "single", [point.row(clock) for point in points]))
        fives = []
        for share in (0.0, *ADDED):
            alike = [point for point in points if point.added == share]
            for start in range(0, len(alike) - 4, 5):
                fives.append(alike[start].row(clock, [each.windows for each in alike[start : start + 5]]))
        if sum(not row["added"] for row in fives) > 1:
            table.append(_claims(clock, "rebuilt", fives))
    return table


def _claims(clock: str, how: str, rows: list[pd.Series]) -> dict[str, Any]:
    column = clock.partition(" ")[0]
    estimates = [ranking.estimate(row, column) for row in rows]
    claimed, best = ranks.proved(estimates), ranks.rank_sets(estimates, range(len(rows)))
    pairs = list(itertools.combinations(range(len(rows)), 2))
    shares, values = [row["added"] for row in rows], [float(row[column]) for row in rows]
    same = [(a, b) for a, b in pairs if shares[a] == shares[b] == 0]
    alike = [value for value, share in zip(values, shares, strict=True) if not share]
    found: dict[str, Any] = {
        "clock": clock,
        "points": how,
        "same_pairs": len(same),
        "spread_percent": round(100 * (max(alike) / min(alike) - 1), 2),
        "cv_percent": round(100 * float(np.std(np.log(alike), ddof=1)), 3),
        "false_by_trt_sweep": sum(claimed[a][b] for a, b in same),
        "false_by_median": sum(values[a] != values[b] for a, b in same),
    }
    for share in ADDED:
        slower = [(a, b) for a, b in pairs if {shares[a], shares[b]} == {0.0, share}]
        found[f"found_{100 * share:.0f}_percent"] = f"{sum(claimed[a][b] for a, b in slower)}/{len(slower)}"
        late = [index for index, each in enumerate(shares) if each == share]
        out = sum(best[index][0] > 1 for index in late)
        found[f"not_first_{100 * share:.0f}_percent"] = f"{out}/{len(late)}"
    return found


def _then(call: clocks.Call, work: clocks.Call) -> clocks.Call:
    def both() -> Any:
        result = call()
        work()
        return result

    return both


def _work(call: clocks.Call, share: float, device: torch.device) -> clocks.Call:
    """Elementwise work that makes a call longer by about this share of it: its size is found by bisection."""
    settings = groups.MeasureConfig(min_s=0.05, warmup_s=0.02, max_s=0.3)

    def took(timed: clocks.Call) -> float:
        window = measure_timer.Timer(timed, device, settings).window(nvml.monitor(device))
        return float(np.median(window.gpu_ms.get(columns.GRAPH, window.latency_ms)))

    def work(bits: float) -> clocks.Call:
        buffer = torch.ones(int(2**bits), device=device)
        return lambda: buffer.mul_(1.0)

    low, high, alone_ms = 0.0, 28.0, took(call)
    while high - low > 0.2:
        middle = (low + high) / 2
        longer = took(_then(call, work(middle))) / alone_ms - 1
        low, high = (middle, high) if longer < share else (low, middle)
    return work(high)
