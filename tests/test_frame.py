"""Check what `trt_sweep.load` and `trt_sweep.summary` give to a notebook: a frame, and the answer at a glance."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_ranking import TIMED
from test_table import put

import trt_sweep
from trt_sweep import backends
from trt_sweep.app import answer
from trt_sweep.errors import SweepError
from trt_sweep.results import table
from trt_sweep.results.axes import TABLE

REFERENCE = Path(__file__).parents[1] / "outputs" / "reference" / "h200"


@pytest.fixture
def folder(tmp_path):
    """Four points of one axis, the others left alone, beside eager; and one that was visited once."""
    put(tmp_path, "eager", 9.0, **TIMED, backend="eager", jobs=[])
    for size, latency in ((1, 3.0), (5, 2.0), (9, 4.0)):
        engine = {"min_block_size": size, "default_min_block_size": 5, "engine_id": f"e{size}"}
        put(tmp_path, f"b{size}", latency, **TIMED, **engine, gpu_ms=latency / 2, runtime="cpp")
    put(tmp_path, "once", 5.0, latency_ms_ci_low=None, latency_ms_ci_high=None, min_block_size=20, runtime="cpp")
    put(tmp_path, "failed", status="build_failed", phase="build", reason="none", min_block_size=30, runtime="cpp")
    return tmp_path


def test_axes_times_ratio_and_status_come_first(folder):
    rows = trt_sweep.load(folder)
    assert list(rows)[:8] == [
        *("model", "backend", "precision", "min_block_size"),
        *("latency_ms", "gpu_ms", "speedup", "status"),
    ]
    assert set(rows) == set(table.load(folder)) and rows["point_id"].tolist() == table.load(folder)["point_id"].tolist()


def test_a_pivot_works_on_an_axis_that_was_left_alone(folder):
    rows = trt_sweep.load(folder)
    found = rows.pivot_table(index="min_block_size", columns="optimization_level", values="gpu_ms")
    assert found[3].to_dict() == {1: 1.5, 5: 1.0, 9: 2.0}
    # Eager has neither. CUDA graphs are off where nobody sets them, for each backend.
    assert rows.loc[rows["backend"] == "eager", ["optimization_level", "min_block_size"]].isna().all(axis=None)
    assert rows["cuda_graphs"].dtype == bool and not rows["cuda_graphs"].any()
    # The table that everything else reads has what was set, and so have the records.
    assert table.load(folder)["optimization_level"].isna().all()
    assert json.loads((folder / "points" / "b1" / "record.json").read_text())["optimization_level"] is None


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.as_set])
def test_the_default_takes_effect_where_the_backend_uses_the_axis(name):
    assert sorted(TABLE[name].as_set) == [each for each in backends.names() if name in backends.get(each).AXES]


def test_dates_are_dates(folder):
    dates = trt_sweep.load(folder)["created_utc"]
    assert str(dates.dt.tz) == "UTC" and dates.iloc[0] == pd.Timestamp("2026-01-31T12:00:00Z")


def test_the_frame_says_where_its_records_are(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    rows = trt_sweep.load(folder.name)
    assert rows.attrs["folder"] == str(folder) and rows.attrs["unreadable"] == {}
    assert all((Path(rows.attrs["folder"]) / each / "record.json").is_file() for each in rows["folder"])
    both = trt_sweep.load(REFERENCE / "settings", REFERENCE / "runtime")
    assert both.attrs["folder"] == str(REFERENCE)


def test_an_empty_folder_is_an_empty_frame(tmp_path):
    rows = trt_sweep.load(tmp_path)
    assert rows.empty and set(rows) == set(table.load(tmp_path))
    assert "nan" not in repr(trt_sweep.summary(rows)) and "<table" in trt_sweep.summary(rows)._repr_html_()


def test_a_folder_inside_a_sweep_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder / "points" / "eager")
    for inside in (folder / "points", folder / "points" / "b1", "."):
        with pytest.raises(SweepError) as refused:
            trt_sweep.load(inside)
        assert str(refused.value) == f"{inside} is a part of a sweep: give the folder of the sweep, {folder}"
    (folder.parent / "points").mkdir()
    folder = folder.rename(folder.parent / "points" / "sweep")  # a folder of that name with sweeps in it is none
    assert len(trt_sweep.load(folder)) == len(trt_sweep.load(folder.parent)) == 6


def test_folders_are_given_one_by_one():
    listed = ["a", "b"]
    with pytest.raises(SweepError, match=r"folder=\['a', 'b'\] is not allowed: use .*; several are load\(ONE, OTHER\)"):
        trt_sweep.load(listed)


def test_reading_records_imports_no_torch():
    code = f"import trt_sweep, sys; trt_sweep.load({str(REFERENCE / 'runtime')!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_summary_has_the_best_first_and_the_answer(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    found = trt_sweep.summary(trt_sweep.load(folder))
    text, page = repr(found), found._repr_html_()
    cells = [line.split() for line in text.splitlines()[2:8]]
    assert [(line[0], line[2], line[-1]) for line in cells] == [
        *[("dynamo", "5", "ok"), ("dynamo", "1", "ok"), ("dynamo", "9", "ok")],
        *[("eager", "–", "ok"), ("dynamo", "20", "ok"), ("dynamo", "30", "build_failed")],  # one has no rank
    ]
    lines = answer.lines(table.load(folder))
    assert lines and text.endswith("\n".join(lines)) and lines[0] in page
    # A head says what its column means.
    assert page.count("How many times faster than eager PyTorch") == 1
    for shown in (text, page):
        assert "2 [2, 2]" in shown and "4.50×" in shown and "nan" not in shown and "None" not in shown
        assert "load" not in shown and "energy" not in shown  # null everywhere


def test_a_summary_fits(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = repr(trt_sweep.summary(trt_sweep.load(folder)))
    assert max(len(line.rstrip()) for line in text.splitlines()[:9]) <= 60
    page = trt_sweep.summary(trt_sweep.load(REFERENCE / "settings"))._repr_html_()
    assert page.count("<th ") == 10 and "hidden: gpu, gpu rank, engines" in page
    assert page.count("<tr>") == 1 + 62  # points that were timed once share a line


def test_a_summary_of_some_rows_by_another_objective(folder):
    rows = trt_sweep.load(folder)
    page = trt_sweep.summary(rows[rows["min_block_size"].isin([1, 9])], "gpu")._repr_html_()
    assert page.count("<tr>") == 3 and page.index(">1.5") < page.index(">2<") and ">gpu rank<" in page


def test_a_summary_of_plans_and_of_what_cannot_be_read(tmp_path):
    put(tmp_path, "plan", status="dryrun", engines=3)
    (tmp_path / "points" / "broken").mkdir()
    (tmp_path / "points" / "broken" / "record.json").write_text("{")
    page = trt_sweep.summary(trt_sweep.load(tmp_path))._repr_html_()
    assert ">engines<" in page and ">3<" in page and "unreadable: 1, see frame.attrs" in page


def test_text_from_records_is_text(tmp_path):
    put(tmp_path, "x", 2.0, model="<script>alert(1)</script>", backend="eager")
    put(tmp_path, "y", 2.0, model="b", backend="eager")
    assert "<script" not in trt_sweep.summary(trt_sweep.load(tmp_path))._repr_html_()


def test_mistakes_are_one_line(folder):
    rows = trt_sweep.load(folder)
    with pytest.raises(SweepError, match="objective=speed is not allowed: use one of latency, gpu, throughput, energy"):
        trt_sweep.summary(rows, "speed")
    with pytest.raises(SweepError, match=r"the frame lacks schema_version and \d+ more columns: give"):
        trt_sweep.summary(rows[["model", "latency_ms"]])
    with pytest.raises(SweepError, match="a NoneType is no frame: give"):
        trt_sweep.summary(None)


@pytest.mark.parametrize("name", ["settings", "optimization_level", "first_call", "quantization", "frontends"])
def test_the_answer_does_not_depend_on_what_is_filled_in(name):
    rows, filled = table.load(REFERENCE / name), trt_sweep.load(REFERENCE / name)
    assert answer.lines(filled) == answer.lines(rows) != []
    assert not filled["cuda_graphs"].isna().any() and math.isfinite(filled["latency_ms"].min())
