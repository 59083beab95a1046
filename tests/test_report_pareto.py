"""The front of trade-offs, by hand and against the definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
from test_ranking import TIMED
from test_table import put

from trt_sweep.analysis.report import pareto, sections, tables
from trt_sweep.analysis.report.document import Grid
from trt_sweep.analysis.report.pairs import Scatter
from trt_sweep.results import table


def test_front_by_hand():
    rows = pd.DataFrame({"time": [1.0, 2.0, 3.0, 2.0, None], "build": [9.0, 5.0, 5.0, 5.0, 1.0]}, index=list("abcde"))
    found = pareto.front(rows, ["time", "build"])
    assert found[found].index.tolist() == ["a", "b", "d"]  # c is beaten, b and d are alike, e is not known


def test_front_is_what_the_definition_says():
    random = np.random.default_rng(0)
    for width in (1, 2, 4):
        values = random.integers(0, 8, (60, width)).astype(float)
        beaten = [any((a <= b).all() and (a < b).any() for a in values) for b in values]
        rows = pd.DataFrame(values, columns=[f"m{index}" for index in range(width)])
        assert (~pareto.front(rows, list(rows))).tolist() == beaten


def test_only_times_that_are_told_apart_count(tmp_path):
    for name, time, memory in (("fastest", 1.0, 3), ("middle", 1.004, 2), ("slowest", 1.008, 1), ("beaten", 1.5, 2)):
        put(tmp_path, name, time, **TIMED, peak_gpu_bytes=memory)
    rows = table.load(tmp_path)
    scatter = Scatter(rows, "latency_ms")
    figures = ["latency_ms", pareto.MEMORY]
    assert pareto.front(rows, figures).tolist() == [True, True, True, False]
    # The middle one is not told apart from either; what beats it does not beat the fastest.
    assert pareto.front(rows, figures, scatter).tolist() == [True, False, True, False]


def test_a_time_without_an_interval_is_taken_as_it_is(tmp_path):
    for name, time, memory in (("a", 1.0, 2), ("b", 1.001, 1), ("c", 1.002, 2)):
        put(tmp_path, name, time, peak_gpu_bytes=memory, latency_ms_ci_low=None, latency_ms_ci_high=None)
    rows = table.load(tmp_path)
    found = pareto.front(rows, ["latency_ms", pareto.MEMORY], Scatter(rows, "latency_ms"))
    assert found.tolist() == [True, True, False]


def test_one_measurement_is_one_line_of_the_front(tmp_path):
    for size, source in ((1, None), (5, "b1"), (22, "b1")):
        of_engine = {"engine_id": "e", "build_s": None if source else 2.0, "timed_with": source}
        put(tmp_path, f"b{size}", 1.0, **TIMED, **of_engine, min_block_size=size)
    put(tmp_path, "other", 1.2, **TIMED, engine_id="f", build_s=1.0, min_block_size=45)
    (place,) = sections.split(table.load(tmp_path), 0.02)
    assert tables.fronts(place).all()
    (grid,) = [block for block in tables.front_grid(place) if isinstance(block, Grid)]
    assert [row[0] for row in grid.rows] == [
        "m dynamo fp32 min_block_size=1, 5, 22",
        "m dynamo fp32 min_block_size=45",
    ]


def test_one_engine_has_one_build_time(tmp_path):
    for index, seconds in enumerate((3.5, 2.9, 3.2, None)):
        put(tmp_path, f"p{index}", 1.0, engine_id="e", build_s=seconds)
    put(tmp_path, "other", 1.0, engine_id="f", build_s=9.0)
    put(tmp_path, "elsewhere", 1.0, engine_id="e", build_s=7.0, sweep_id="t")
    assert pareto.build_seconds(table.load(tmp_path)).tolist() == [3.2, 3.2, 3.2, 3.2, 9.0, 7.0]


def test_build_seconds(tmp_path):
    put(tmp_path, "built", 1.0, build_s=7.0)
    put(tmp_path, "reuses", 1.0, engine_reused_from="built")
    put(tmp_path, "eager", 1.0, backend="eager")
    put(tmp_path, "unknown", 1.0, engine_reused_from="gone")
    rows = table.load(tmp_path)
    assert pareto.build_seconds(rows)[:3].tolist() == [7.0, 7.0, 0.0]
    assert pareto.build_seconds(rows).isna().tolist() == [False, False, False, True]


def test_figures_that_nobody_has_do_not_count(tmp_path):
    put(tmp_path, "a", 1.0, build_s=7.0)
    put(tmp_path, "b", 2.0, build_s=7.0, gpu_ms=1.0)
    rows = table.load(tmp_path)
    assert pareto.metrics(rows) == ["latency_ms", "build_s"]
    assert pareto.metrics(rows[rows["gpu_ms"].notna()]) == ["gpu_ms", "build_s"]
    assert pareto.MEMORY in pareto.metrics(rows.assign(**{pareto.MEMORY: 1.0}))
