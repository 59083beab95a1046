"""Measure what a sweep costs beside a shell loop over Torch-TensorRT's perf_run.py, and what its short cuts save.

It runs in parts, each of which takes minutes and leaves a file. `report` combines those that are there.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from trt_sweep.benchmarks import parts
from trt_sweep.benchmarks.parts import Found
from trt_sweep.errors import SweepError
from trt_sweep.machine import free_gpu
from trt_sweep.points.phases import START
from trt_sweep.results import table
from trt_sweep.sweep.sweep import SECONDS

LEVELS, SIZES = range(6), (1, 5)  # of the points that are run in each way
POINTS = ("model=resnet50", "precision=fp16", f"optimization_level={','.join(map(str, LEVELS))}", "min_block_size=1,5")
BUILDS = ("model=resnet18,resnet50", "precision=fp16,fp32")
PARTITIONS = (1, 2, 4, 5, 6, 8, 10, 12, 15, 20, 22, 24, 25, 26, 30, 40, 45, 46, 100, 300)
BRIEF = ("measure.max_s=0.3", "measure.visits=6")
CLOCKS = ("gpu_ms", "latency_ms")
# Phases that any way to measure a point needs, or waits for. The rest of the time is the harness's own.
WORK = ("reference", "export", "partition", "build", "waiting", "accuracy", "warmup", "timing")


@dataclasses.dataclass(frozen=True)
class Bench:
    """Hold the settings of all parts: where results go, the path of perf_run.py, and how many processes build ahead."""

    folder: Path
    perf_run: Path | None
    build_workers: int

    @property
    def engines(self) -> str:
        """Return the argument that keeps engines for later sweeps."""
        return f"cache_dir={(self.folder / 'engines').absolute()}"


def run(folder: Path, asked: str | None, perf_run: Path | None, build_workers: int) -> None:
    """Run the parts that are asked for (see `parts.run`), and print the report of all that are in the folder.

    Raises SweepError without a GPU, or where a part lacks what it needs.
    """
    parts.run(folder, asked, PARTS, Bench(folder, perf_run, build_workers), extra=JOBLIB)
    print(report(folder))


def report(folder: Path) -> str:
    """Return the tables of all parts in a folder as text: the cost of each way, and what else was found."""
    found = parts.load(folder, PARTS)
    costs = pd.DataFrame([row for part in found.values() for row in part.get("costs", [])])
    loop = next((row["seconds_per_point"] for row in found.get("perf_run", {}).get("costs", [])), None)
    if loop is not None:
        costs["of_loop"] = [
            round(row["seconds_per_point"] / loop, 3) if row["what"] == _what(POINTS) else None
            for row in costs.to_dict("records")
        ]
    texts = [parts.format_table("costs", costs), *parts.differences(found)]
    for part in found.values():
        texts += [parts.format_table(name, part[name]) for name in part if name in OTHERS]
    return "\n\n".join(texts)


OTHERS = ("disturbance", "distinct")


def _what(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments)


def _perf_run(bench: Bench) -> Found:
    """a process of perf_run.py for each point"""
    script = bench.perf_run
    if script is None or not script.is_file():
        raise SweepError(
            "--part=perf_run needs --perf-run=PATH: tools/perf/perf_run.py in a checkout of Torch-TensorRT; or leave "
            "the part out"
        )
    seconds, medians = [], []
    for level, size in itertools.product(LEVELS, SIZES):
        result = (bench.folder / "perf_run" / f"{level}-{size}.csv").absolute()
        command = [sys.executable, script.name, "--model_torch=resnet50", "--precision=fp16", "--backends=dynamo"]
        command += ["--inputs=(1, 3, 224, 224)", f"--optimization_level={level}", f"--min_block_size={size}"]
        took_s = _timed([*command, f"--report={result}"], script.parent)
        if not result.is_file():
            raise SweepError(f"{' '.join(command)} wrote no report: try it by hand in {script.parent}")
        seconds.append(took_s)
        medians.append(float(pd.read_csv(result)["Median-Latency(ms)"].iloc[0]))
    return {
        "costs": [
            {
                **_cost("perf_run.py, a process each", POINTS, len(seconds), sum(seconds)),
                "latency_ms": round(float(np.median(medians)), 4),
                "latency_half_width_percent": round(100 * _expected(medians), 1),
            }
        ],
        "seconds": seconds,
        "medians_ms": medians,
    }


def _expected(repeats: list[float]) -> float:
    """Return the relative half-width of the interval in which the next repeat is expected (95 %)."""
    spread = float(np.std(np.log(repeats), ddof=1))
    number = len(repeats)
    return float(special.stdtrit(number - 1, 0.975)) * spread * math.sqrt(1 + 1 / number)


def _sweep(bench: Bench) -> Found:
    """one sweep"""
    return {"costs": [_swept(bench, "sweep", "a sweep", POINTS, bench.engines)]}


def _brief(bench: Bench) -> Found:
    """one sweep of what the loop does: without eager baselines, and timed for less long"""
    way = ("measure.max_s=0.3", "baselines=false")
    return {"costs": [_swept(bench, "brief", "a sweep, brief, no baselines", POINTS, *way)]}


def _no_reuse(bench: Bench) -> Found:
    """one sweep that builds each point"""
    return {"costs": [_swept(bench, "no_reuse", "a sweep, reuse=false", POINTS, "reuse=false")]}


def _again(bench: Bench) -> Found:
    """the sweep again, on its engines"""
    if not any((bench.folder / "engines").glob("*/*.zip")):
        raise SweepError(f"--part=again takes its engines from --part=sweep, and {bench.folder} has none: run both")
    return {"costs": [_swept(bench, "again", "the same again, cache_dir", POINTS, bench.engines)]}


def _ahead(bench: Bench) -> Found:
    """other points with and without builds beside them"""
    ways = {"alone": "build_workers=0", "ahead": f"build_workers={bench.build_workers}"}
    costs = [_swept(bench, f"ahead/{name}", argument, BUILDS, argument) for name, argument in ways.items()]
    before, after = (table.load(bench.folder / "ahead" / name) for name in ways)
    return {"costs": costs, "disturbance": compare_points(before, after, ways["ahead"])}


def _partitions(bench: Bench) -> Found:
    """twenty values of min_block_size"""
    what = ("model=googlenet", "precision=fp16", f"min_block_size={','.join(map(str, PARTITIONS))}")
    cost = _swept(bench, "partitions", "brief windows", what, *BRIEF, f"build_workers={bench.build_workers}")
    rows = table.load(bench.folder / "partitions").query("backend == 'dynamo'")
    distinct = {"values": len(rows), "partitions": rows["partition_id"].nunique(), "builds": cost["builds"]}
    return {"costs": [cost | {"what": "googlenet, 20 values"}], "distinct": [distinct]}


def _one_gpu(bench: Bench) -> Found:
    """twelve builds by joblib, one at a time"""
    return {"costs": [_jobs(bench, "one_gpu", 1)]}


def _two_gpus(bench: Bench) -> Found:
    """twelve builds by joblib, two at a time"""
    if len(free_gpu.visible_gpus()) < 2:
        raise SweepError("--part=two_gpus needs two GPUs: leave it out here")
    return {"costs": [_jobs(bench, "two_gpus", 2)]}


def _jobs(bench: Bench, name: str, number: int) -> dict[str, Any]:
    what = ("model=resnet18", "precision=fp16", f"batch_size={','.join(map(str, range(1, 13)))}")
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={number}", "build_workers=1")
    return _swept(bench, name, f"joblib, {number} at a time", what, *launcher, *BRIEF)


PARTS: dict[str, Callable[[Bench], Found]] = {
    "perf_run": _perf_run,
    "sweep": _sweep,
    "again": _again,
    "no_reuse": _no_reuse,
    "brief": _brief,
    "ahead": _ahead,
    "partitions": _partitions,
    "one_gpu": _one_gpu,
    "two_gpus": _two_gpus,
}
JOBLIB = ("one_gpu", "two_gpus")  # not run unless asked for: they need the extra [joblib], and the second two GPUs


def time_sweep(arguments: list[str]) -> float:
    """Run a sweep with these arguments; return its wall time in seconds, and raise SweepError where it fails."""
    return _timed([sys.executable, "-m", "trt_sweep", "-m", *arguments])


def _timed(command: list[str], where: Path | None = None) -> float:
    print(" ".join(command[1:]), flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise SweepError(f"{' '.join(command)} failed: {said[-1] if said else done.returncode}")
    return time.perf_counter() - start


def _swept(bench: Bench, name: str, way: str, what: tuple[str, ...], *more: str) -> dict[str, Any]:
    folder = bench.folder / name
    took_s = time_sweep([*what, *more, f"hydra.sweep.dir={folder}"])
    rows = table.load(folder)
    points = rows[rows["jobs"].map(bool)]
    built = points[points["build_s"].notna()]
    kept = folder / SECONDS
    spent = json.loads(kept.read_text()) if kept.is_file() else {}
    return {
        **_cost(way, what, len(points), took_s),
        "builds": len(built),
        "build_s": round(float(built["build_s"].sum()), 1),
        "from_store": int(points["engines_stored"].fillna(0).sum()),
        "harness_percent": round(overhead(took_s, spent), 1) if spent else None,
        **{clock: round(float(points[clock].median()), 4) for clock in CLOCKS},
        **{f"{clock[:-3]}_half_width_percent": round(100 * _half_width(points, clock), 1) for clock in CLOCKS},
    }


def _cost(way: str, what: tuple[str, ...], points: int, took_s: float) -> dict[str, Any]:
    per_point = round(took_s / points, 2)
    return {
        "what": _what(what),
        "way": way,
        "points": points,
        "seconds": round(took_s, 1),
        "seconds_per_point": per_point,
    }


def _half_width(rows: pd.DataFrame, clock: str) -> float:
    return float(((rows[f"{clock}_ci_high"] - rows[f"{clock}_ci_low"]) / 2 / rows[clock]).astype(float).median())


def overhead(took_s: float, spent: dict[str, float]) -> float:
    """Return the percentage of a sweep's wall time that was no `WORK` on a point, without its process's start."""
    after_start = took_s - spent.get(START, 0.0)
    return 100 * (1 - sum(spent.get(name, 0.0) for name in WORK) / after_start)


def compare_points(before: pd.DataFrame, after: pd.DataFrame, way: str) -> list[dict[str, Any]]:
    """Compare each point's times in two sweeps: the ratio, and whether the intervals overlap."""
    found = []
    labels = [name for name in ("model", "backend", "precision", "runtime") if name in before]
    for row in before.merge(after, on="point_id", suffixes=("", "_after")).to_dict("records"):
        for clock in CLOCKS:
            if pd.isna(row[clock]) or pd.isna(row[f"{clock}_after"]):
                continue
            low, high = f"{clock}_ci_low", f"{clock}_ci_high"
            found.append(
                {
                    "way": way,
                    "point": " ".join(row[name] for name in labels if not pd.isna(row[name])),
                    "clock": clock,
                    "alone_ms": round(row[clock], 5),
                    "ratio": round(row[f"{clock}_after"] / row[clock], 4),
                    "overlap": bool(row[low] <= row[f"{high}_after"] and row[f"{low}_after"] <= row[high]),
                }
            )
    return found
