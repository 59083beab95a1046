"""The layers of engines as recorded on an H200, what their names tell, and profiles that cannot be read."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from trt_sweep.analysis.layers import show
from trt_sweep.app import layers as command
from trt_sweep.errors import SweepError
from trt_sweep.results.layers import evidence, profiles

DATA = Path(__file__).parent / "data" / "layers"
ENGINE_ID = "0123456789abcdef"


def point(folder: Path, sample: str, engine_id: str = ENGINE_ID) -> Path:
    """The folder of a point with the recorded profile `sample`."""
    source = DATA / sample
    for engine in sorted(path.name for path in source.iterdir()):
        shutil.copytree(source / engine, folder / "engines" / engine)
        info = DATA / sample.replace("python", "cpp") / engine / profiles.INFO
        shutil.copy(info, folder / "engines" / engine)
    profile = {"engine_id": engine_id, "engines": len(list(source.iterdir())), "calls": 3, "runtime": "cpp"}
    put(folder / "engines" / profiles.PROFILE, profile)
    put(folder / "record.json", {"schema_version": 2, "point_id": "p", "profile_engine_id": engine_id})
    return folder


def put(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def info(sample: str, engine: int = 0) -> list[dict]:
    return json.loads((DATA / sample / str(engine) / profiles.INFO).read_text(encoding="utf-8"))["Layers"]


def test_one_row_a_layer(tmp_path):
    table = profiles.load(point(tmp_path, "squeezenet1_1-cpp"))
    assert tuple(table) == profiles.COLUMNS
    assert table["engine"].tolist() == [0] * 17 + [1] * 17 + [2] * 32
    assert table["index"].tolist() == [*range(17), *range(17), *range(32)]
    row = table.iloc[1]
    assert row["name"] == "[CONVOLUTION]-[aten_ops.convolution.default]-[features.3.squeeze/convolution_1]_myl0_1"
    assert row["type"] == "correlation"
    assert row["modules"] == ["features.3.squeeze", "features.3.squeeze_activation"]
    assert (row["inputs"], row["outputs"]) == (["1x64x55x55 Half"], ["1x16x55x55 Half"])
    assert row["output_names"] == ["__mye287_concat__mye289_3_myl0"]
    assert (row["precision"], row["tactic"], row["moves"]) == ("fp16", "__myelin_CASK_STUB", False)
    assert row["samples"] == [0.05952, 0.063264, 0.056288]
    assert row["median_ms"] == 0.05952
    assert row["share"] == pytest.approx(0.05952 / 0.858784)
    assert table["share"].sum() == pytest.approx(1)
    assert table.attrs["profile"]["engine_id"] == ENGINE_ID
    assert profiles.precisions(table) == {"fp16": 26}


def test_layers_stand_in_the_order_of_execution_whatever_the_inspectors(tmp_path):
    folder = point(tmp_path, "resnet18-cpp")
    before = profiles.load(folder)
    put(folder / "engines/0" / profiles.INFO, {"Layers": info("resnet18-cpp")[::-1]})
    after = profiles.load(folder)
    assert after["type"].tolist() == before["type"].tolist()
    assert after["outputs"].tolist() == before["outputs"].tolist()


def test_interval_of_the_median(tmp_path):
    folder = point(tmp_path, "resnet18-cpp")
    assert profiles.load(folder)["ci_low"].isna().all()  # three samples say nothing
    latencies = json.loads((folder / "engines/0" / profiles.LATENCY).read_text())
    numbers = [number for pair in zip(range(1, 26), range(51, 26, -1), strict=True) for number in pair] + [26]
    put(folder / "engines/0" / profiles.LATENCY, {name: numbers for name in latencies})
    row = profiles.load(folder).iloc[0]
    assert (row["ci_low"], row["median_ms"], row["ci_high"]) == (19, 26, 33)  # ranks 19 and 33 of 51, for 95 %


def test_modules_only_where_names_tell(tmp_path):
    table = profiles.load(point(tmp_path, "resnet18-cpp"))
    known = {index: modules for index, modules in zip(table["index"], table["modules"], strict=True) if modules}
    # Layer 1 writes a tensor that is called after the max pooling, layer 32 one called after layer4.1.conv2.
    assert known == {2: ["maxpool"], 33: ["layer4.1.conv2"], 34: ["avgpool"]}


def test_a_concatenation_is_behind_the_layers_that_write_it(tmp_path):
    table = profiles.load(point(tmp_path, "squeezenet1_1-cpp"))
    assert table["modules"][3] == ["features.3.expand3x3", "features.3"]
    assert table["modules"][5] == ["features.3.expand1x1", "features.3"]
    assert table["modules"][8] == ["features.4.squeeze"]  # reads it


def test_modules_of_a_transformer(tmp_path):
    table = profiles.load(point(tmp_path, "vit_b_16-cpp"))
    assert table["modules"][1] == ["conv_proj"]
    assert table["modules"][2] == ["encoder.layers.encoder_layer_0.ln_1"]
    assert table["modules"][144] == []  # writes what is called after mlp.3, which reads it
    assert table["modules"][145] == ["encoder.layers.encoder_layer_11.mlp.3"]
    assert profiles.precisions(table) == {"fp16": 109, "fp16→fp32": 1, "fp32→fp16": 1}
    assert table["moves"].sum() == 38
    assert table["name"][table["moves"]].str.contains("Mul|Add|Mean|gemm|Fc").sum() == 0


def test_nothing_is_claimed_that_the_metadata_does_not_say():
    """The ONNX engine with its tensors named as Torch-TensorRT names them, and without its Metadata."""
    truth, blind = info("resnet18-onnx"), info("resnet18-onnx")
    nodes = {found for layer in truth for found in evidence.ONNX_NODE.findall(layer["Metadata"])}
    for layer in blind:
        layer["Metadata"] = ""
        for tensor in [*layer["Inputs"], *layer["Outputs"]]:
            name, dot, rest = tensor["Name"].partition(".")
            if f"node_{name}" in nodes:
                tensor["Name"] = f"[KIND]-[aten_ops.op]-[module/node_{name}]_output{dot}{rest}"
    found = evidence.nodes(blind, {})
    assert sum(map(len, found)) == 20
    for layer, claimed in zip(truth, found, strict=True):
        for node in claimed:
            assert f"[ONNX Layer: {node.removeprefix('module/')}]" in layer["Metadata"], layer["Name"]


def test_onnx_nodes_have_modules_where_the_file_says_so(tmp_path):
    folder = point(tmp_path, "resnet18-onnx")
    row = profiles.load(folder).iloc[4]
    assert row["nodes"] == {
        "node_Conv_298": "layer1.0.conv2", "node_relu_2": "layer1.0.relu", "node_add": "layer1.0"
    }  # fmt: skip
    assert row["modules"] == ["layer1.0.conv2", "layer1.0.relu", "layer1.0"]
    (folder / "engines/0" / profiles.ONNX_MODULES).unlink()
    row = profiles.load(folder).iloc[4]
    assert list(row["nodes"]) == ["node_Conv_298", "node_relu_2", "node_add"]
    assert row["modules"] == []


STANDARD = [
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to [CONVOLUTION]-[aten_ops.convolution.default]-[conv1/conv]",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Name": "y", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Channel major FP16 format"}],
        "TacticValue": "0x0000000000000000",
    },
    {
        "Name": "[CONVOLUTION]-[aten_ops.convolution.default]-[conv1/conv] + [RELU]-[aten_ops.relu.default]-[relu/r]",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "y", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Channel major FP16 format"}],
        "Outputs": [
            {
                "Name": "[RELU]-[aten_ops.relu.default]-[relu/r]_output",
                "Dimensions": [],
                "Format/Datatype": "Channel major FP16 format where C % 8 == 0.",
            }
        ],
        "TacticName": "sm80_xmma_fprop",
    },
]


def test_layers_of_standard_tensorrt(tmp_path):
    folder = point(tmp_path, "resnet18-cpp")
    put(folder / "engines/0" / profiles.INFO, {"Layers": STANDARD})
    put(folder / "engines/0" / profiles.LATENCY, {layer["Name"]: [0.5] for layer in STANDARD})
    copy, convolution = profiles.load(folder).to_dict("records")
    assert (copy["moves"], copy["modules"], copy["precision"]) == (True, [], "fp32→fp16")
    assert copy["tactic"] == "0x0000000000000000"
    assert (convolution["moves"], convolution["modules"]) == (False, ["conv1", "relu"])
    assert convolution["precision"] == "fp16"
    assert convolution["outputs"] == ["scalar Channel major FP16 format where C % 8 == 0"]


@pytest.mark.parametrize(
    ("formats", "precision"),
    [
        (["Half"], "fp16"),
        (["BFloat16"], "bf16"),
        (["Row major linear BFloat16 format"], "bf16"),
        (["Float"], "fp32"),
        (["Row major linear FP8 format"], "fp8"),
        (["Thirty-two wide channel vectorized row major Int8 format"], "int8"),
        (["FP4"], "fp4"),
        (["Half", "Int8"], "fp16+int8"),
        (["Half", "Int64", "Bool", "UInt8"], "fp16"),
        (["Int32"], None),
        (["N/A due to dynamic shapes"], None),
    ],
)
def test_precision(formats, precision):
    assert evidence.precision(formats, []) == precision
    assert evidence.precision(formats, formats) == precision


@pytest.mark.parametrize(
    ("name", "layer_type", "moves"),
    [
        ("__myl_MoveConc_myl0_0", "kgen", True),
        ("__myl_SlicReshTranReshCastMulCastReshMove_myl0_7", "kgen", False),
        ("__myl_Gath_myl0_7", "kgen", False),  # not known
        ("_gemm_mha_v2_myl0_8", "kgen", False),
        ("__mye35665_myl0_7", "signal", False),
        ("squeeze", "Shuffle", True),
        ("conv", "CaskConvolution", False),
        ("[SHUFFLE]-[aten_ops.permute.default]-[a/permute]_myl0_3", "kgen", True),
        ("[SHUFFLE]-[aten_ops.permute.default]-[a/permute] + [RELU]-[aten_ops.relu.default]-[b/relu]", "kgen", False),
    ],
)
def test_moves(name, layer_type, moves):
    assert evidence.moves(name, layer_type) is moves


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("features.3.squeeze/convolution_1", "features.3.squeeze"),
        ("/features/0/convolution", "features.0"),
        ("L['self'].layer1.0.conv1/convolution", "layer1.0.conv1"),
        ("L['self']/add", None),
        ("/add", None),
        ("add", None),
    ],
)
def test_module_of_a_node(node, module):
    assert evidence.module(node) == module
    assert evidence.NODE.findall(f"[K]-[aten_ops.op.default]-[{node}]_myl0_1") == [node]


def test_names_for_people():
    name = "[CONVOLUTION]-[aten_ops.convolution.default]-[features.3.squeeze/convolution_1]_myl0_1"
    assert evidence.shown(name, 60) == "features.3.squeeze/convolution_1"
    assert evidence.shown(name, 20) == "features…nvolution_1"
    assert evidence.shown("__myl_FcAdd_myl0_3", 60) == "FcAdd"
    assert evidence.shown("a\x1b[31mb\n\x1fc\udcff\u202e", 60) == "a�[31mb��c��"
    assert evidence.shown("", 60) == "–"


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
