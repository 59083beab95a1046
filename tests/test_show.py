"""The compact table that a sweep ends with: which columns it has, and what stands in them."""

from __future__ import annotations

import io
import itertools
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.errors import SweepError
from trt_sweep.results import show, table
from trt_sweep.results.console import Console

SPECIALIZATION = "dynamic_shapes_kernel_specialization_strategy"


def headers(rows: pd.DataFrame) -> list[str]:
    return [str(column.header) for column in show.fitted(rows)[0].columns]


def headers_at(rows: pd.DataFrame, width: int) -> list[str]:
    """Return the names that stand in the header at this width, however they are broken or share a column."""
    whole = headers(rows)
    heads = [str(column.header).replace("_\n", "_") for column in show.fitted(rows, width)[0].columns]
    joined = [(head, head.replace("\n", " ")) for head in heads]
    return [name for head, one in joined for name in ([one] if one in whole else head.split("\n"))]


def cells(rows: pd.DataFrame, header: str) -> list[str]:
    (found,) = [list(column.cells) for column in show.fitted(rows)[0].columns if str(column.header) == header]
    return [str(cell) for cell in found]


def printed(rows: pd.DataFrame, columns: str | None = None) -> str:
    out = io.StringIO()
    show.show(rows, Console(file=out), columns=columns)
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
        ("load", {"load_s": 0.25}),
        ("gpu", {"gpu_ms": 4.0}),
        ("enqueue", {"gpu_ms": 4.0, "enqueue_ms": 0.1}),
        ("memory", {"peak_gpu_bytes": 2**20}),
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
    assert cells(rows, "latency") == ["1 [1, 1]", "1", "–"]
    assert cells(rows, "rank") == ["1–2", "1–2", "–"]
    assert cells(rows, "memory") == ["3", "–", "–"]
    assert cells(rows, "status") == ["ok", "ok", "build_failed"]


