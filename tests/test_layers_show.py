"""Test what `trt-sweep layers` prints of recorded layers, and what it says of profiles that cannot be read."""

from __future__ import annotations

import json
import math
import re
import shutil

import pytest
from recorded_layers import DATA, ENGINE_ID, point, put
from rich.console import Console

from trt_sweep.analysis.layers import show
from trt_sweep.app import layers as command
from trt_sweep.errors import SweepError
from trt_sweep.results.layers import profiles


@pytest.mark.parametrize("content", [None, {}, {"Layers": [], "Bindings": []}, "names"])
def test_engines_that_tell_names_or_nothing(tmp_path, content, capsys):
    folder = point(tmp_path, "resnet18-cpp")
    path = folder / "engines/0" / profiles.INFO
    path.unlink()
    if content == "names":
        shutil.copy(DATA / "names_only.json", path)
    elif content is not None:
        put(path, content)
    table = profiles.load(folder)
    assert table["name"][35] == "__myl_FcAdd_myl0_35"
    assert table["median_ms"][35] == 0.017376
    for column in set(profiles.COLUMNS[3:]) - {"samples", "median_ms", "ci_low", "ci_high", "share"}:
        assert table[column].isna().all(), column
    assert profiles.precisions(table) == {}
    assert command.main([str(folder)]) == 0
    what = "was built to tell names only" if content == "names" else "tells nothing of its layers"
    assert f"engine 0 {what}: no types, tensors or precision" in capsys.readouterr().out


def test_one_engine_of_several_tells_nothing(tmp_path):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    (folder / "engines/1" / profiles.INFO).unlink()
    table = profiles.load(folder)
    assert table.attrs["silent"] == [1]
    assert table[table["engine"] == 1]["modules"].isna().all()
    assert table["moves"].sum() == 5  # 8 with engine 1
    assert profiles.precisions(table) == {"fp16": 20}


def test_a_point_without_engines_has_no_layers(tmp_path, capsys):
    (tmp_path / "engines").mkdir()
    put(tmp_path / "engines" / profiles.PROFILE, {"engine_id": ENGINE_ID, "engines": 0, "calls": 50, "runtime": "cpp"})
    assert profiles.load(tmp_path).empty
    assert command.main([str(tmp_path)]) == 0
    assert "0 layers, engines: 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("engines/profile.json", None, r" holds no profile \(engines/profile\.json\): run the point with profile=true"),
        ("engines/profile.json", '{"engine_id": ', r"engines/profile\.json is damaged \(.*\): run the point again"),
        ("engines/profile.json", "[]", r"profile\.json is damaged \(it holds no dict\)"),
        ("engines/profile.json", '{"engines": 1}', r"profile\.json is damaged \(engines=1, engine_id=None\)"),
        ("engines/profile.json", '{"engine_id": "f", "engines": true}', r"profile\.json is damaged \(engines=True"),
        (
            "engines/profile.json", '{"engine_id": "fedcba9876543210", "engines": 1}',
            rf"profile\.json is of engine fedcba9876543210, the point's record of {ENGINE_ID}: run the point again",
        ),
        ("engines/0/trt_layer_latency.json", None, r"trt_layer_latency\.json cannot be read \(No such file"),
        ("engines/0/trt_layer_latency.json", '{"a": [0.1, 0', r"trt_layer_latency\.json is damaged \(.*column"),
        ("engines/0/trt_layer_latency.json", '{"a": []}', r"latency\.json is damaged \(no times of layer a\)"),
        ("engines/0/trt_layer_latency.json", '{"a": ["1"]}', r"latency\.json is damaged \(no times of layer a\)"),
        ("engines/0/trt_layer_latency.json", '{"a": [NaN]}', r"latency\.json is damaged \(no times of layer a\)"),
        ("engines/0/trt_layer_latency.json", '{"a": [-1]}', r"latency\.json is damaged \(no times of layer a\)"),
        (
            "engines/0/trt_layer_latency.json", '{"a": [0.1]}',
            r"trt_engine_info\.json and trt_layer_latency\.json are of different engines \(37 layers are in one of "
            r"them only, such as a\): run the point again with profile=true",
        ),
        ("engines/0/trt_engine_info.json", '{"Layers": [{"Na', r"trt_engine_info\.json is damaged \("),
        ("engines/0/trt_engine_info.json", '{"Layers": {}}', r"info\.json is damaged \(its Layers are none\)"),
        ("engines/0/trt_engine_info.json", '{"Layers": [1]}', r"info\.json is damaged \(its Layers are none\)"),
        ("engines/0/trt_engine_info.json", '{"Layers": [{}]}', r"info\.json is damaged \(its Layers are none\)"),
        ("engines/0/trt_engine_info.json", '{"Layers": ["a", {"Name": "b"}]}', r"damaged \(its Layers are none\)"),
        ("engines/0/trt_engine_info.json", '{"Layers": [{"Name": "b", "Inputs": ["x"]}]}', r"damaged \(its Layers are"),
        ("engines/0/onnx_modules.json", '{"node": ["a"]}', r"modules\.json is damaged \(its modules are no paths\)"),
        ("record.json", "{", r"record\.json is damaged"),
    ],
)  # fmt: skip
def test_profiles_that_cannot_be_read(tmp_path, file, content, message, capsys):
    folder = point(tmp_path, "resnet18-cpp")
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(SweepError, match=message) as caught:
        profiles.load(folder)
    assert str(folder) in str(caught.value)
    assert command.main([str(folder)]) == 1
    assert capsys.readouterr().err == f"error: {caught.value}\n"


