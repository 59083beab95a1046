"""The table of a folder of records: which rows, which baselines, which notes, and both files."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pandas as pd
import pytest

from trt_sweep.app import table as app_table
from trt_sweep.errors import SweepError
from trt_sweep.results import columns, record, store, table
from trt_sweep.results.notes import notes as notes_of
from trt_sweep.results.record import Record

COMMON = {
    "sweep_id": "s",
    "jobs": [0],
    "status": "ok",
    "model": "m",
    "model_id": "abc",
    "seed": 0,
    "backend": "dynamo",
    "precision": "fp32",
    "batch_size": 1,
    "device": "cuda:0",
    "gpu_uuid": "GPU-1",
    "dryrun": False,
    "ignored_axes": [],
}


def put(folder: Path, name: str, latency_ms: float | None = None, **values) -> None:
    timed = {"latency_ms_ci_low": latency_ms, "latency_ms_ci_high": latency_ms, "samples": 100} if latency_ms else {}
    created = f"2026-01-31T12:00:{len(list(folder.rglob('record.json'))):02}"
    row = (
        COMMON
        | timed
        | {"point_id": name, "created_utc": created, "latency_ms": latency_ms}
        | visited(name, latency_ms, values)
    )
    store.write(folder / "points" / name, Record(**row))


def visited(name: str, latency_ms: float | None, values: dict) -> dict:
    """Give a row that says how its times scatter the visits and captures that scatter so."""
    latency, work = (values.get(f"{clock}_between_rounds") for clock in ("latency_ms", "gpu_ms"))
    found = {}
    if latency and latency_ms:
        each = [latency_ms * math.exp(latency * (place / 11.5 - 1)) for place in range(24)]
        random.Random(name).shuffle(each)
        found |= {"latency_ms_visits": each, "visit_group": "one"}
    if work and values.get("gpu_ms"):
        found |= {"gpu_ms_between_captures": work, "gpu_ms_captures": 9}
    return found | values


def load(folder: Path) -> pd.DataFrame:
    return table.load(folder).set_index("point_id")


def test_speedups(tmp_path):
    put(tmp_path, "eager32", 12.0, backend="eager", jobs=[])
    put(tmp_path, "eager16", 6.0, backend="eager", precision="fp16", jobs=[])
    put(tmp_path, "trt32", 4.0)
    put(tmp_path, "trt16", 2.0, precision="fp16", engines=3)
    put(tmp_path, "failed", 2.0, precision="fp16", status="inaccurate")
    put(tmp_path, "planned", status="dryrun")
    rows = load(tmp_path)
    assert list(rows.index) == ["eager32", "eager16", "trt32", "trt16", "failed", "planned"]
    assert rows["speedup"][:4].tolist() == [1.0, 1.0, 3.0, 3.0]
    assert rows["speedup_fp32"][:4].tolist() == [1.0, 2.0, 3.0, 6.0]
    assert rows[["speedup", "speedup_fp32"]][4:].isna().all(axis=None)
    assert rows.loc["trt16", "folder"] == "points/trt16"
    assert str(rows["engines"].dtype) == "Int64"
    assert rows["engines"].isna().sum() == 5


@pytest.mark.parametrize(
    "other",
    [
        {"sweep_id": "t"},
        {"model_id": "other"},
        {"batch_size": 2},
        {"device": "cpu"},
        {"gpu_uuid": "GPU-2"},
        {"status": "run_failed"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_baseline_of_another_kind_is_none(tmp_path, other):
    put(tmp_path, "eager", 10.0, backend="eager", **other)
    put(tmp_path, "trt", 5.0)
    row = load(tmp_path).loc["trt"]
    assert math.isnan(row["speedup"])
    assert math.isnan(row["speedup_fp32"])


def test_nulls_are_equal_in_a_key(tmp_path):
    put(tmp_path, "eager", 10.0, backend="eager", weights=None, gpu_uuid=None)
    put(tmp_path, "inductor", 5.0, backend="inductor", weights=None, gpu_uuid=None)
    assert load(tmp_path).loc["inductor", "speedup"] == 2.0


def test_several_sweeps_below_one_folder(tmp_path):
    for name, latency in (("one", 10.0), ("two", 30.0)):
        put(tmp_path / name, f"eager-{name}", latency, backend="eager", sweep_id=name)
        put(tmp_path / name, f"trt-{name}", 5.0, sweep_id=name)
    rows = load(tmp_path)
    assert rows.loc[["trt-one", "trt-two"], "speedup"].tolist() == [2.0, 6.0]
    assert rows.loc["trt-two", "folder"] == "two/points/trt-two"


def test_unreadable_files_are_named(tmp_path):
    put(tmp_path, "good", 1.0)
    bad = {"foreign": "[]", "truncated": '{"point_id": "x', "empty": ""}
    for name, text in bad.items():
        (tmp_path / "points" / name).mkdir()
        (tmp_path / "points" / name / "record.json").write_text(text)
    rows = table.load(tmp_path)
    assert rows["point_id"].tolist() == ["good"]
    unreadable = rows.attrs["unreadable"]
    assert set(unreadable) == {str(tmp_path / "points" / name / "record.json") for name in bad}
    assert unreadable[str(tmp_path / "points" / "foreign" / "record.json")] == "ValueError: not a record"
    assert sum(note.startswith("unreadable: ") for note in notes_of(rows)) == 3


def test_newer_schema_is_refused(tmp_path):
    put(tmp_path, "new", 1.0, schema_version=columns.SCHEMA_VERSION + 1)
    with pytest.raises(SweepError, match=r"points/new/record\.json: schema_version=\d+ is newer"):
        table.load(tmp_path)


def test_both_files_read_back_equal(tmp_path):
    put(tmp_path, "eager", 10.0, backend="eager", jobs=[])
    put(tmp_path, "trt", 5.0, jobs=[0, 3], engine_ops=[4, 5], engines=2, ignored_axes=["optimization_level"])
    put(tmp_path, "lost", status="build_failed", phase="build", reason='no "kernel", none\nat all')
    rows = table.load(tmp_path)
    csv, parquet = table.write(rows, tmp_path)
    back = pd.read_parquet(parquet)
    assert list(back) == list(rows)
    lists = ["jobs", "engine_ops", "ignored_axes"]
    for name in lists:
        assert [None if x is None else list(x) for x in back[name]] == rows[name].tolist(), name
    pd.testing.assert_frame_equal(back.drop(columns=lists), rows.drop(columns=lists))

    text = pd.read_csv(csv, dtype=rows.dtypes[record.integer_columns()].to_dict())
    assert list(text) == list(rows)
    assert [json.loads(jobs) for jobs in text["jobs"]] == [[], [0, 3], [0]]
    assert json.loads(text["engine_ops"][1]) == [4, 5]
    filled = rows.dropna(axis=1, how="all").columns.difference(lists)
    pd.testing.assert_frame_equal(text[filled], rows[filled], check_dtype=False)
    assert pd.read_csv(csv, dtype=str)["engines"][1] == "2"  # whole numbers stay whole beside nulls


def test_quantized_rows_are_set_against_what_stands_beside_their_quantized_parts(tmp_path):
    put(tmp_path, "eager16", 6.0, backend="eager", precision="fp16", base_precision="fp16", jobs=[])
    eager = {"backend": "eager", "quantization_method": "a"}
    put(tmp_path, "fake", 60.0, precision="int8", base_precision="fp16", **eager)
    put(tmp_path, "int8", 2.0, precision="int8", base_precision="fp16", quantization_method="a")
    put(tmp_path, "old16", 3.0, precision="fp16")  # from before there was a base precision
    rows = load(tmp_path)
    assert rows["speedup"].to_dict() == {"eager16": 1.0, "fake": 0.1, "int8": 3.0, "old16": 2.0}


def test_main(tmp_path, capsys):
    put(tmp_path, "eager", 10.0, backend="eager", jobs=[])
    put(tmp_path, "trt", 5.0, rel_l2_error=1.5e-4)
    assert app_table.main([str(tmp_path), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "5 [5, 5]" in out
    assert "2.00×" in out
    assert "1.5e-04" in out
    assert out.splitlines()[-1] == f"written: {tmp_path / 'results.csv'}, {tmp_path / 'results.parquet'}"
    assert len(pd.read_csv(tmp_path / "results.csv")) == 2


def test_main_on_folders_that_do_not_work(tmp_path, capsys):
    assert app_table.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path} holds no record: give the folder of a sweep, which has points/ in it\n"
    )
    assert app_table.main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err
    put(tmp_path, "new", 1.0, schema_version=99)
    assert app_table.main([str(tmp_path)]) == 1
    assert "schema_version=99 is newer" in capsys.readouterr().err
    assert not (tmp_path / "results.csv").exists()


def test_several_folders_are_one_table(tmp_path, monkeypatch, capsys):
    put(tmp_path / "a", "x", 1.0)
    put(tmp_path / "b" / "deep", "y", 2.0)
    rows = table.load(tmp_path / "a", tmp_path / "b", tmp_path / "b" / "deep")
    assert sorted(rows["folder"]) == ["a/points/x", "b/deep/points/y"]  # each once, below what they have in common
    monkeypatch.chdir(tmp_path)
    assert sorted(table.load("a", tmp_path / "b")["folder"]) == sorted(rows["folder"])
    assert app_table.main(["a", "b"]) == 0
    assert not list(tmp_path.rglob("results.*")) and "written" not in capsys.readouterr().out
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    assert app_table.main(["c", "d"]) == 1
    assert capsys.readouterr().err.startswith("error: c, d hold no record: ")


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    rows = table.load(tmp_path)
    assert rows.empty
    assert list(rows) == [
        *record.columns(),
        *("folder", "speedup", "speedup_ci_low", "speedup_ci_high"),
        *("speedup_fp32", "speedup_fp32_ci_low", "speedup_fp32_ci_high"),
        *("latency_rank", "latency_rank_worst", "gpu_rank", "gpu_rank_worst"),
    ]
    assert rows.attrs["unreadable"] == {}


def test_only_unreadable_records_are_named_and_printed(tmp_path, capsys):
    broken = tmp_path / "points" / "x" / "record.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"schema_version": 1, "point_id": "x", "samples": "many"}')
    assert list(table.load(tmp_path).attrs["unreadable"]) == [str(broken)]
    assert app_table.main([str(tmp_path)]) == 0
    assert "unreadable" in capsys.readouterr().out


def test_too_few_samples_for_an_interval(tmp_path, capsys):
    put(tmp_path, "slow", 4000.0, latency_ms_ci_low=math.nan, latency_ms_ci_high=math.nan, samples=3)
    assert app_table.main([str(tmp_path)]) == 0
    assert "4000" in capsys.readouterr().out


def test_rows_of_several_folders_are_told_apart(tmp_path):
    for name, latency in (("one", 10.0), ("two", 30.0)):
        put(tmp_path / name, f"eager-{name}", latency, backend="eager", sweep_id=name)
        put(tmp_path / name, "same", 5.0, sweep_id=name)
    put(tmp_path / "three", "left-out", 5.0)
    rows = table.load(tmp_path / "one", str(tmp_path / "two"))
    assert rows["folder"].tolist() == [
        "one/points/eager-one",
        "two/points/eager-two",
        "one/points/same",
        "two/points/same",
    ]
    assert table.common_folder(tmp_path / "one", tmp_path / "two") == tmp_path
    assert rows["speedup"].tolist() == [1.0, 1.0, 2.0, 6.0]
    again = table.load(tmp_path / "one", tmp_path / "one" / ".." / "one")
    assert len(again) == 2


def test_two_folders_of_one_name_are_two_sweeps(tmp_path, monkeypatch, capsys):
    for place, gpu_ms in (("a", 1.0), ("b", 3.0)):
        put(tmp_path / place / "deep", f"in-{place}", gpu_ms, gpu_ms=gpu_ms, gpu_ms_captures=9, sweep_id="deep")
    rows = table.load(tmp_path)
    assert rows["sweep_id"].tolist() == ["a/deep", "b/deep"] and rows["gpu_rank"].isna().all()
    assert set(table.load(tmp_path / "a")["sweep_id"]) == {"deep"}
    monkeypatch.setenv("COLUMNS", "80")
    assert app_table.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sweep ") and [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert "sweep: 1 a/deep, 2 b/deep" in lines
    assert app_table.main([str(tmp_path / "a")]) == 0
    assert "sweep" not in capsys.readouterr().out


def test_one_folder_is_its_own_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(Path("sweep"), "a", 5.0)
    assert table.load("sweep")["folder"].tolist() == table.load(tmp_path)["folder"].str.removeprefix("sweep/").tolist()
    assert table.common_folder("sweep") == Path("sweep")


def test_one_of_several_folders_that_is_not_there_is_named(tmp_path):
    put(tmp_path / "one", "a", 5.0)
    with pytest.raises(SweepError, match="two is not a folder"):
        table.load(tmp_path / "one", tmp_path / "two")
