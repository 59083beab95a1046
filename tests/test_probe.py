"""Inner modules against FP32: the first that goes wrong is named, with the largest magnitude that was seen there."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest
import torch
from conftest import without_gpu
from test_mixed import CPU, fragile, point, rows, transformer

from trt_sweep.config.groups import AccuracyConfig, QuantizationConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import probe
from trt_sweep.models.model import Inputs, Model
from trt_sweep.points import plan


def found(model: Model, precision: str = "fp16", names: list[str] | None = None) -> list[probe.Probed]:
    return probe.probe(model, precision, CPU, names or [*probe.calls(model)])


def test_an_overflow_is_named_with_its_magnitude():
    every = found(transformer([]))
    first = probe.first_wrong(every, 0.02)
    assert first is not None and (first.module, first.overflows) == ("blocks.1.norm1", True)
    assert first.input_error < 1e-3 and first.error > 0.5 and first.largest > 65504
    assert first.why("fp16").startswith("blocks.1.norm1 (Norm) overflows in fp16: FP32 has 2.24e+06 in it, and fp16")
    assert probe.first_wrong(found(transformer(["*.norm?", "norm"])), 0.02) is None
    assert not any(item.overflows for item in found(transformer([]), "bf16"))


def test_boxes_of_a_detector_are_not_finite():
    torch.manual_seed(0)
    model = Model(fragile.Detector().eval(), Inputs((torch.randn(2, 3, 32, 32),), {}))
    first = probe.first_wrong(found(model), 0.02)
    assert first is not None and first.module == "boxes" and first.error == math.inf


def test_what_is_given_wrong_is_not_to_blame():
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.b(self.a(x) * 1e7)

    model = Model(Net().eval(), Inputs((torch.randn(2, 4),), {}))
    names = ["", "a", "b"]
    by_name = {item.module: item for item in found(model, names=names)}
    assert by_name["b"].input_error == math.inf and not by_name["a"].wrong(0.02)
    first = probe.first_wrong(by_name.values(), 0.02)
    assert first is by_name[""] and first.why("fp16").startswith("the model (Net) overflows in fp16")
    assert probe.first_wrong([by_name["b"]], 0.02) is by_name["b"]


def test_a_module_that_is_called_twice_and_one_that_works_in_place():
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.relu = torch.nn.Linear(4, 4), torch.nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.twice(self.twice(x) * 1e7))

    model = Model(Net().eval(), Inputs((torch.randn(2, 4),), {}))
    every = found(model)
    assert [(item.module, item.call) for item in every] == [("twice", 0), ("twice", 1), ("relu", 0), ("", 0)]
    assert "Linear, call 2" in every[1].why("fp16") and every[2].input_error == math.inf
    names = [name for name, _ in model.module.named_modules()]
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in model.module.modules()), names


@without_gpu
def test_a_row_names_it(tmp_path):
    asked = AccuracyConfig(probe=["blocks.*.norm?", "blocks.?"])
    (row,) = rows(tmp_path, point(accuracy=asked))
    assert row.first_wrong.startswith("blocks.1.norm1 (Norm) overflows in fp16")
    written = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert [item["module"] for item in written[:3]] == ["blocks.0.norm1", "blocks.0.norm2", "blocks.0"]
    (row,) = rows(tmp_path, point("fragile.Detector", accuracy=AccuracyConfig(probe=["boxes"])))
    assert row.status == "inaccurate" and "; first wrong in eager: boxes (Boxes) overflows in fp16: FP32" in row.reason
    (row,) = rows(tmp_path, point(accuracy=asked, keep_fp32=["*.norm?", "norm"]))
    assert row.status == "ok" and row.first_wrong is None


def test_a_pattern_that_matches_nothing(tmp_path):
    (row,) = rows(tmp_path, point(accuracy=AccuracyConfig(probe=["haed"])))
    assert "accuracy.probe=haed matches no module: there are head" in row.reason
    assert row.status == "build_failed"  # before it is built and run
    assert point().to_dict()["accuracy"].keys() == {"rel_l2", "evaluate"}  # digests are as they were


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="no torchao: pip install -e '.[quantization]'")
def test_a_quantized_model_is_refused_before_anything_is_made():
    how = QuantizationConfig(method="torchao_int8_weight_only")
    config = point(precision="int8", quantization=how, accuracy=AccuracyConfig(probe=["head"]))
    with pytest.raises(SweepError, match=r"^accuracy\.probe is not allowed with precision=int8: .*quantized models"):
        plan.effective(config)