def test_folder_that_is_none(tmp_path):
    with pytest.raises(SweepError, match=r"nowhere is not a folder: give that of a point, SWEEP/points/POINT_ID"):
        profiles.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "count", "advice"),
    [
        ("with", 1, r"with is not the folder of one point: give one of those below it: points/0$"),
        ("with", 3, r"below it: points/0, points/1, points/2$"),
        ("with/points", 5, r"below it: 0, 1, 2 \(2 more\)$"),
        ("with/points/0/engines", 2, r"engines is inside of a point's folder: give \S*with/points/0$"),
        ("with/points/0/engines/0", 1, r"engines/0 is inside of a point's folder: give \S*with/points/0$"),
    ],
)
def test_folders_around_and_inside_of_points_are_told_which_to_give(tmp_path, given, count, advice):
    for number in range(count):
        point(tmp_path / f"with/points/{number}", "resnet18-cpp")
    with pytest.raises(SweepError, match=advice):
        profiles.load(tmp_path / given)


@pytest.mark.parametrize("record", [None, {"schema_version": 2}, {"profile_engine_id": None}])
def test_records_that_name_no_engine_are_believed(tmp_path, record):
    folder = point(tmp_path, "resnet18-cpp")
    (folder / "record.json").unlink()
    if record is not None:
        put(folder / "record.json", record)
    assert len(profiles.load(folder)) == 36


