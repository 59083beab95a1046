"""Two files stand for the points of a sweep: every verb reads them as it reads folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_table import put

from trt_sweep.app.main import main
from trt_sweep.results import archive, table
from trt_sweep.results.layers import profiles
from trt_sweep.results.record import SAMPLES


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "there/sweep"
    put(folder, "a", 1.0, gpu_ms=0.5, engine_ops=[3, 4], latency_ms_visits=[1.0, 1.1], rel_l2_error=1e-7)
    put(folder, "b", 2.0, status="inaccurate", reason='é\x1b[31m, "quoted"\n', final=True)
    samples = {"latency_ms": np.array([1.0, 1.25]), "latency_ms_round": np.arange(2, dtype="uint16")}
    np.savez(folder / "points/a" / SAMPLES, **samples)
    (folder / "points/a/engines/0").mkdir(parents=True)
    (folder / "points/a/engines/0/trt_layer_latency.json").write_text('{"conv": [0.5]}')
    (folder / "points/a/engines/profile.json").write_text('{"engines": 1, "engine_id": "x"}')
    (folder / "points/a/log.txt").write_text("words")
    (folder / "seconds.json").write_text("{}")
    return folder


@pytest.fixture
def packed(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["pack", str(tmp_path / "there"), "--out", str(tmp_path / "kept")]) == 0
    assert "written: " in capsys.readouterr().out
    return tmp_path / "kept/sweep"


def test_a_table_of_it_is_the_same(sweep, packed):
    assert sorted(path.name for path in packed.iterdir()) == [archive.ARCHIVE, SAMPLES, "seconds.json"]
    pd.testing.assert_frame_equal(table.load(sweep), table.load(packed))
    assert table.load(packed).attrs["unreadable"] == {}
    with np.load(packed / SAMPLES) as samples:
        assert samples["a/latency_ms"].tolist() == [1.0, 1.25] and samples["a/latency_ms"].dtype == np.float32


def test_what_is_packed_is_copied(packed, tmp_path):
    assert main(["pack", str(packed), "--out", str(tmp_path / "again")]) == 0
    found = sorted((tmp_path / "again").iterdir())
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in sorted(packed.iterdir())]
    (packed / "points").mkdir()
    assert main(["pack", str(packed), "--out", str(tmp_path / "third")]) == 1


def test_layers_are_read_from_it(packed):
    layers = profiles.load(packed / "points/a")
    assert layers["name"].tolist() == ["conv"] and layers["median_ms"].tolist() == [0.5]


@pytest.mark.parametrize("verb", ["table", "report", "layers"])
def test_verbs_read_it(packed, tmp_path, verb, capsys):
    given = packed / "points/a" if verb == "layers" else packed
    assert main([verb, str(given), *(["--out", str(tmp_path / "out")] if verb == "report" else [])]) == 0
    assert main(["layers", str(packed)]) == 1
    assert "give one of those below it: points/a" in capsys.readouterr().err


def test_a_point_that_is_there_twice_counts_once(sweep, packed):
    shutil.copy(packed / archive.ARCHIVE, sweep)
    assert len(table.load(sweep)) == 2
    assert len(table.load(packed, packed.parent)) == 2


def test_a_copy_below_the_same_folder_counts_once_and_is_named(sweep, packed, tmp_path, capsys):
    every = table.load(tmp_path)
    assert every["folder"].tolist() == ["there/sweep/points/a", "there/sweep/points/b"]
    assert every.attrs["copies"] == ["kept/sweep/points/a", "kept/sweep/points/b"]
    line = "copied or packed points count once: kept/sweep/points/a and 1 more left out"
    assert main(["table", str(tmp_path)]) == main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert f"· {line}" in capsys.readouterr().out and line in (tmp_path / "out/report.md").read_text()
    assert table.load(sweep).attrs["copies"] == []


def test_the_same_point_of_another_night_counts_too(tmp_path):
    for night in ("monday", "tuesday"):  # a sweep is named by its folder
        put(tmp_path / night / "sweep", "a", 1.0, sweep_id="sweep", created_utc=f"2026-01-31T12:00:00 {night}")
    assert len(table.load(tmp_path)) == 2


def test_another_archive_in_its_place_is_read(sweep, packed):
    assert len(table.load(packed)) == 2
    shutil.rmtree(sweep / "points/b")
    archive.write(sweep, packed)
    assert len(table.load(packed)) == 1


@pytest.mark.parametrize("damage", ["cut", "text", "csv", "escape", "null", "long", "twice", "large", "link", "fifo"])
def test_a_damaged_archive_is_named(packed, damage, tmp_path):
    path = packed / archive.ARCHIVE
    names = {"escape": ["../../etc"], "null": ["a\0b"], "long": ["a" * 5000], "twice": ["a", "a"]}
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("PAR1")
    elif damage == "csv":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    elif damage in names:
        pd.DataFrame({"point": names[damage], "files": [[] for _ in names[damage]]}).to_parquet(path)
    elif damage == "large":  # 20 KB that would take 300 MB
        rows = {"point": ["a", "b"], "files": [[], []], "reason": ["x" * (150 << 20)] * 2}
        pd.DataFrame(rows).to_parquet(path, compression="zstd", row_group_size=1)
    elif damage == "link":
        path.symlink_to(path.rename(tmp_path / archive.ARCHIVE))
    else:
        path.unlink()
        os.mkfifo(path)
    rows = table.load(packed)
    assert rows.empty and list(rows.attrs["unreadable"]) == [str(path)]


def test_a_record_in_it_that_cannot_be_one_is_named(sweep, packed):
    rows = pd.read_parquet(packed / archive.ARCHIVE)
    rows.loc[rows["point"] == "b", "status"] = "fine"
    rows.to_parquet(packed / archive.ARCHIVE)
    found = table.load(packed)
    assert found["point_id"].tolist() == ["a"]
    assert list(found.attrs["unreadable"]) == [str(packed / "points/b/record.json")]


def test_what_cannot_be_packed(sweep, tmp_path, capsys):
    assert main(["pack", str(sweep)]) == 2
    assert main(["pack", str(sweep), "--out", str(sweep)]) == 1
    assert "holds a sweep; name another folder" in capsys.readouterr().err
    for name in ("partition.json", "record.json"):
        (sweep / "points/a" / name).write_text("{")
        assert main(["pack", str(sweep), "--out", str(tmp_path / "kept")]) == 1
        assert f"points/a/{name}" in capsys.readouterr().err


def test_nothing_is_replaced_but_a_copy_of_the_same_sweep(sweep, tmp_path, capsys):
    out = tmp_path / "kept"
    assert main(["pack", str(sweep), "--out", str(out)]) == main(["pack", str(sweep), "--out", str(out)]) == 0
    put(tmp_path / "other", "c", 3.0)
    before = (out / archive.ARCHIVE).read_bytes()
    assert main(["pack", str(tmp_path / "other"), "--out", str(out)]) == 1
    assert "holds 2 points of another sweep" in capsys.readouterr().err
    assert main(["pack", str(out), "--out", str(out)]) == 1
    assert "it is what is to be packed" in capsys.readouterr().err
    assert (out / archive.ARCHIVE).read_bytes() == before
    (out / SAMPLES).unlink()
    assert main(["pack", str(out), "--out", str(tmp_path / "again")]) == 0
    (out / archive.ARCHIVE).write_text("mine")
    assert main(["pack", str(sweep), "--out", str(out)]) == 1
    assert (out / archive.ARCHIVE).read_text() == "mine"


def test_the_report_leads_to_the_sweeps_own_folder(packed):
    assert main(["report", str(packed.parent)]) == 0
    assert "[files](./sweep/)" in (packed.parent / "report.md").read_text()
