"""Whether looking inside disturbs what was timed, whether the runtimes agree, and what detailed verbosity costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep import gpu, layers, table
from trt_sweep.bench.sweep import compared, timed
from trt_sweep.errors import SweepError

MODELS = "resnet18,googlenet,vit_b_16"


def run(folder: Path) -> None:
    """Sweep in each way, print the tables and write them into `folder`; raises SweepError without a GPU."""
    if gpu.resolve("auto").type != "cuda" or gpu.flavor() is None:
        raise SweepError("the benchmark needs a GPU and Torch-TensorRT; there are none here")
    if any(folder.glob("*")):
        raise SweepError(f"--folder={folder} is not empty: give a new one")
    points = ("precision=fp16", "runtime=cpp,python", f"model={MODELS}")
    ways = {
        "without": points,
        "with": (*points, "profile=true"),
        "large": ("model=resnet50", "precision=fp16", "batch_size=32", "profile=true"),
        "onnx": ("model=resnet18", "precision=fp16", "backend=onnx", "profile=true"),
        "verbosity": ("+sweep=profiling_verbosity",),
    }
    rows = {}
    for name, arguments in ways.items():
        timed([*arguments, f"hydra.sweep.dir={folder / name}"])
        rows[name] = table.load(folder / name)
    found = {
        "disturbance": compared(rows["without"], rows["with"], "profile=true"),
        "inside": inside(pd.concat([rows["with"], rows["large"], rows["onnx"]])),
        "agreement": agreement(folder / "with", rows["with"]),
        "verbosity": verbosity(rows["verbosity"]),
    }
    about = {"environment": vars(gpu.environment(gpu.resolve("auto")))}
    (folder / "profile.json").write_text(json.dumps(about | found, indent=1) + "\n")
    for name, listed in found.items():
        print(f"\n{name}\n{pd.DataFrame(listed).to_string(index=False)}")
    print("results:", folder)


def inside(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the profiles say of each point: the layers' sum beside the GPU's time, and who takes it, in ms."""
    names = ["model", "backend", "batch_size", "runtime", "engines", "layers", "layers_ms", "gpu_ms", "layers_over_gpu"]
    names += ["moves_ms", "engines_gpu_ms", "fallback_gpu_ms", "traced_idle_ms", "latency_ms", "layer_precisions"]
    profiled = rows[rows["profile_engine_id"].notna()]
    plain = profiled[names].astype(object).where(profiled[names].notna(), None)
    return [{str(name): _short(value) for name, value in row.items()} for row in plain.to_dict("records")]


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def agreement(folder: Path, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Layer by layer, the two runtimes of one engine: how far shares differ, and how many intervals overlap."""
    found = []
    profiled = rows[rows["profile_engine_id"].notna()].drop_duplicates(["model", "runtime"])
    for model, both in profiled.groupby("model", sort=False):
        by_runtime = both.set_index("runtime")["folder"]
        if set(by_runtime.index) != {"cpp", "python"}:
            continue
        cpp, python = (layers.load(folder / by_runtime[name]) for name in ("cpp", "python"))
        overlap = (cpp["ci_low"] <= python["ci_high"]) & (python["ci_low"] <= cpp["ci_high"])
        found.append(
            {
                "model": model,
                "layers": len(cpp),
                "same_layers": cpp["name"].tolist() == python["name"].tolist(),
                "largest_share_difference": round(float((cpp["share"] - python["share"]).abs().max()), 4),
                "intervals_that_overlap": int(overlap.sum()),
                "sum_cpp_over_python": round(float(cpp["median_ms"].sum() / python["median_ms"].sum()), 3),
            }
        )
    return found


def verbosity(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Size, build and time of each engine by what it tells."""
    names = ["model", "profiling_verbosity", "engine_id", "engine_bytes", "build_s", "gpu_ms", "gpu_ms_ci_low"]
    points = rows[rows["profiling_verbosity"].notna()][[*names, "gpu_ms_ci_high", "gpu_rank", "gpu_rank_worst"]]
    return json.loads(points.to_json(orient="records"))  # type: ignore[no-any-return]
