"""What a sweep costs beside a process for each point, and whether building ahead shows in the times."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep import gpu, table
from trt_sweep.errors import SweepError

MODELS = ("resnet18", "resnet50")
PRECISIONS = ("fp16", "fp32")
CLOCKS = ("gpu_ms", "latency_ms")


def run(folder: Path, build_workers: int) -> None:
    """Run the same points in each way, print the tables and write them into `folder`; raises SweepError without GPU."""
    if gpu.resolve("auto").type != "cuda" or gpu.flavor() is None:
        raise SweepError("the benchmark needs a GPU and Torch-TensorRT; there are none here")
    if any(folder.glob("*")):
        raise SweepError(f"--folder={folder} is not empty: give a new one, since built engines are kept there")
    folder.mkdir(parents=True, exist_ok=True)
    kept = f"cache_dir={(folder / 'engines').absolute()}"
    ways = {
        "one after the other": [],
        f"build_workers={build_workers}": [f"build_workers={build_workers}", kept],
        "built before (cache_dir)": [kept],
    }
    costs, rows = [_by_hand()], {}
    for number, (way, arguments) in enumerate(ways.items()):
        where = folder / f"sweep{number}"
        took_s = _swept(where, arguments)
        rows[way] = table.load(where)
        costs.append(cost(way, rows[way], took_s))
    first, *others = rows
    found: dict[str, Any] = {
        "environment": vars(gpu.environment(gpu.resolve("auto"))),
        "costs": costs,
        "disturbance": [line for way in others for line in compared(rows[first], rows[way], way)],
    }
    (folder / "sweep.json").write_text(json.dumps(found, indent=1) + "\n")
    for name in ("costs", "disturbance"):
        print(f"\n{name}\n{pd.DataFrame(found[name]).to_string(index=False)}")
    print("results:", folder)


def _by_hand() -> dict[str, Any]:
    script = Path(__file__).with_name("by_hand.py")
    points = [(model, precision) for model in MODELS for precision in PRECISIONS]
    start = time.perf_counter()
    for model, precision in points:
        print(f"by hand: {model} {precision}", flush=True)
        command = [sys.executable, str(script), "--model", model, "--precision", precision]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SweepError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    took_s = time.perf_counter() - start
    return {
        "way": "a script for each point",
        "points": len(points),
        "seconds": round(took_s, 1),
        "seconds_per_point": round(took_s / len(points), 1),
    }


def _swept(folder: Path, arguments: list[str]) -> float:
    command = [sys.executable, "-m", "trt_sweep", "-m", f"model={','.join(MODELS)}"]
    command += [f"precision={','.join(PRECISIONS)}", f"hydra.sweep.dir={folder}", *arguments]
    print(" ".join(command[1:]), flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SweepError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start


def cost(way: str, rows: pd.DataFrame, took_s: float) -> dict[str, Any]:
    """Seconds of a sweep by point, eager baselines counted as points, and what its rows say of their builds."""
    built = rows[rows["build_s"].notna() & rows["engine_id"].notna()]
    return {
        "way": way,
        "points": len(rows),
        "seconds": round(took_s, 1),
        "seconds_per_point": round(took_s / len(rows), 1),
        "build_s": round(float(built["build_s"].sum()), 1),
        "engines_stored": int(rows["engines_stored"].fillna(0).sum()),
    }


def compared(before: pd.DataFrame, after: pd.DataFrame, way: str) -> list[dict[str, Any]]:
    """Each point's figure in two sweeps: the ratio, and whether the intervals overlap."""
    found = []
    for row in before.merge(after, on="point_id", suffixes=("", "_after")).to_dict("records"):
        for clock in CLOCKS:
            low, high = f"{clock}_ci_low", f"{clock}_ci_high"
            found.append(
                {
                    "way": way,
                    "point": f"{row['model']} {row['backend']} {row['precision']}",
                    "clock": clock,
                    "alone_ms": round(row[clock], 5),
                    "ratio": round(row[f"{clock}_after"] / row[clock], 4),
                    "overlap": bool(row[low] <= row[f"{high}_after"] and row[f"{low}_after"] <= row[high]),
                }
            )
    return found
