"""Measure what profiling costs: whether it changes times, whether runtimes agree, and the price of verbosity.

It runs in parts, each of which takes minutes and leaves a file. `report` combines those that are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.layers import compare
from trt_sweep.benchmarks import parts
from trt_sweep.benchmarks.parts import Found
from trt_sweep.benchmarks.sweep import BRIEF, CLOCKS, compare_points, time_sweep
from trt_sweep.errors import SweepError
from trt_sweep.results import table
from trt_sweep.results.layers import evidence, profiles
from trt_sweep.results.store import write_json

ONE_RUNTIME = ("model=resnet18,googlenet,vit_b_16", "precision=fp16", "runtime=cpp")
POINTS = (*ONE_RUNTIME[:-1], "runtime=cpp,python")
# The timed engine itself is profiled, and not another build of it. That saves a build, and the layers' sum and `gpu_ms`
# are of one engine. Brief windows are enough for a median that is good to a percent.
ITSELF = ("profiling_verbosity=detailed", "profile=true", *BRIEF)
TIMES = ("point_id", "model", "backend", "precision", "runtime")
TABLES = ("disturbance", "inside", "shares", "agreement", "verbosity")
LARGEST = 5  # layers of a point whose shares are shown


def run(folder: Path, asked: str | None) -> None:
    """Run the parts that are asked for (see `parts.run`), and print the report of all that are in the folder.

    Raises SweepError without a GPU.
    """
    parts.run(folder, asked, PARTS, folder)
    print(report(folder))
    print("results:", folder)


def report(folder: Path) -> str:
    """Return the tables of all parts in a folder as text, and write them into its `profile.json`.

    Raises SweepError where there is no part.
    """
    found = parts.load(folder, PARTS)
    tables = {name: [row for part in found.values() for row in part.get(name, [])] for name in TABLES}
    if {"without", "with"} <= found.keys():
        before, after = (pd.DataFrame(found[name]["times"]) for name in ("without", "with"))
        tables["disturbance"] = compare_points(before, after, "profile=true")
    tables = {name: rows for name, rows in tables.items() if rows}
    write_json(folder / "profile.json", tables | {"parts": {name: _about(part) for name, part in found.items()}})
    return "\n\n".join([*(parts.format_table(*each) for each in tables.items()), *parts.differences(found)])


def _about(part: Found) -> Found:
    return {name: part[name] for name in ("took_s", "environment")}


def _without(folder: Path) -> Found:
    """one engine, ten, and a transformer in both runtimes, not looked into: times to set those of `with` against"""
    return {"times": _times(_swept(folder, "without", *POINTS, _engines(folder)))}


def _with(folder: Path) -> Found:
    """the same points looked into: whether their times moved, what their layers take, and whether the runtimes agree"""
    rows = _swept(folder, "with", *POINTS, "profile=true", _engines(folder))
    return {"times": _times(rows), **_looked_into(folder / "with", rows)}


def _again(folder: Path) -> Found:
    """the points of the C++ runtime looked into once more: what two runs of one runtime differ by"""
    if not (folder / "with").is_dir():
        raise SweepError(f"--part=again sets its layers against those of --part=with, and {folder} has none: run both")
    rows = _swept(folder, "again", *ONE_RUNTIME, "profile=true", _engines(folder))
    first = by_model(folder / "with", table.load(folder / "with"), "cpp")
    return {"agreement": agreement("cpp, cpp again", first, by_model(folder / "again", rows, "cpp"))}


def _large(folder: Path) -> Found:
    """resnet50 at batch 32 looked into: what the layers' sum is worth where reporting adds little to each"""
    what = ("model=resnet50", "precision=fp16", "batch_size=32")
    return _looked_into(folder / "large", _swept(folder, "large", *what, *ITSELF))


def _onnx(folder: Path) -> Found:
    """resnet18 in TensorRT's own runtime looked into: layers report there as they do in the others"""
    what = ("model=resnet18", "precision=fp16", "backend=onnx")
    return _looked_into(folder / "onnx", _swept(folder, "onnx", *what, *ITSELF))


def _verbosity(folder: Path) -> Found:
    """one network built to tell nothing, names and everything: whether that costs size, build or speed"""
    # The first build of a process takes longer than those after it, so the two that matter come later.
    what = ("model=resnet50", "precision=fp16", "profiling_verbosity=none,layer_names_only,detailed")
    return {"verbosity": verbosity(_swept(folder, "verbosity", *what))}


PARTS: dict[str, Callable[[Path], Found]] = {
    "without": _without,
    "with": _with,
    "again": _again,
    "large": _large,
    "onnx": _onnx,
    "verbosity": _verbosity,
}


def _engines(folder: Path) -> str:
    """Return the argument that makes all sweeps use the same engines, so that these explain no difference."""
    return f"cache_dir={(folder / 'engines').absolute()}"


def _swept(folder: Path, name: str, *arguments: str) -> pd.DataFrame:
    time_sweep([*arguments, "baselines=false", f"hydra.sweep.dir={folder / name}"])
    return table.load(folder / name)


