"""Check what `trt-sweep layers --compare` says of two profiles."""

from __future__ import annotations

import json
from pathlib import Path

from recorded_layers import point, put

from trt_sweep.app import layers as command

HERE, THERE = "a" * 16, "b" * 16


def test_main_compares(tmp_path, capsys):
    here, there = point(tmp_path / "here", "resnet18-cpp", HERE), point(tmp_path / "there", "resnet18-onnx", THERE)
    assert command.main([str(here), "--compare", str(there), "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"here: {here}\nthere: {there}\n")
    lines = [line.split() for line in out.splitlines()]
    rows = [line for line in lines if line and line[0] == "unchanged"]
    assert rows[0] == ["unchanged", *["0.1", "CorrMulAddRelu", "0.1", "conv1", "0.1019", "0.0575", "-0.0444", "no"]]
    assert len(rows) == 4  # three groups, and the sums
    assert rows[3] == ["unchanged", "24", "24", "24", "0.8193", "0.5435", "-0.2757"]
    assert ["all", "37", "36", "25", "0.8193", "0.5476", "-0.2716"] in lines
    assert "· 3 calls prove nothing: profile six at least" in out
    assert "too few layers are alike in both to see what moved between the runs: 10% of each time" in out
    assert command.main([str(here), "--compare", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err


def test_main_says_what_moved_and_what_is_one_engine(tmp_path, capsys):
    here, there = point(tmp_path / "here", "resnet18-cpp", HERE), point(tmp_path / "there", "resnet18-python", THERE)
    assert command.main([str(here), "--compare", str(there)]) == 0
    assert "· 24 layers that are alike in both moved by 64% between the runs, which is allowed for" in (
        capsys.readouterr().out
    )
    for name, value in (("engines/profile.json", "engine_id"), ("record.json", "profile_engine_id")):
        content = json.loads((there / name).read_text())
        put(there / name, content | {value: HERE})
    assert command.main([str(here), "--compare", str(there)]) == 0
    assert "· both are profiles of one engine: differences" in capsys.readouterr().out


def test_points_that_do_other_work_are_told_so(tmp_path, capsys):
    here, there = point(tmp_path / "here", "resnet18-cpp", HERE), point(tmp_path / "there", "resnet18-python", THERE)
    record = {"model": "resnet18", "batch_size": 1, "input_shapes": "1x3x224x224"}
    put(here / "record.json", record | {"profile_engine_id": HERE})
    other = {"batch_size": 8, "input_shapes": "8x3x224x224"}
    for named, said in (
        (record, None),
        (record | {"model": "resnet50"}, "model (resnet18 here, resnet50 there)"),
        (record | other, "batch_size (1 here, 8 there), input_shapes (1x3x224x224 here, 8x3x224x224 there)"),
    ):
        put(there / "record.json", named | {"profile_engine_id": THERE})
        assert command.main([str(here), "--compare", str(there)]) == 0
        found = [line for line in capsys.readouterr().out.splitlines() if "the points differ" in line]
        assert found == ([f"· the points differ in {said}: layers side by side may do other work"] if said else [])


def test_published_points_of_two_models_prove_nothing_of_other_shapes(capsys):
    inside = Path(__file__).parents[1] / "outputs/reference/h100/inside/with/points"
    assert command.main([str(inside / "7e41dfee39378a48"), "--compare", str(inside / "6c9c392bf6abc651"), "--all"]) == 0
    out = capsys.readouterr().out
    assert "· the points differ in model (resnet18 here, googlenet there)" in out
    assert "· 6 groups read other shapes here than there, or do not tell them: not judged" in out
    assert not any(line.rstrip().endswith("yes") for line in out.splitlines())
