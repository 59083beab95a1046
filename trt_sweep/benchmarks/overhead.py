"""Measure what the harness itself costs, without a GPU: to plan trivial points, and to load many records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.benchmarks import parts
from trt_sweep.errors import SweepError
from trt_sweep.results import table
from trt_sweep.results.record import RECORD

TINY = """
name: tiny
factory: {_target_: torch.nn.Linear, in_features: 8, out_features: 8}
inputs: [{shape: [8]}]
"""


def run(folder: Path, points: list[int], rows: list[int]) -> None:
    """Measure for these numbers of points and records, print both tables and write them into `folder`.

    The sweeps and records made on the way are removed. Raises SweepError where the folder is not empty.
    """
    parts.require_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"sweep": [_sweep(folder / "sweep", number) for number in points]}
    record = next((folder / "sweep" / str(points[-1])).glob(f"points/*/{RECORD}"))
    found["table"] = [_table(folder / "table", record, number) for number in rows]
    (folder / "overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    for name in ("sweep", "table"):
        shutil.rmtree(folder / name, ignore_errors=True)
        print(f"\n{name}\n{pd.DataFrame(found[name]).to_string(index=False)}")
    print("results:", folder)


def _sweep(folder: Path, number: int) -> dict[str, Any]:
    sizes = ",".join(map(str, range(1, number + 1)))
    model = folder / "conf/model/tiny.yaml"
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_text(TINY)
    command = [sys.executable, "-m", "trt_sweep", "--config-dir", str(folder / "conf"), "-m", "model=tiny"]
    command += ["dryrun=true", f"min_block_size={sizes}"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, f"hydra.sweep.dir={folder / str(number)}"], capture_output=True, text=True, check=False
    )
    took_s = time.perf_counter() - start
    if done.returncode:
        raise SweepError(f"a sweep of {number} plans failed: {done.stderr.strip().splitlines()[-1]}")
    return {"points": number, "seconds": round(took_s, 1), "ms_per_point": round(1e3 * took_s / number, 1)}


def _table(folder: Path, record: Path, number: int) -> dict[str, Any]:
    content = json.loads(record.read_text())
    for index in range(number):
        place = folder / str(number) / "points" / f"{index:016x}"
        place.mkdir(parents=True)
        (place / RECORD).write_text(json.dumps(content | {"point_id": place.name}, indent=1))
    start = time.perf_counter()
    loaded = table.load(folder / str(number))
    took_s = time.perf_counter() - start
    shutil.rmtree(folder / str(number))
    return {"records": len(loaded), "load_s": round(took_s, 2), "us_per_record": round(1e6 * took_s / number)}