def test_main_shows_the_longest_layers_and_sums(tmp_path, capsys):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    assert command.main([str(folder), "--top", "2"]) == 0
    out = capsys.readouterr().out
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if "convolution" in line]
    assert [row[:2] for row in rows] == [
        ["1.1", "features.6.squeeze/convolution_7"],
        ["0.1", "features.3.squeeze/convolution_1"],
    ]
    assert rows[0][2:] == ["correlation", "1x128x27x27 → 1x32x27x27", "fp16", "CASK_STUB", "0.0602", "7.0%"]
    assert "· 66 layers, engines: 3, sum of medians: 0.8588 ms (calls: 3, runtime: cpp)" in out
    assert "· 64 shorter layers not shown, 0.739 ms together: --all" in out
    assert "· 8 layers only move or convert data: 9.5% of the time" in out
    assert "· precision of the layers that do arithmetic: fp16 26" in out
    assert command.main([str(folder), "--all"]) == 0
    out = capsys.readouterr().out
    assert sum(line.lstrip()[:2] in ("0.", "1.", "2.") for line in out.splitlines()) == 66
    assert "not shown" not in out
    assert command.main([str(folder), "--top", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: --top=0 is not allowed: use an integer of at least 1")


@pytest.mark.parametrize("sample", ["squeezenet1_1-cpp", "vit_b_16-cpp"])
def test_table_fits_into_a_terminal(tmp_path, sample):
    table = profiles.load(point(tmp_path, sample))
    table["ci_low"] = table["ci_high"] = table["median_ms"]
    for width in (120, 160):
        assert Console(width=400).measure(show.render(table, None, width)).maximum <= width


def test_names_are_printed_as_they_are(tmp_path, capsys):
    folder = point(tmp_path, "resnet18-cpp")
    name = "[bold red]\x1b[31m$x$<b>"
    layer = {"Name": name, "LayerType": "[i]\x1b[1m"}
    put(folder / "engines/0" / profiles.INFO, {"Layers": [layer]})
    put(folder / "engines/0" / profiles.LATENCY, {name: [0.5]})
    assert command.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "[bold red]�[31m$x$<b>" in out
    assert "[i]�[1m" in out
    assert "\x1b" not in out


def test_layers_that_take_no_time_have_no_share(tmp_path, capsys):
    folder = point(tmp_path, "resnet18-cpp")
    latencies = json.loads((folder / "engines/0" / profiles.LATENCY).read_text())
    put(folder / "engines/0" / profiles.LATENCY, {name: [0, 0, 0] for name in latencies})
    assert all(map(math.isnan, profiles.load(folder)["share"]))
    assert command.main([str(folder)]) == 0
    assert "sum of medians: 0 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"profile_from": "abc"}, "runs the same engine in the same way as .*abc, which holds the profile of both"),
        (
            {"engines": 0, "profile_reason": "not looked into: status=dryrun"},
            "no profile: not looked into: status=dryrun",
        ),
        ({"engines": 0}, "has no engine to look into: all of the point runs in PyTorch, see time.json"),
    ],
)
def test_where_a_profile_is_missing_for_a_reason_it_is_said(tmp_path, record, message):
    put(tmp_path / "record.json", record)
    with pytest.raises(SweepError, match=message):
        profiles.load(tmp_path)


def test_parts_of_a_call_are_printed_below(tmp_path, capsys):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    part = {"gpu_ms": 0.0144, "kernels": 5.0, "enqueue_ms": 0.3255, "gap_before_ms": 0.157, "idle_ms": 0.1315}
    names = ["aten::max_pool2d", "engine 0"] * 2
    time = {"calls": 10, "span_ms": 1.2, "busy_ms": 0.06, "idle_ms": 1.14, "order": names}
    time |= {"engines": [{"engine": 0, "gpu_ms": 0.03}], "fallback": [{"op": "aten::max_pool2d", "gpu_ms": 0.03}]}
    put(folder / profiles.TIME, time)
    command.main([str(folder)])
    before = capsys.readouterr().out
    assert "parts" not in before  # as earlier versions left it
    put(folder / profiles.TIME, time | {"parts": [part | {"name": name} for name in names]})
    assert command.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(before)
    rows = [line.split() for line in out.removeprefix(before).splitlines()]
    assert ["engine", "0", "0.0144", "5", "0.3255", "0.1570", "0.1315"] in rows
    assert out.count("aten::max_pool2d") == 2
    assert "4 parts of a traced call, in its order, medians of 10 calls: 0.0576 ms of GPU work, 0.628 ms idle" in out
    assert "the profiler slows the host" in out
    assert command.main([str(folder), "--compare", str(folder)]) == 0
    assert "parts of a traced call" not in capsys.readouterr().out


def test_of_many_parts_the_longest_are_shown():
    parts = [dict.fromkeys(profiles.TIMES, float(number % 4)) | {"name": f"engine {number}"} for number in range(8)]
    assert [str(cell) for cell in show.render_parts(parts, 3).columns[0].cells] == [
        "engine 2",
        "engine 3",
        "engine 7",
    ]
    assert show.render_parts(parts, None).row_count == 8
    assert show.parts_notes(parts, 10, 3)[1:] == ["5 shorter parts not shown: --all"]