def settings(folder: Path) -> pd.DataFrame:
    """Write a sweep of four axes over two models, one engine of which was timed once for three levels."""
    fields = {"precision": ("fp16", "fp32"), "runtime": ("cpp", "python"), "optimization_level": (0, 3, 5)}
    for model, slow in (("resnet18", 1.0), ("squeezenet1_1", 2.0)):
        for number, values in enumerate(itertools.product(*fields.values())):
            name = f"{model} {number}"
            row = dict(zip(fields, values, strict=True)) | {"model": model, "model_id": model, "min_block_size": 5}
            row |= {"timed_with": f"{model} {number // 3 * 3}"} if number % 3 else {"build_s": 12.5}
            row |= {"gpu_ms": slow, "rel_l2_error": 1e-4, "engines": 1, "peak_gpu_bytes": 2**30, "first_call_ms": 12.3}
            put(folder, name, slow + 1 / (number // 3 + 1), **TIMED, **row)
    failed = {"precision": "bf16", "runtime": "cpp", "min_block_size": 5, "optimization_level": 5}
    put(folder, "no", model="resnet18", status="build_failed", phase="build", reason="no", **failed)
    return table.load(folder)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_axes_are_whole_and_what_is_hidden_is_named(tmp_path, monkeypatch, width):
    rows = settings(tmp_path)
    everything = headers(rows)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = printed(rows).splitlines()
    rule = next(place for place, line in enumerate(lines) if line.startswith("──"))
    body = list(itertools.takewhile(lambda line: not line.startswith("latency"), lines[rule + 1 :]))
    assert max(map(len, lines[: rule + 1 + len(body)])) <= width
    assert "build_failed" in "".join(line.split()[-1] for line in body)
    models = [line.strip() for line in body if re.fullmatch(r"\w+ *", line)]
    assert models == (["resnet18", "squeezenet1_1"] if width == 80 else [])
    body = [line for line in body if line[0] != " " and line.strip() not in models]
    assert len(body) == 2 * 4 + 1  # one for each engine, and the point that failed
    for line in body[:4]:
        assert re.match(r"(resnet18 +)?dynamo +fp(16|32) +0, 3, 5 +(cpp|python) +[\d.]+", line), line
        assert line.split()[-1] == "ok"
    latency = 5 - 2 * bool(models)
    assert [float(re.split(r" {2,}", line)[latency].split()[0]) for line in body[:4]] == [1.25, 1.333, 1.5, 2]
    assert body[4].split()[2 - bool(models)] == "bf16"
    header = headers_at(rows, width)
    hidden = next((line for line in lines if line.startswith("hidden: ")), "hidden: ;")
    named = hidden.removeprefix("hidden: ").split(";")[0].split(", ")
    assert (width == 200) == (named == [""])
    assert [name for name in everything if "_" not in name and name not in header] == [
        n for n in named if n not in ("", "intervals")
    ]
    assert any(" [" in line for line in body) == ("intervals" not in named)


H200 = Path(__file__).parents[1] / "outputs/reference/h200"


@pytest.mark.parametrize("names", [["settings"], ["settings", "quantization", "frontends", "tune"]], ids=len)
def test_what_answers_is_there_however_many_axes_there_are(names):
    rows = table.load(*(H200 / name for name in names))
    every = headers(rows)
    axes = every[: every.index("latency")]
    for width in (60, 80, 120, 200):
        found, below = show.fitted(rows, width)
        out = io.StringIO()
        Console(file=out).print(found)
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        said = headers_at(rows, width)
        hidden = re.findall(r"(\w+) \(axis\)", below[-1])
        assert sorted([*said, *hidden]) == sorted([*axes, *said[said.index("latency") :]])
        assert {"model", "backend", "precision", "latency", "vs eager", "status"} <= {*said} and said[-1] == "status"
        assert (hidden == []) == (width >= (80 if len(names) == 1 else 200))
        assert "error" in said or width < 80 or hidden
        first = next(line for line in lines if "0.1943" in line)
        assert "13.08×" in first and first.split()[-1] == "ok"
        alone = [line.strip() for line in lines].count("squeezenet1_1")
        assert alone == (str(found.columns[0].header) == "model\nbackend\nprecision")
        assert alone or first.startswith("resnet18")


@pytest.mark.parametrize("name", ["h200/frontends", "h200/quantization", "h200_rtx1.6/quantization", "h200/settings"])
def test_what_a_choice_needs_is_there_at_80_columns_and_rows_are_told_apart(name):
    rows = table.load(H200.parent / name)
    found, _ = show.contents(rows, 80)
    needed = [name for name in ("latency", "vs eager", "rank", "error") if name in headers(rows)]
    assert {*needed} <= {*found.columns}
    model, told = "", []
    for label, *values in list(zip(*found.axes, strict=True))[1:]:
        first, *point = label.split("\n")
        model, point = (first, point) if first in {*rows["model"]} else (model, [first, *point])
        told.append((model, *point, *values))
    assert len({*told}) == len(told)


def test_the_head_gpu_is_said_to_be_the_column(tmp_path):
    put(tmp_path, "a", 5.0, gpu_ms=4.0)
    assert "latency, gpu in ms; gpu: gpu_ms, the GPU's own work" in printed(table.load(tmp_path))
    assert "gpu:" not in printed(table.load(tmp_path), columns="engines")


def test_nothing_is_hidden_in_a_pipe_nor_where_columns_are_asked_for(tmp_path, monkeypatch):
    rows = settings(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "hidden" not in printed(rows) and "1.25 [1.25, 1.25]" in printed(rows)
    for width in ("80", "0", "wide"):
        monkeypatch.setenv("COLUMNS", width)
        assert ("hidden" in printed(rows)) == (width == "80")
        assert "hidden" not in printed(rows, columns="all")
    found, _ = show.fitted(rows, 80, columns="first call,build_s,samples,runtime")
    assert [str(column.header) for column in found.columns][5:] == ["first call", "build_s", "samples", "status"]
    rows["build_s"] = None
    found, _ = show.contents(rows, columns="build")
    assert {*found.columns["build"][1:]} == {"–"}
    with pytest.raises(SweepError, match="--columns=latencies is not known: use all, or a column such as latency"):
        show.fitted(rows, columns="latencies")


@pytest.mark.parametrize("axis", ["streams", "batch_size"])
def test_throughput_is_shown_where_points_work_on_several_items(tmp_path, axis):
    for number in (1, 2):
        put(tmp_path, f"s{number}", 5.0, **{axis: number}, throughput_per_s=100.0 * number)
    rows = table.load(tmp_path)
    assert "throughput" in [str(one.header) for one in show.fitted(rows, 60)[0].columns]
    assert "throughput" not in printed(rows[rows[axis] == 1])


def test_a_latency_that_is_cut_at_the_work_of_the_gpu_has_no_interval_of_no_width(tmp_path):
    put(tmp_path, "a", 1.25, latency_ms_ci_low=1.25, latency_ms_ci_high=1.25, gpu_ms=1.25)
    assert "1.25 [" not in printed(table.load(tmp_path))


def test_points_that_were_timed_once_stay_apart_where_one_line_would_name_others(tmp_path):
    put(tmp_path, "a", 5.0, optimization_level=0, min_block_size=1)
    put(tmp_path, "b", 5.0, optimization_level=3, min_block_size=5, timed_with="a")
    assert cells(table.load(tmp_path), "optimization_level") == ["0", "3"]
    put(tmp_path, "c", 5.0, optimization_level=3, min_block_size=1, timed_with="a")
    put(tmp_path, "d", 5.0, optimization_level=0, min_block_size=5, timed_with="a")
    rows = table.load(tmp_path)
    assert [cells(rows, axis) for axis in ("optimization_level", "min_block_size")] == [["0, 3"], ["1, 5"]]


@pytest.mark.parametrize(
    ("objective", "first", "best"),
    [("latency_ms", "latency", "b"), ("gpu_ms", "gpu", "a"), ("throughput_per_s", "throughput", "c")],
)
def test_the_best_by_the_objective_is_first(tmp_path, objective, first, best):
    for number, name in enumerate("abc"):
        figures = {"gpu_ms": 1.0 + number, "throughput_per_s": 10.0**number, "precision": name}
        put(tmp_path, name, {"a": 3.0, "b": 1.0, "c": 2.0}[name], **figures)
    put(tmp_path, "wrong", 0.1, status="inaccurate", gpu_ms=0.1, throughput_per_s=1e9, precision="int8")
    found, _ = show.fitted(table.load(tmp_path), objective=objective)
    assert str(found.columns[2].header) == first
    column = [str(cell) for cell in found.columns[1].cells]
    assert (column[0], column[-1]) == (best, "int8")


def test_what_is_proved_comes_before_what_was_measured(tmp_path):
    for name, latency in (("a", 1.0), ("b", 1.1), ("c", 3.0)):
        put(tmp_path, name, latency, precision=name)
    rows = table.load(tmp_path).assign(latency_rank=[2, 1, 2], latency_rank_worst=[3, 1, 3])
    found, _ = show.fitted(rows)
    assert [str(cell) for cell in found.columns[1].cells] == ["b", "a", "c"]


def test_notes_are_wrapped_at_blanks_with_a_hanging_indent(tmp_path, monkeypatch):
    path = "/" + "long" * 30
    put(tmp_path, "a", status="build_failed", phase="build", reason=f"{'word ' * 60}in {path} [end]")
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = f"· build_failed in build (points/a/log.txt): {'word ' * 60}in {path} [end]"
    assert whole in printed(table.load(tmp_path)).splitlines()
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(table.load(tmp_path)).splitlines()
    note = lines[next(place for place, line in enumerate(lines) if line.startswith("· build_failed")) :]
    assert len(note) > 5 and all(line.startswith("  ") and line[2] != " " for line in note[1:])
    assert [line for line in note if len(line) > 80] == [f"  {path}"]
    assert " ".join(line.strip() for line in note) == whole
