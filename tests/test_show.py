"""The compact table that a sweep ends with: which columns it has, and what stands in them."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.results import show, table
from trt_sweep.results.console import Console

SPECIALIZATION = "dynamic_shapes_kernel_specialization_strategy"


def headers(rows: pd.DataFrame) -> list[str]:
    return [str(column.header) for column in show.render(rows).columns]


def cells(rows: pd.DataFrame, header: str) -> list[str]:
    (found,) = [list(column.cells) for column in show.render(rows).columns if column.header == header]
    return [str(cell) for cell in found]


def printed(rows: pd.DataFrame) -> str:
    out = io.StringIO()
    show.show(rows, Console(file=out))
    return out.getvalue()


def test_axes_come_first_and_the_status_last(tmp_path):
    put(tmp_path, "a", 5.0, min_block_size=1)
    put(tmp_path, "b", 5.0, min_block_size=5)
    found = headers(table.load(tmp_path))
    assert found[:3] == ["backend", "precision", "min_block_size"] and found[-1] == "status"


def test_a_long_axis_has_a_short_header(tmp_path):
    for name in ("lazy", "eager"):
        put(tmp_path, name, 5.0, **{SPECIALIZATION: name})
    assert cells(table.load(tmp_path), "specialization") == ["lazy", "eager"]


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("load s", {"load_s": 0.25}),
        ("gpu ms [95 %]", {"gpu_ms": 4.0}),
        ("gpu rank", {"gpu_ms": 4.0}),
        ("enqueue ms", {"gpu_ms": 4.0, "enqueue_ms": 0.1}),
        ("memory MiB", {"peak_gpu_bytes": 2**20}),
        ("fake-quant error", {"fake_quant_rel_l2_error": 0.01}),
        ("evaluation", {"evaluation": 0.5}),
        ("health", {"health": "shared", "health_reason": "1 other process"}),
    ],
)
def test_a_column_without_a_value_is_left_out(tmp_path, header, values):
    put(tmp_path, "a", 5.0, health="ok")
    assert header not in headers(table.load(tmp_path))
    put(tmp_path, "b", 5.0, **values)
    assert cells(table.load(tmp_path), header)[0] in ("–", "ok")


def test_what_stands_in_the_cells(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, cuda_graphs=True, engine_id="abcdef123", peak_gpu_bytes=3 * 2**20, engines=2)
    put(tmp_path, "b", 1.0, **TIMED, cuda_graphs=False, engine_id="x", latency_ms_ci_low=math.nan)
    put(tmp_path, "c", status="build_failed", phase="build", reason="no")
    rows = table.load(tmp_path)
    assert cells(rows, "cuda_graphs") == ["true", "false", "–"]
    assert cells(rows, "engine") == ["abcdef", "x", "–"]
    assert cells(rows, "engines") == ["2", "–", "–"]
    assert cells(rows, "latency ms [95 %]") == ["1 [1, 1]", "1", "–"]
    assert cells(rows, "rank") == ["1–2", "1–2", "–"]
    assert cells(rows, "memory MiB") == ["3", "–", "–"]
    assert cells(rows, "status") == ["ok", "ok", "build_failed"]


def test_notes_follow_and_long_lines_are_not_cut(tmp_path):
    put(tmp_path, "a", status="build_failed", phase="build", reason="word " * 60 + "[end]")
    assert "· build_failed in build (points/a): " + "word " * 60 + "[end]" in printed(table.load(tmp_path))