def _plain(rows: pd.DataFrame, names: list[str], digits: int) -> list[Found]:
    found: list[Found] = json.loads(rows[names].to_json(orient="records", double_precision=digits))
    return found


def _times(rows: pd.DataFrame) -> list[Found]:
    """Return the columns that `compare_points` takes."""
    return _plain(rows, [*TIMES, *(f"{clock}{end}" for clock in CLOCKS for end in ("", "_ci_low", "_ci_high"))], 6)


def _looked_into(folder: Path, rows: pd.DataFrame) -> Found:
    profiled = rows[rows["profile_engine_id"].notna()]
    told = rows[rows["profile_engine_id"].notna() | rows["profile_reason"].notna()]
    runtimes = (by_model(folder, profiled, runtime) for runtime in ("cpp", "python"))
    agreed = agreement("cpp, python", *runtimes)
    return {"inside": inside(told), "shares": shares(folder, profiled), "agreement": agreed}


def inside(rows: pd.DataFrame) -> list[Found]:
    """Return the profile of each point, in ms: the layers' sum beside the GPU's time, and where the time went.

    Where profiling failed, the reason.
    """
    names = ["model", "backend", "batch_size", "runtime", "engines", "layers", "layers_ms", "gpu_ms", "layers_over_gpu"]
    names += ["moves_ms", "engines_gpu_ms", "fallback_gpu_ms", "traced_idle_ms", "latency_ms", "layer_precisions"]
    names += ["profile_reason"] * bool(rows["profile_reason"].notna().any())
    return _plain(rows, names, 4)


def shares(folder: Path, rows: pd.DataFrame) -> list[Found]:
    """Return the slowest layers of each point: their times in ms, and their shares of the sum of all."""
    found = []
    for point in rows.to_dict("records"):
        top = profiles.load(folder / point["folder"]).nlargest(LARGEST, "share")
        top["layer"] = [f"{row['engine']}.{row['index']}" for row in top.to_dict("records")]
        top["name"] = [evidence.shown(name, 40) for name in top["name"]]
        labels = {name: point[name] for name in ("model", "backend", "runtime")}
        columns = ["layer", "name", "median_ms", "ci_low", "ci_high", "share"]
        found += [labels | row for row in _plain(top, columns, 5)]
    return found


def by_model(folder: Path, rows: pd.DataFrame, runtime: str) -> dict[str, Path]:
    """Return the folders of the points of a runtime that were profiled, by model."""
    found = rows[(rows["runtime"] == runtime) & rows["profile_engine_id"].notna()]
    return {model: folder / name for model, name in zip(found["model"], found["folder"], strict=True)}


def agreement(runs: str, here: Mapping[str, Path], there: Mapping[str, Path]) -> list[Found]:
    """Compare two `runs` of the same engines layer by layer; `here` and `there` give their points' folders by model.

    `layers_differ_percent` is the standard deviation between a layer's times in the two runs.
    `intervals_that_overlap` counts the layers whose intervals do, although these leave out the spread between runs.
    """
    found = []
    for model in (model for model in here if model in there):
        one, other = profiles.load(here[model]), profiles.load(there[model])
        same = one["name"].tolist() == other["name"].tolist()
        found.append({"model": model, "runs": runs, "layers": len(one), "same_layers": same, **_agree(one, other)})
    return found


def _agree(one: pd.DataFrame, other: pd.DataFrame) -> Found:
    """Compare the layers that both runs have; return nothing where there are none."""
    there = {(row["engine"], row["name"]): row for row in other.to_dict("records")}
    pairs = [(row, there[key]) for row in one.to_dict("records") if (key := (row["engine"], row["name"])) in there]
    if not pairs:
        return {}
    moved = [math.log(a["median_ms"] / b["median_ms"]) for a, b in pairs if min(a["median_ms"], b["median_ms"]) > 0]
    return {
        "largest_share_difference": round(max(abs(a["share"] - b["share"]) for a, b in pairs), 4),
        "largest_difference_ms": round(max(abs(a["median_ms"] - b["median_ms"]) for a, b in pairs), 5),
        "sum_ratio": round(float(one["median_ms"].sum() / other["median_ms"].sum()), 3),
        "layers_differ_percent": round(100 * math.sqrt(2) * compare.between_runs(moved), 1),
        "intervals_that_overlap": sum(a["ci_low"] <= b["ci_high"] and b["ci_low"] <= a["ci_high"] for a, b in pairs),
    }


def verbosity(rows: pd.DataFrame) -> list[Found]:
    """Return size, build time and GPU time of each engine, by its profiling verbosity."""
    names = ["model", "profiling_verbosity", "engine_id", "engine_bytes", "build_s", "gpu_ms", "gpu_ms_ci_low"]
    names += ["gpu_ms_ci_high", "gpu_rank", "gpu_rank_worst"]
    return _plain(rows[rows["profiling_verbosity"].notna()], names, 6)
