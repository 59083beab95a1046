"""The layers of engines as recorded on an H200, and what their names tell."""

from __future__ import annotations

import json

import pytest
from recorded_layers import ENGINE_ID, info, point, put

from trt_sweep.results.layers import evidence, profiles


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
