"""The front of trade-offs, by hand and against the definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
from test_table import put

from trt_sweep import table
from trt_sweep.report import pareto


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
