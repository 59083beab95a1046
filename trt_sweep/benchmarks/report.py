"""Measure what a report of many records costs, without a GPU; the records are made up from real ones."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.analysis.report import assembly, html, markdown, recommend
from trt_sweep.benchmarks import parts
from trt_sweep.errors import SweepError
from trt_sweep.measure.collection import gc_disabled
from trt_sweep.results import columns, files, record, store, table
from trt_sweep.results.axes import SETTINGS

BATCHES = (1, 8, 16, 32)
AXES: dict[str, tuple[Any, ...]] = {
    "precision": ("fp32", "tf32", "fp16", "bf16"),
    "min_block_size": tuple(range(1, 51)),
    "optimization_level": (0, 3, 5),
    "cuda_graphs": (False, True),
}
UNSET = (
    *(axis for axis in SETTINGS if axis not in ("backend", *AXES)),
    *("time_at", "base_precision", "timed_with", "engine_reused_from"),
)
SPREAD = 0.002  # relative standard deviation between the rounds of a made-up point


def run(folder: Path, templates: Path, numbers: list[int]) -> None:
    """Measure for these numbers of records, print the table and write it into `folder`.

    `templates` is a folder with real records. The made-up ones are removed. Raises SweepError where `folder` is not
    empty, or `templates` holds no record of a timed engine.
    """
    parts.require_empty(folder)
    found = [vars(store.read(path)) for path in files.records_below([templates])[0]]
    usable = [row for row in found if row["status"] == "ok" and row["latency_ms"] and row["engines"]]
    if not usable:
        raise SweepError(f"--records-of={templates} holds no record of a timed engine: give the folder of a sweep")
    rows = [_measured(folder / str(number), usable, number) for number in numbers]
    store.write_json(folder / "report.json", rows)
    print(pd.DataFrame(rows).to_string(index=False))
    print("results:", folder)


def _measured(folder: Path, templates: list[dict[str, Any]], number: int) -> dict[str, Any]:
    for row in itertools.islice(_made_up(templates), number):
        place = folder / "points" / str(row["point_id"])
        place.mkdir(parents=True)
        (place / record.RECORD).write_text(json.dumps(row, indent=1))
    start = time.perf_counter()
    table.load(folder)
    load_s = time.perf_counter() - start
    start, processor = time.perf_counter(), time.process_time()
    with gc_disabled():
        blocks = assembly.document(table.load(folder), folder, None, recommend.Wanted("latency"), assembly.DELTA)
        page = html.render(blocks)
        markdown.render(blocks)
    report_s, processor_s = time.perf_counter() - start, time.process_time() - processor
    size = len(page.encode())
    shutil.rmtree(folder)
    return {
        "records": number,
        "load_s": round(load_s, 2),
        "report_s": round(report_s, 2),
        "report_cpu_s": round(processor_s, 2),  # which other work on the machine does not change
        "html_mb": round(size / 1e6, 1),
    }


def _made_up(templates: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows of one sweep without end: every combination of the axes, for one model after the other."""
    draw = random.Random(0)
    combinations = list(itertools.product(BATCHES, *AXES.values()))
    for number in itertools.count():
        model, index = divmod(number, len(combinations))
        batch_size, *values = combinations[index]
        axes = dict(zip(AXES, values, strict=True))
        gpu_ms = batch_size * (1 + axes["min_block_size"] / 50) * (0.4 if axes["precision"] == "fp16" else 0.7)
        gpu_ms *= math.exp(draw.gauss(0, SPREAD))
        timed: dict[str, Any] = {
            f"{clock}{end}": gpu_ms * factor * reach
            for clock, factor in (("gpu_ms", 1.0), ("latency_ms", 1.1))
            for end, reach in (("", 1.0), ("_ci_low", 0.99), ("_ci_high", 1.01))
        }
        yield templates[number % len(templates)] | {
            **axes,
            **timed,
            "schema_version": columns.SCHEMA_VERSION,
            "sweep_id": "made-up",
            "point_id": f"{number:016x}",
            "jobs": [number],
            "model": f"model{model}",
            "model_id": f"model{model}",
            "task_id": f"model{model}",
            "backend": "dynamo",
            **dict.fromkeys(UNSET),
            "device": "cuda:0",
            "gpu_uuid": "GPU-made-up",
            "batch_size": batch_size,
            "input_shapes": f"{batch_size}x3x224x224",
            "engine_id": f"{number:016x}",
            "ignored_axes": [],
            "rounds": 3,
            "builds": 1,
            "latency_ms_between_rounds": SPREAD * draw.uniform(0.5, 2),
            "gpu_ms_between_rounds": SPREAD * draw.uniform(0.5, 2),
            "gpu_ms_method": columns.GRAPH,
            "launch_bound": False,
            "build_s": draw.uniform(3, 20),
            "engine_bytes": 20_000_000 + 1000 * number,
        }
